"""Ended sessions: learned, told on, remembered, forgotten."""

from uuid import UUID

import pytest

from palaver.contracts.errors import UNAVAILABLE, PalaverError
from palaver.gateway.upstream.revocations import Revocations
from tests.harness.scripted_upstreams import Door

pytestmark = pytest.mark.asyncio(loop_scope="session")

FIRST, SECOND = UUID(int=1), UUID(int=2)


class Clock:
    """A clock that a test moves."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def nobody(_session_id: bytes) -> None:
    """No socket is open."""


async def test_each_session_is_closed_once(door: Door) -> None:
    """Sockets of a signed-out device would stay open."""
    told: list[bytes] = []
    revocations = Revocations(door.services.auth, 600, told.append)
    door.auth.answers["GET /revocations"] = {"session_ids": [str(FIRST)], "position": 1}
    await revocations.poll()
    door.auth.answers["GET /revocations"] = {"session_ids": [str(FIRST), str(SECOND)], "position": 2}
    await revocations.poll()
    assert told == [FIRST.bytes, SECOND.bytes]
    assert [asked.query["after"] for asked in door.auth.asked] == ["0", "1"]


async def test_a_session_is_remembered_while_its_token_lives(door: Door) -> None:
    """A token would be good again before it expires; or a gateway's memory would grow for ever."""
    clock = Clock()
    revocations = Revocations(door.services.auth, 600, nobody, clock=clock)
    door.auth.answers["GET /revocations"] = {"session_ids": [str(FIRST)], "position": 1}
    await revocations.poll()
    door.auth.answers["GET /revocations"] = {"session_ids": [], "position": 1}
    clock.now = 599
    await revocations.poll()
    assert revocations.is_ended(FIRST.bytes)
    clock.now = 601
    await revocations.poll()
    assert not revocations.is_ended(FIRST.bytes)


async def test_without_auth_it_goes_on_with_what_it_knows(door: Door) -> None:
    """A restart of auth would let ended sessions in again, or stop the polling for good."""
    revocations = Revocations(door.services.auth, 600, nobody)
    door.auth.answers["GET /revocations"] = {"session_ids": [str(FIRST)], "position": 1}
    await revocations.poll()
    door.auth.answers["GET /revocations"] = PalaverError(UNAVAILABLE)
    await revocations.poll()
    assert revocations.is_ended(FIRST.bytes)
    door.auth.answers["GET /revocations"] = {"session_ids": [str(SECOND)], "position": 2}
    await revocations.poll()
    assert revocations.is_ended(SECOND.bytes)


async def test_a_gateway_that_starts_learns_of_all(door: Door) -> None:
    """After a restart of the gateway, ended sessions would be let in until their tokens expire."""
    revocations = Revocations(door.services.auth, 600, nobody)
    door.auth.answers["GET /revocations"] = [
        {"session_ids": [str(FIRST)], "position": 5},
        {"session_ids": [str(SECOND)], "position": 9},
        {"session_ids": [], "position": 9},
    ]
    await revocations.catch_up(5)
    assert revocations.is_ended(FIRST.bytes)
    assert revocations.is_ended(SECOND.bytes)
    assert [asked.query["after"] for asked in door.auth.asked] == ["0", "5", "9"]
