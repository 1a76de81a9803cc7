"""The commands of README.md and of the walkthrough, as they stand and in their order."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.palaver_process import PalaverProcess, running_palaver
from tests.harness.walkthrough import REPOSITORY, Terminal

README = REPOSITORY / "README.md"
PALAVER = Path(sys.executable).parent / "palaver"
WALKTHROUGH = REPOSITORY / "docs" / "tutorial" / "walkthrough.md"
FENCED = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[PalaverProcess]:
    """A Palaver with nobody in it, and with its rate limits. It keeps every trace: what a reader types in
    minutes is typed here within seconds, and beyond ten a second a message is sampled."""
    everything = {"PALAVER_TELEMETRY__SAMPLE_RATIO": "1"}
    with running_palaver(tmp_path, rates=True, env=everything) as running:
        yield running


@pytest.fixture
def terminals() -> Iterator[list[Terminal]]:
    """Two terminal windows."""
    windows = [Terminal(), Terminal()]
    try:
        yield windows
    finally:
        for window in windows:
            window.close()


def blocks_of(page: Path, language: str, base_url: str) -> list[str]:
    """The page's blocks of a language, for the port that is served."""
    served = base_url.rpartition("/")[2]
    text = page.read_text(encoding="utf-8")
    return [
        block.replace("localhost:10000", served) for found, block in FENCED.findall(text) if found == language
    ]


def test_the_readme_works_as_it_stands(
    fresh: PalaverProcess, terminals: list[Terminal], tmp_path: Path
) -> None:
    """It is the first page that anybody tries; who gets stuck there does not come back."""
    first, second = terminals
    run, test, sign_up, sign_in, open_chat, listen, talk, read, new, chat, find = blocks_of(
        README, "sh", fresh.base_url
    )
    assert (run, test) == ("make run\n", "make test\n")
    assert first.run(sign_up) == "{}{}{}"
    assert first.run(sign_in) == ""
    alice_id, chat_id = first.run(open_chat).split("\n")
    assert len(alice_id) == len(chat_id) == 36
    second.type(listen)
    # What a socket hears first tells that it is open
    second.type('{"topic":"messenger"}')
    assert "error" in second.read_line()
    first.run(talk)
    for text in ("Hello, Alice!", "What is up?", "I miss you!"):
        assert second.read_line() == (
            '{"topic":"messenger","action":"send-message","payload":"{\\"chat_id\\":\\"' + chat_id
            + '\\",\\"messages\\":[{\\"text\\":\\"' + text + '\\",\\"status\\":\\"created\\"}]}"}'
        )  # fmt: skip
    assert first.run(read).startswith('{"total":3,"limit":10,"offset":0,"messages":[{"id":')
    assert first.run(new) == (
        '{"seq":4,"text":"Are you there?"}\n{"seq":3,"text":"I miss you!"}\n{"seq":4,"text":"Are you there?"}'
    )
    assert chat.startswith(".venv/bin/palaver chat ")
    found = first.run(find.replace(".venv/bin/palaver", f"PALAVER_DATA_DIR={fresh.data_dir} {PALAVER}"))
    assert found.startswith(f"Message 1 of the direct chat {chat_id}")
    assert "deliver message" in found
    [program] = blocks_of(README, "python", fresh.base_url)
    answer_program(program, second, chat_id, tmp_path)


def answer_program(program: str, window: Terminal, chat_id: str, directory: Path) -> None:
    """Runs the page's program, and answers it from the open socket once it has spoken."""
    script = directory / "hello.py"
    script.write_text(program, encoding="utf-8")
    running = subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True)
    try:
        while "Say something!" not in window.read_line():
            pass
        window.type(
            '{"topic":"messenger","action":"send-message","payload":"{\\"chat_id\\":\\"' + chat_id
            + '\\",\\"messages\\":[{\\"text\\":\\"Something.\\"}]}"}'
        )  # fmt: skip
        printed, _ = running.communicate(timeout=20)
    finally:
        running.kill()
        running.wait()
    assert printed == "on disk as message 5\n6 Something.\n"


def test_the_walkthrough_prints_what_the_page_says(fresh: PalaverProcess, terminals: list[Terminal]) -> None:
    """A reader compares what they see with the page; a difference makes them look for their own mistake."""
    commands = blocks_of(WALKTHROUGH, "sh", fresh.base_url)
    printed = [output for command in commands if (output := terminals[0].run(command))]
    shown = blocks_of(WALKTHROUGH, "", fresh.base_url)
    assert list(map(without_names_of_the_day, printed)) == list(map(without_names_of_the_day, shown))


def without_names_of_the_day(text: str) -> str:
    """Printed text without ids, traces and times, which differ each time."""
    text = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "ID", text)
    text = re.sub(r"\b[0-9a-f]{32}\b", "TRACE", text)
    text = re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+Z", "TIME", text)
    return re.sub(r"curl/[\d.]+", "curl", text).strip()
