"""The original walkthrough's commands, and a terminal to type them into."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from queue import Queue
from typing import Any
from uuid import UUID

REPOSITORY = Path(__file__).parents[2]
ORIGINAL = REPOSITORY.parent / "shared" / "reference" / "walkthrough.ru.md"
COPY = Path(__file__).parent / "walkthrough_commands.txt"
SEPARATOR = "----\n"
WAIT_SECONDS = 20.0
# Of the page's URLs
WRITTEN_PORT = 10000
TEXTS = ["Hello, Alice!", "What is up?", "I miss you!"]
BAD_FRAME = '{"topic":"messenger"}'


def blocks_of_page(page: str) -> list[str]:
    """The page's commands and frames: its blocks of `shell script`, as they stand."""
    return re.findall(r"^```shell script\n(.*?)^```", page, re.DOTALL | re.MULTILINE)


def walkthrough_blocks() -> list[str]:
    """The original's blocks where it is at hand, else the copies here."""
    if ORIGINAL.exists():
        return blocks_of_page(ORIGINAL.read_text(encoding="utf-8"))
    return COPY.read_text(encoding="utf-8").split(SEPARATOR)


def blocks_for_port(port: str) -> list[str]:
    """The same, for the gateway on a port of this machine."""
    return [block.replace(f"localhost:{WRITTEN_PORT}", f"localhost:{port}") for block in walkthrough_blocks()]


def expand(block: str, variables: dict[str, str]) -> str:
    """A block with `${NAME}` replaced, as who types it into a program does."""
    return re.sub(r"\$\{(\w+)\}", lambda found: variables[found[1]], block)


