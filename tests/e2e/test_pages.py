"""The commands of README.md and of the walkthroughs, as they stand and in their order."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.palaver_process import Running, running_palaver
from tests.harness.walkthrough import REPOSITORY, Terminal

README = REPOSITORY / "README.md"
PALAVER = Path(sys.executable).parent / "palaver"
TUTORIAL = REPOSITORY / "docs" / "tutorial"
WALKTHROUGH = TUTORIAL / "walkthrough.md"
WALKTHROUGH_V1 = TUTORIAL / "walkthrough-v1.md"
FENCED = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Running]:
    """A Palaver without users, with rate limits. It keeps every trace: the test types within seconds what a
    reader types within minutes, and beyond ten a second a message is sampled."""
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
    """The page's blocks of a language, for the port that is served. An output has no language."""
    served = base_url.rpartition("/")[2]
    text = page.read_text(encoding="utf-8")
    return [
        block.replace("localhost:10000", served) for found, block in FENCED.findall(text) if found == language
    ]


def without_names_of_the_day(text: str) -> str:
    """Printed text without ids, traces and times, which differ each time."""
    text = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "ID", text)
    text = re.sub(r"\b[0-9a-f]{32}\b", "TRACE", text)
    text = re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+Z", "TIME", text)
    return re.sub(r"curl/[\d.]+", "curl", text).strip()


def outputs_of(terminal: Terminal, commands: list[str]) -> list[str]:
    """What the commands print, one after the other, without names of the day and without empty outputs."""
    return [without_names_of_the_day(output) for command in commands if (output := terminal.run(command))]


def shown_on(page: Path, base_url: str) -> list[str]:
    """The outputs that the page shows, without names of the day."""
    return [without_names_of_the_day(output) for output in blocks_of(page, "", base_url)]


def test_the_readme_works_as_it_stands(fresh: Running, terminals: list[Terminal], tmp_path: Path) -> None:
    """It is the first page that anybody tries; who gets stuck there does not come back."""
    first, second = terminals
    run, *minute, trace = blocks_of(README, "sh", fresh.base_url)
    assert run == "make run\n"
    assert outputs_of(first, minute) == shown_on(README, fresh.base_url)
    [program] = blocks_of(README, "python", fresh.base_url)
    run_program(program, first, second, fresh.base_url, tmp_path)
    found = trace_message(first, trace, fresh)
    assert "gateway socket 1 (v2) of Frank Olsen" in found
    assert "journal message" in found


def run_program(program: str, erin: Terminal, frank: Terminal, base_url: str, directory: Path) -> None:
    """Runs the page's program, and sends Frank's reply once his socket has received its message."""
    script = directory / "hello.py"
    script.write_text(program, encoding="utf-8")
    chat_id, token = erin.variable("CHAT_ID"), erin.variable("FRANK")
    frank.type(f'websocat -H="Authorization: Bearer {token}" {base_url.replace("http", "ws")}/v2/ws')
    assert '"hello"' in frank.read_line()
    running = subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True)
    try:
        while "Are you there?" not in frank.read_line():
            pass
        frank.type(
            '{"type": "send", "chat_id": "' + chat_id + '", "text": "I am.", '
            '"client_id": "0b8f8a52-4c7e-4e0a-9a3d-5a4f1f5d2c11"}'
        )
        printed, _ = running.communicate(timeout=20)
    finally:
        running.kill()
        running.wait()
    assert printed == "stored as message 3\n4 I am.\n"


def trace_message(terminal: Terminal, command: str, palaver: Running) -> str:
    """What a page's `palaver trace --message $CHAT_ID 1` prints, for the Palaver that runs."""
    found = terminal.run(
        command.replace(".venv/bin/palaver", f"PALAVER_DATA_DIR={palaver.data_dir} {PALAVER}")
    )
    assert found.startswith(f"Message 1 of the direct chat {terminal.variable('CHAT_ID')}")
    return found


def test_the_walkthrough_prints_what_the_page_says(fresh: Running, terminals: list[Terminal]) -> None:
    """A reader compares what they see with the page; a difference makes them look for their own mistake."""
    printed = outputs_of(terminals[0], blocks_of(WALKTHROUGH, "sh", fresh.base_url))
    assert printed == shown_on(WALKTHROUGH, fresh.base_url)


def test_the_v1_walkthrough_works_as_it_stands(fresh: Running, terminals: list[Terminal]) -> None:
    """Whoever keeps an old client alive checks it against this page, and would mistrust the client."""
    first, second = terminals
    sign_up, sign_in, open_chat, connect, send, read, new, trace = blocks_of(
        WALKTHROUGH_V1, "sh", fresh.base_url
    )
    ids, frames, page, new_messages = shown_on(WALKTHROUGH_V1, fresh.base_url)
    assert first.run(sign_up) == "{}{}{}"
    assert first.run(sign_in) == ""
    assert outputs_of(first, [open_chat]) == [ids]
    second.type(connect)
    # The first frame that a socket receives shows that it is open
    second.type('{"topic":"messenger"}')
    assert "error" in second.read_line()
    first.run(send)
    received = [second.read_line() for _ in frames.splitlines()]
    assert without_names_of_the_day("\n".join(received)) == frames
    # The page shows the beginning of the response. Receipts of old clients are stored once a second, and the
    # test types faster than that
    [printed] = outputs_of(first, [read])
    beginning = page.removesuffix("…").rstrip()
    assert printed.replace('"status":"created"', '"status":"received"').startswith(beginning)
    assert outputs_of(first, [new]) == [new_messages]
    assert "deliver message" in trace_message(first, trace, fresh)
