"""The original walkthrough, with its own commands and tools: curl, jq, websocat."""

import contextlib
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.harness.palaver_process import PalaverProcess, running_palaver
from tests.harness.waiting import wait_until
from tests.harness.walkthrough import (
    COPY,
    ORIGINAL,
    SEPARATOR,
    WRITTEN_PORT,
    blocks_for_port,
    blocks_of_page,
    terminal,
    walk_through,
)


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
        yield Walk(blocks_for_port(served), palaver)


def test_kept_commands_are_the_originals() -> None:
    """A checkout without the original would prove a walkthrough that nobody reads."""
    if not ORIGINAL.exists():
        pytest.skip("the original walkthrough is not beside this checkout")
    assert COPY.read_text(encoding="utf-8").split(SEPARATOR) == blocks_of_page(
        ORIGINAL.read_text(encoding="utf-8")
    )


def test_the_walkthrough_works_word_for_word(walk: Walk) -> None:
    """Whoever follows the page, and every client written after it, would get stuck at another answer."""
    alice_token = walk_through(walk.blocks, walk.blocks)
    assert alice_token not in walk.palaver.log("gateway")


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
