"""What pages promise that a machine can check: the error catalogue, links, commands."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer.main
from typer.core import TyperGroup

from palaver.cli import app
from palaver.contracts.errors import CATALOGUE, ErrorKind

REPOSITORY = Path(__file__).parents[2]
ERRORS_PAGE = REPOSITORY / "docs" / "reference" / "errors.md"
FENCED = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
SOURCE = REPOSITORY / "src" / "palaver"
ARCHITECTURE = REPOSITORY / "docs" / "explanation" / "architecture.md"
DECISIONS = REPOSITORY / "docs" / "decisions"
V1_WALKTHROUGH = "docs/tutorial/walkthrough-v1.md"
# A path from the repository's root, also inside a command; addresses such as `localhost:10000/docs/` are none
ROOT_PATH = re.compile(
    r"(?<![\w/.:-])(?:src|tests|bench|docs|deploy|proto|requirements)/(?:[\w.-]+/?)*(?<!\.)"
)
# A module or package as pages name it, from the root or from `src/palaver/`
MODULE = re.compile(r"`((?:\w+/)+(?:\w+\.py)?)`|`(\w+)`")
STATUS_LINE = re.compile(
    r"Date: (\d{4}-\d\d-\d\d) · Status: (accepted|superseded by \[(\d{4})\]\((\d{4}-[\w-]+\.md)\))"
)
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


def pages() -> list[Path]:
    """Every page for readers."""
    found = [*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/**/*.md")]
    assert len(found) > 10
    return sorted(found)


def rows_of(page: Path) -> dict[str, list[str]]:
    """The page's table rows by their first cell, without backquotes."""
    lines = page.read_text(encoding="utf-8").splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    return {row[0].strip("`"): row for row in rows}


def without_code(text: str) -> str:
    """A page's prose."""
    return re.sub(r"`[^`\n]*`", "", FENCED.sub("", text))


def anchors_of(page: Path) -> set[str]:
    """The anchors of a page's headings, as code hosts make them."""
    headings = HEADING.findall(FENCED.sub("", page.read_text(encoding="utf-8")))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("kind", CATALOGUE.values(), ids=lambda kind: kind.code)
def test_errors_page_has_every_kind(kind: ErrorKind) -> None:
    """A client's author would meet an error that no page explains, or decide by a wrong number."""
    row = rows_of(ERRORS_PAGE)[kind.code]
    assert row[1:5] == [str(kind.number), str(kind.http), f"`{kind.grpc}`", str(kind.close)]
    assert all(row[5:])


def test_errors_page_knows_no_other_kinds() -> None:
    """A client's author would handle an error that never comes."""
    codes = [row[0] for row in rows_of(ERRORS_PAGE).values() if len(row) == 7]
    assert {code.strip("`") for code in codes if code.startswith("`")} == set(CATALOGUE)


