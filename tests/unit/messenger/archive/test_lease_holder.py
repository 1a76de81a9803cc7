"""Who archives, of several."""

import asyncio

import pytest

from palaver.messenger.archive import lease_holder
from palaver.messenger.archive.lease_holder import hold_lease
from palaver.messenger.store.leases import Lease
from palaver.runtime.sql.database import Database
from tests.harness.archive import expire_leases
from tests.harness.waiting import eventually


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for long."""
    monkeypatch.setattr(lease_holder, "RETRY_SECONDS", 0.01)
    monkeypatch.setattr(lease_holder, "RENEW_SECONDS", 0.05)


@pytest.fixture(params=["sqlite", "mariadb"])
def sql_engine(request: pytest.FixtureRequest) -> str:
    """Each test on both."""
    return str(request.param)


class Work:
    """Work that goes on until it is cancelled."""

    def __init__(self) -> None:
        self.leases: list[Lease] = []
        self.is_running = False

    async def run(self, lease: Lease) -> None:
        """Notes that it runs."""
        self.leases.append(lease)
        self.is_running = True
        try:
            await asyncio.Event().wait()
        finally:
            self.is_running = False


async def stop(task: "asyncio.Task[None]") -> None:
    """As SIGTERM does."""
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_the_next_takes_over_when_one_stops(database: Database) -> None:
    """After an update of one archiver nothing would be archived for some time, or by two."""
    works = [Work(), Work()]
    tasks = [asyncio.create_task(hold_lease(database, work.run)) for work in works]
    await eventually(lambda: works[0].is_running or works[1].is_running, "one works")
    await asyncio.sleep(0.2)
    first = 0 if works[0].is_running else 1
    assert not works[1 - first].leases
    await stop(tasks[first])
    await eventually(lambda: works[1 - first].is_running, "the other works")
    assert works[1 - first].leases[0].token > works[first].leases[0].token
    await stop(tasks[1 - first])


async def test_who_lost_the_lease_stops_and_waits(database: Database) -> None:
    """An archiver that was paused for long would go on beside its successor."""
    work = Work()
    task = asyncio.create_task(hold_lease(database, work.run))
    await eventually(lambda: work.is_running, "it works")
    # It sleeps until after the lease's end, and another one is quicker
    stolen = None
    while stolen is None:
        await database.write(expire_leases)
        stolen = await database.write(lease_holder.take_lease, lease_holder.ARCHIVER, bytes(16), 60.0)
    await eventually(lambda: not work.is_running, "it stops")
    assert len(work.leases) == 1
    await stop(task)


async def test_an_error_of_the_work_is_raised(database: Database) -> None:
    """A wrong setting would be tried for ever, and nobody would be told."""

    async def fail(_lease: Lease) -> None:
        raise LookupError

    with pytest.raises(LookupError):
        await hold_lease(database, fail)