class Terminal:
    """One bash session. What is typed goes to bash, or to the program that it runs in the foreground."""

    def __init__(self) -> None:
        tools = Path(sys.executable).parent
        self.bash = subprocess.Popen(
            ["bash", "--noprofile", "--norc"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}", "LC_ALL": "C.UTF-8"},
            text=True,
            bufsize=1,
            start_new_session=True,
        )
        self._lines: Queue[str] = Queue()
        self.errors: list[str] = []
        self._threads = [
            threading.Thread(target=self._read_lines, daemon=True),
            threading.Thread(target=self._read_errors, daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def type(self, text: str) -> None:
        """Types lines."""
        assert self.bash.stdin is not None
        self.bash.stdin.write(text if text.endswith("\n") else text + "\n")
        self.bash.stdin.flush()

    def read_line(self) -> str:
        """The next line of output, without its end."""
        return self._lines.get(timeout=WAIT_SECONDS)

    def run(self, block: str) -> str:
        """Types commands, and gives what they print."""
        mark = f"mark {uuid.uuid4()}"
        self.type(f"{block}\nprintf '\\n%s\\n' '{mark}'")
        printed: list[str] = []
        while (line := self.read_line()) != mark:
            printed.append(line)
        return "\n".join(printed).strip()

    def variable(self, name: str) -> str:
        """The value of an exported variable."""
        return self.run(f"printenv {name}")

    def close(self) -> None:
        """Ends the session, and what runs in it."""
        assert self.bash.stdin is not None
        assert self.bash.stdout is not None
        assert self.bash.stderr is not None
        with contextlib.suppress(BrokenPipeError):
            self.bash.stdin.close()
        # websocat goes on reading its socket behind the end of its input. The whole group gets the signal: a
        # list of children would name some that end before their turn. The group is there until bash is reaped
        os.killpg(self.bash.pid, signal.SIGTERM)
        try:
            self.bash.wait(WAIT_SECONDS)
        finally:
            if self.bash.returncode is None:
                os.killpg(self.bash.pid, signal.SIGKILL)
                self.bash.wait()
            for thread in self._threads:
                thread.join(WAIT_SECONDS)
            self.bash.stdout.close()
            self.bash.stderr.close()

    def _read_lines(self) -> None:
        assert self.bash.stdout is not None
        for line in self.bash.stdout:
            self._lines.put(line.removesuffix("\n"))

    def _read_errors(self) -> None:
        assert self.bash.stderr is not None
        self.errors.extend(self.bash.stderr)


@contextlib.contextmanager
def terminal() -> Iterator[Terminal]:
    """A terminal window."""
    window = Terminal()
    try:
        yield window
    finally:
        window.close()


def open_socket(window: Terminal, command: str) -> None:
    """Runs a command that ends in websocat. Returns once the gateway has answered it."""
    window.type(command)
    # Bash reads no further than its command: this line is websocat's, also where it starts later
    window.type(BAD_FRAME)
    error = json.loads(window.read_line())
    assert list(error) == ["topic", "action", "payload"]
    assert (error["topic"], error["action"]) == ("messenger", "error")
    payload = json.loads(error["payload"])
    assert list(payload) == ["code", "message"]
    assert payload["code"] == 0


def walk_through(blocks: list[str], elsewhere: list[str]) -> str:
    """Walks through the page, as two people with three sockets. Returns the access token of one of them.

    `elsewhere`: the blocks for the gateway of one of Alice's sockets; all else is done by `blocks`.
    """
    sign_up, sign_in, echo_tokens, find_alice, echo_alice, open_chat, echo_chat, connect, frames, read = (
        blocks
    )
    # As the page has it: one window for commands, and three with a socket each
    with terminal() as shell, terminal() as bob, terminal() as alice, terminal() as second:
        assert shell.run(sign_up) == "{}{}{}"
        assert shell.run(sign_in) == ""
        tokens = shell.run(echo_tokens).split("\n")
        assert len(set(tokens)) == 3
        assert all(re.fullmatch(r"[\w-]+\.[\w-]+\.[\w-]+", token) for token in tokens)
        shell.run(find_alice)
        alice_id = UUID(shell.run(echo_alice))
        shell.run(open_chat)
        chat_id = shell.run(echo_chat)
        assert str(UUID(chat_id)) == chat_id

        open_socket(alice, as_alice(elsewhere[7]))
        open_socket(second, as_alice(connect))
        open_socket(bob, connect)
        bob.type(expand(frames, {"CHAT_ID": chat_id}))
        expected = [compact_frame(chat_id, text) for text in TEXTS]
        assert [alice.read_line() for _ in TEXTS] == expected
        assert [second.read_line() for _ in TEXTS] == expected

        # The sender's own socket gets no acknowledgement: the first thing it hears is Alice's answer. Her
        # other device hears it too, her own socket does not
        alice.type(compact_frame(chat_id, "Hello, Bob!"))
        assert bob.read_line() == compact_frame(chat_id, "Hello, Bob!")
        assert second.read_line() == compact_frame(chat_id, "Hello, Bob!")
        bob.type(compact_frame(chat_id, "Bye!"))
        assert alice.read_line() == compact_frame(chat_id, "Bye!")

        page = json.loads(shell.run(read))
    check_page(page, chat_id, str(alice_id))
    return tokens[1]


def as_alice(block: str) -> str:
    """What the page lets Bob do, done by Alice."""
    found = block.replace("BOB", "ALICE").replace("bob@", "alice@")
    assert found.count("ALICE") == 2
    return found


def compact_frame(chat_id: str, text: str) -> str:
    """A frame as the reference fixes it, byte for byte."""
    return (
        '{"topic":"messenger","action":"send-message","payload":"{\\"chat_id\\":\\"' + chat_id
        + '\\",\\"messages\\":[{\\"text\\":\\"' + text + '\\",\\"status\\":\\"created\\"}]}"}'
    )  # fmt: skip


def check_page(page: dict[str, Any], chat_id: str, alice_id: str) -> None:
    """The history that the walkthrough ends with, and the two messages of our own behind it."""
    assert list(page) == ["total", "limit", "offset", "messages"]
    assert (page["total"], page["limit"], page["offset"]) == (5, 10, 0)
    messages = page["messages"]
    assert [message["text"] for message in messages] == [*TEXTS, "Hello, Bob!", "Bye!"]
    assert len({message["id"] for message in messages}) == 5
    assert sorted(m["create_time"] for m in messages) == [m["create_time"] for m in messages]
    for message in messages:
        assert list(message) == ["id", "text", "status", "create_time", "user_id", "chat_id"]
        assert str(UUID(message["id"])) == message["id"]
        assert message["chat_id"] == chat_id
        assert message["status"] in ("created", "received", "read")
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", message["create_time"])
    assert [m["user_id"] == alice_id for m in messages] == [False, False, False, True, False]
