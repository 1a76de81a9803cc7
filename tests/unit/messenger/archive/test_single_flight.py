"""One read for all who want the same."""

import asyncio

import pytest

from palaver.messenger.archive.single_flight import SingleFlight


class Reads:
    """Reads that wait until they are let go."""

    def __init__(self) -> None:
        self.count = 0
        self.go = asyncio.Event()

    async def read(self) -> int:
        """The number of the read."""
        self.count += 1
        number = self.count
        await self.go.wait()
        return number

    async def fail(self) -> int:
        """Nothing."""
        self.count += 1
        await self.go.wait()
        raise LookupError


async def test_a_hundred_readers_are_one_read() -> None:
    """A popular chat would be read a hundred times from the archive at once."""
    flight: SingleFlight[int] = SingleFlight()
    reads = Reads()
    readers = [asyncio.create_task(flight.run("a", reads.read)) for _ in range(100)]
    other = asyncio.create_task(flight.run("b", reads.read))
    await asyncio.sleep(0)
    reads.go.set()
    assert set(await asyncio.gather(*readers)) == {1}
    assert await other == 2
    assert await flight.run("a", reads.read) == 3


async def test_who_gives_up_leaves_the_read_to_the_others() -> None:
    """One client that closes its connection would fail the pages of all others."""
    flight: SingleFlight[int] = SingleFlight()
    reads = Reads()
    first, second = (asyncio.create_task(flight.run("a", reads.read)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.sleep(0)
    reads.go.set()
    assert await second == 1
    assert first.cancelled()


async def test_all_get_the_error_and_the_next_reads_anew() -> None:
    """A shard that is back would seem away for ever."""
    flight: SingleFlight[int] = SingleFlight()
    reads = Reads()
    readers = [asyncio.create_task(flight.run("a", reads.fail)) for _ in range(2)]
    await asyncio.sleep(0)
    reads.go.set()
    for reader in readers:
        with pytest.raises(LookupError):
            await reader
    assert await flight.run("a", reads.read) == 2