def test_errors_page_explains_every_close_code() -> None:
    """A client would not know whether to come back after a close."""
    section = ERRORS_PAGE.read_text(encoding="utf-8").partition("### Close codes")[2]
    told = set(re.findall(r"\b\d{4}\b", section))
    assert {str(kind.close) for kind in CATALOGUE.values()} <= told


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_links_lead_somewhere(page: Path) -> None:
    """A reader would follow a link to nothing."""
    broken = []
    for link in LINK.findall(without_code(page.read_text(encoding="utf-8"))):
        if re.match(r"\w+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in anchors_of(target)):
            broken.append(link)
    assert broken == []


def words_of_commands() -> Iterator[tuple[Path, list[str]]]:
    """The commands in shell blocks of all pages, as words."""
    for page in pages():
        for language, block in FENCED.findall(page.read_text(encoding="utf-8")):
            if language in ("sh", "shell", "bash"):
                for line in block.replace("\\\n", " ").splitlines():
                    yield page, line.split("#")[0].split()


def test_palaver_commands_in_pages_exist() -> None:
    """A reader would copy a command that fails."""
    root = typer.main.get_command(app)
    checked = 0
    for page, words in words_of_commands():
        while words and re.match(r"[A-Z_]+=", words[0]):
            words = words[1:]
        if not words or not re.fullmatch(r"(\S*/)?palaver", words[0]):
            continue
        command, rest = root, words[1:]
        while isinstance(command, TyperGroup) and rest and not rest[0].startswith("-"):
            assert rest[0] in command.commands, f"{page.name}: {' '.join(words)}"
            command, rest = command.commands[rest[0]], rest[1:]
        known = {name for parameter in command.params for name in parameter.opts} | {"--help"}
        asked = {word.partition("=")[0] for word in rest if word.startswith("--")}
        assert asked <= known, f"{page.name}: {' '.join(words)}"
        checked += 1
    assert checked > 5


def test_make_targets_in_pages_exist() -> None:
    """A reader would copy a command that fails."""
    listing = subprocess.run(
        ["make", "--print-data-base", "--question", "--no-builtin-rules", "no-such-target"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    ).stdout
    targets = set(re.findall(r"^([\w-]+):", listing, re.MULTILINE))
    asked = {(page.name, words[1]) for page, words in words_of_commands() if words[:1] == ["make"]}
    assert len(asked) > 3
    assert {(page, target) for page, target in asked if target not in targets} == set()


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_paths_in_pages_exist(page: Path) -> None:
    """A reader would look for a file that was moved or renamed."""
    text = page.read_text(encoding="utf-8")
    rooted = {path for path in ROOT_PATH.findall(text) if not (REPOSITORY / path).exists()}
    modules = {path for path in re.findall(r"`((?:\w+/)+\w+\.py)`", text) if not is_in_repository(path)}
    assert rooted | modules == set()


def is_in_repository(path: str) -> bool:
    """Whether a path leads somewhere, from the root or from the source."""
    return (REPOSITORY / path).exists() or (SOURCE / path).exists()


def test_architecture_names_every_package() -> None:
    """Whoever looks for the place of a change would find a folder that no page explains."""
    named = {path or name for path, name in MODULE.findall(ARCHITECTURE.read_text(encoding="utf-8"))}
    found = {str(file.parent.relative_to(SOURCE)) for file in SOURCE.rglob("*.py") if file.parent != SOURCE}
    assert len(found) > 15
    assert found - {name.rstrip("/") for name in named} == set()


def test_architecture_names_no_folder_that_is_gone() -> None:
    """Whoever looks for the place of a change would look for a folder that was moved."""
    named = {path for path, _ in MODULE.findall(ARCHITECTURE.read_text(encoding="utf-8")) if path}
    # Each service has one, named once for all of them
    named.discard("migrations/")
    assert {path for path in named if not is_in_repository(path)} == set()


def decision_pages() -> list[Path]:
    """All decisions, in order."""
    found = sorted(DECISIONS.glob("[0-9]*.md"))
    assert len(found) > 10
    return found


@pytest.mark.parametrize("page", decision_pages(), ids=lambda page: page.name)
def test_decisions_have_a_date_and_a_status(page: Path) -> None:
    """A reader would follow a decision that another one has replaced."""
    title, empty, line, end, *_ = page.read_text(encoding="utf-8").splitlines()
    number = page.name[:4]
    assert title.startswith(f"# {number}: ")
    assert (empty, end) == ("", "")
    status = STATUS_LINE.fullmatch(line)
    assert status, line
    if status[3]:
        assert status[4].startswith(status[3])
        assert number < status[3]
    row = rows_of(DECISIONS / "README.md")[f"[{number}]({page.name})"]
    assert row[2:] == [status[1], f"superseded by {status[3]}" if status[3] else "accepted"]


def test_decisions_are_numbered_without_holes() -> None:
    """A reader would look for a decision that was never made, or find two under one number."""
    numbers = [page.name[:4] for page in decision_pages()]
    assert numbers == [f"{number:04}" for number in range(1, len(numbers) + 1)]


def test_readme_comes_to_the_point() -> None:
    """Whoever wants to know what Palaver is would read about old clients first, or stop reading."""
    before, link, _ = (REPOSITORY / "README.md").read_text(encoding="utf-8").partition(f"]({V1_WALKTHROUGH})")
    assert link
    assert len(before.split()) <= 600
    assert "/v2/" in before
    assert "/messenger/" not in before


@pytest.mark.parametrize("promise", [f"P{number}" for number in range(1, 10)])
def test_readme_shows_every_promise(promise: str) -> None:
    """A reader would not know whether something is promised, or have to believe it without a test."""
    [row] = [cells for name, cells in rows_of(REPOSITORY / "README.md").items() if name == promise]
    assert f"test_{promise.lower()}" in row[2] or "not promised" in row[2] or "_p4_" in row[2]
