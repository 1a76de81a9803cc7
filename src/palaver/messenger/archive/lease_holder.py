"""Holding the archiver's lease: one archives, the others wait for it to go."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from palaver.contracts.ids import new_id
from palaver.messenger.archive import metrics
from palaver.messenger.store.leases import (
    ARCHIVER,
    Lease,
    LeaseLostError,
    end_lease,
    renew_lease,
    take_lease,
)
from palaver.runtime.sql.database import Database, DatabaseUnavailableError
from palaver.runtime.telemetry.configuration import log

LEASE_SECONDS = 10.0
RENEW_SECONDS = 3.0
RETRY_SECONDS = 1.0


async def hold_lease(database: Database, work: Callable[[Lease], Awaitable[None]]) -> None:
    """Runs `work` while this process holds the lease, again and again, until cancelled. Raises what `work`
    raises, but for `LeaseLostError` and a database that is away: then it waits for the lease anew."""
    holder = new_id()
    while True:
        try:
            lease = await database.write(take_lease, ARCHIVER, holder, LEASE_SECONDS)
            if lease is not None:
                await lead(database, lease, work)
        except LeaseLostError:
            log.warning("lease_lost")
        except DatabaseUnavailableError as error:
            log.warning("journal_away", debug=error.debug)
        await asyncio.sleep(RETRY_SECONDS)


async def lead(database: Database, lease: Lease, work: Callable[[Lease], Awaitable[None]]) -> None:
    """Runs `work`, renewing the lease beside it. Raises what either raises."""
    log.info("lease_taken", token=lease.token)
    metrics.LEADING.set(1)
    tasks = [asyncio.ensure_future(work(lease)), asyncio.create_task(keep_lease(database, lease))]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        metrics.LEADING.set(0)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await give_up_lease(database, lease)


async def keep_lease(database: Database, lease: Lease) -> None:
    """Renews the lease until it is lost. Raises `LeaseLostError`."""
    while True:
        await asyncio.sleep(RENEW_SECONDS)
        await database.write(renew_lease, lease, LEASE_SECONDS)


async def give_up_lease(database: Database, lease: Lease) -> None:
    """Lets the next one begin at once, where that can still be said."""
    with contextlib.suppress(LeaseLostError, DatabaseUnavailableError):
        await database.write(end_lease, lease)
