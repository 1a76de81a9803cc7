"""A messenger that is killed between a commit and its delivery, whatever its clock has done before."""

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from palaver.contracts.ids import new_id, text_from_id
from tests.harness.messenger_process import MessengerProcess
from tests.harness.realtime import Gateway, Place, eventually, running_gateway
from tests.harness.websocket_clients import ListeningV1, ListeningV2

ALICE, BOB = new_id(), new_id()
HOUR = 3_600
# What reaches sockets in this time is all that comes
QUIET_SECONDS = 0.3


class House:
    """Alice and Bob in one chat, before a messenger that a test holds up, moves in time and kills."""

    def __init__(self, place: Place, messenger: MessengerProcess, gateway: Gateway) -> None:
        self.place = place
        self.messenger = messenger
        self.gateway = gateway
        self.chat_id = place.direct(ALICE, BOB)

    async def open(self) -> None:
        """Opens Alice's socket, and Bob's of both generations."""
        self.alice = await ListeningV2.open(self.gateway, "/v2/ws", ALICE)
        self.bob = await ListeningV2.open(self.gateway, "/v2/ws", BOB)
        self.old_bob = await ListeningV1.open(self.gateway, "/messenger/ws", BOB)
        for socket in (self.alice, self.bob):
            await eventually(lambda socket=socket: socket.frames("hello"), "attached")
        await self.talk("before")

    async def talk(self, text: str) -> None:
        """A message that everybody gets: what the gateway has heard of time and positions is fresh."""
        count = len(self.bob.seqs)
        self.alice.send(self.chat_id, text)
        await eventually(lambda: len(self.bob.seqs) == count + 1, f"{text} delivered")

    async def commit_and_die(self) -> None:
        """A message is on disk, and nobody has it: then the messenger is killed, and started again."""
        self.messenger.hold_commits(True)
        self.alice.send(self.chat_id, "on disk")
        await eventually(lambda: self.messenger.has_held_commit, "the commit")

    async def restart(self) -> None:
        """Kills the messenger and starts it again, with the right time and nothing that holds it."""
        await asyncio.to_thread(self.messenger.stop, signal.SIGKILL)
        self.messenger.hold_commits(False)
        self.messenger.set_clock(0)
        await asyncio.to_thread(self.messenger.start)

    async def check(self, *texts: str) -> None:
        """Everybody has everything, once and in order, and Alice her acknowledgements."""
        await eventually(lambda: len(self.bob.seqs) >= len(texts), "Bob's messages")
        await eventually(lambda: len(self.old_bob.texts) >= len(texts), "old Bob's messages")
        await eventually(lambda: len(self.alice.acks) == len(texts), "Alice's acknowledgements")
        await asyncio.sleep(QUIET_SECONDS)
        assert self.bob.seqs == list(range(1, len(texts) + 1))
        assert self.old_bob.texts == list(texts)
        assert [message.text for message in self.place.history(self.chat_id)] == list(texts)
        assert all(len(seqs) == 1 for seqs in self.alice.acks.values())


@pytest_asyncio.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    """A house with open sockets."""
    place = Place(tmp_path)
    messenger = MessengerProcess(place)
    with messenger.running():
        async with running_gateway(place.keys, messenger.port) as gateway:
            house = House(place, messenger, gateway)
            await house.open()
            yield house
    place.close()


async def stall(house: House) -> None:
    """The disk takes 25 s for one commit, while the stream goes on."""
    await house.commit_and_die()
    house.messenger.set_clock(25)
    house.alice.say({"type": "typing", "chat_id": text_from_id(house.chat_id)})
    await eventually(lambda: house.bob.frames("typing"), "a batch 25 s later")


async def step_back(house: House, seconds: int) -> None:
    """The clock is set back, then a message is committed."""
    house.messenger.set_clock(-seconds)
    await house.commit_and_die()


async def run_ahead(house: House) -> None:
    """The clock is an hour ahead while a message is delivered, and right again when the next is committed."""
    house.messenger.set_clock(HOUR)
    await house.talk("ahead")
    house.messenger.set_clock(0)
    await house.commit_and_die()


CASES: dict[str, tuple[Callable[[House], Awaitable[None]], tuple[str, ...]]] = {
    "stalled": (stall, ("before", "on disk")),
    "back 15 s": (lambda house: step_back(house, 15), ("before", "on disk")),
    "back 1 h": (lambda house: step_back(house, HOUR), ("before", "on disk")),
    "ahead 1 h": (run_ahead, ("before", "ahead", "on disk")),
}


@pytest.mark.parametrize("name", CASES)
async def test_p3_what_is_on_disk_reaches_open_sockets_whatever_the_clock_does(
    house: House, name: str
) -> None:
    """A message that was stored and acknowledged would never reach people who sat before their screens."""
    spoil, texts = CASES[name]
    await spoil(house)
    await house.restart()
    await house.check(*texts)


async def test_p3_a_second_kill_while_it_catches_up_loses_nothing(house: House) -> None:
    """Where a fault comes twice, what the first one left behind would be lost by the second."""
    await house.commit_and_die()
    for _ in range(3):
        await house.restart()
    await house.check("before", "on disk")
    await house.talk("after")
    await house.check("before", "on disk", "after")
