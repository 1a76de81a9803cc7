"""The original walkthrough, with its own commands and tools: curl, jq, websocat."""

import contextlib
import json
import re
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest

from tests.harness.palaver_process import PalaverProcess, running_palaver
from tests.harness.waiting import wait_until
from tests.harness.walkthrough import (
    COPY,
    ORIGINAL,
    SEPARATOR,
    Terminal,
    blocks_of_page,
    expand,
    walkthrough_blocks,
)

WRITTEN_PORT = 10000
TEXTS = ["Hello, Alice!", "What is up?", "I miss you!"]
BAD_FRAME = '{"topic":"messenger"}'


def port_is_free(port: int) -> bool:
    """Whether a server could listen there now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("0.0.0.0", port))
        except OSError:
            return False
    return True


@dataclass
class Walk:
    """A walk through the page. `blocks`: commands and frames, for the port that is served."""

    blocks: list[str]
    palaver: PalaverProcess


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Walk]:
    """On the walkthrough's own port where that is free, else on another, with the commands rewritten."""
    with contextlib.ExitStack() as stack:
        port = str(WRITTEN_PORT if port_is_free(WRITTEN_PORT) else 0)
        palaver = stack.enter_context(
            running_palaver(tmp_path_factory.mktemp("walk"), rates=True, arguments=("--port", port))
        )
        served = palaver.base_url.rpartition(":")[2]
        blocks = [
            block.replace(f"localhost:{WRITTEN_PORT}", f"localhost:{served}")
            for block in walkthrough_blocks()
        ]
        yield Walk(blocks, palaver)


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


def compact_frame(chat_id: str, text: str) -> str:
    """A frame as the reference fixes it, byte for byte."""
    return (
        '{"topic":"messenger","action":"send-message","payload":"{\\"chat_id\\":\\"' + chat_id
        + '\\",\\"messages\\":[{\\"text\\":\\"' + text + '\\",\\"status\\":\\"created\\"}]}"}'
    )  # fmt: skip


def test_kept_commands_are_the_originals() -> None:
    """A checkout without the original would prove a walkthrough that nobody reads."""
    if not ORIGINAL.exists():
        pytest.skip("the original walkthrough is not beside this checkout")
    assert COPY.read_text(encoding="utf-8").split(SEPARATOR) == blocks_of_page(
        ORIGINAL.read_text(encoding="utf-8")
    )


def test_the_walkthrough_works_word_for_word(walk: Walk) -> None:
    """Whoever follows the page, and every client written after it, would get stuck at another answer."""
    sign_up, sign_in, echo_tokens, find_alice, echo_alice, open_chat, echo_chat, connect, frames, read = (
        walk.blocks
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

        as_alice = connect.replace("BOB", "ALICE").replace("bob@", "alice@")
        assert as_alice.count("ALICE") == 2
        open_socket(alice, as_alice)
        open_socket(second, as_alice)
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
        alice_token = tokens[1]
    check_page(page, chat_id, str(alice_id))
    assert alice_token not in walk.palaver.log("gateway")


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


def test_a_bad_token_gets_no_socket(walk: Walk) -> None:
    """Old clients sign in again at 401; a socket that opens and closes sends them round in circles."""
    command = walk.blocks[7].splitlines()[-1].replace("${BOB_ACCESS_TOKEN}", "no.such.token")
    with terminal() as window:
        window.run(command)
        wait_until(lambda: any("401" in line for line in window.errors), f"401 in {window.errors}")


def test_a_terminal_closes_while_its_children_end() -> None:
    """The walkthrough would now and then fail at its very end, and nobody would believe it any more."""
    for _ in range(10):
        with terminal() as window:
            window.type("for number in {100..400}; do sleep 0.$number & done; wait")
            time.sleep(0.2)
        assert window.bash.returncode is not None
