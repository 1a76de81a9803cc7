"""Builds everything of the archiver, once, in order; nothing else does."""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Iterator, Mapping
from typing import Any

from palaver.messenger.archive.archiver import Archiver
from palaver.messenger.archive.lease_holder import hold_lease
from palaver.messenger.archive.opening import WRITE_SECONDS, archive_address, open_nodes
from palaver.messenger.archive.trimming import Margin
from palaver.messenger.database import KIND, location_of
from palaver.messenger.store.leases import Lease
from palaver.messenger.store.opening import open_store
from palaver.runtime.http.health import Check, health_app
from palaver.runtime.http.instrumentation import RequestInstrumentation
from palaver.runtime.http.server import serving_http
from palaver.runtime.settings import Settings
from palaver.runtime.sql import locations
from palaver.runtime.sql.health import is_usable
from palaver.runtime.startup import StartError
from palaver.runtime.telemetry.configuration import log

BLOCK_SECONDS = 1.0


async def serve(
    settings: Settings, stopping: asyncio.Event, ready: Callable[[int], None] | None = None
) -> None:
    """Archives until `stopping` is set. `ready` gets the HTTP port once it takes connections.

    Raises `OSError` where the port is taken, `StartError`, and `SchemaTooNewError`.
    """
    own = settings.archive
    if not own.url:
        raise StartError("setting archive.url: is empty, and there is nowhere to move messages to")
    location = location_of(settings)
    await locations.migrate_database(location, KIND)
    async with contextlib.AsyncExitStack() as stack:
        store = open_store(location, settings.messenger)
        stack.push_async_callback(store.close)
        nodes = open_nodes(own, WRITE_SECONDS)
        stack.push_async_callback(nodes.close)
        margin = Margin(own.keep_messages, own.keep_hours)
        checks = ArchiverChecks(lambda: is_usable(store.database))

        async def archive(lease: Lease) -> None:
            address = archive_address(own)
            archiver = Archiver(store.database, nodes, address, margin, lease, BLOCK_SECONDS)
            checks.leading = archiver
            try:
                await archiver.run()
            finally:
                checks.leading = None

        app = RequestInstrumentation(
            health_app(checks), is_edge=False, access_log=settings.telemetry.access_log
        )
        http = await stack.enter_async_context(serving_http(app, own.host, own.http_port))
        log.info("listening", host=own.host, http_port=http.port)
        if ready is not None:
            ready(http.port)
        await run_until(stopping, hold_lease(store.database, archive))
        log.info("stopping")
    log.info("stopped")


class ArchiverChecks(Mapping[str, Check]):
    """What `/readyz` looks at: the journal, and, while this archiver leads, each shard by its name."""

    def __init__(self, journal: Check) -> None:
        self._journal = journal
        self.leading: Archiver | None = None

    def __getitem__(self, name: str) -> Check:
        return self._all()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())

    def _all(self) -> dict[str, Check]:
        checks = {"journal": self._journal}
        for shard in self.leading.shards if self.leading else ():
            checks[f"shard {shard.id}"] = self._takes_blocks(shard.id)
        return checks

    def _takes_blocks(self, shard_id: int) -> Check:
        async def check() -> bool:
            return self.leading is None or shard_id not in self.leading.failing

        return check


async def run_until(stopping: asyncio.Event, work: Coroutine[Any, Any, None]) -> None:
    """Runs `work` until `stopping` is set. Raises what it raises."""
    tasks = [asyncio.create_task(work), asyncio.create_task(stopping.wait())]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
    failure = results[0]
    if isinstance(failure, Exception):
        raise failure
