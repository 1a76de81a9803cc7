"""The archiver's work while it holds the lease: moves what was committed to the archive, and trims the
journal."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence

from sqlalchemy import Connection

from palaver.messenger.archive import metrics
from palaver.messenger.archive.backlog import Backlog, Wanted
from palaver.messenger.archive.block_writer import BlockWriter
from palaver.messenger.archive.circuit_breaker import CircuitBreaker
from palaver.messenger.archive.journal_follower import JournalFollower
from palaver.messenger.archive.journal_rows import (
    ChangedRow,
    read_changed,
    read_new_rows,
    store_positions,
)
from palaver.messenger.archive.nodes import Address, ArchiveNodes, NodeError
from palaver.messenger.archive.placement import NoShardError, WeightedShard, place
from palaver.messenger.archive.topology import ArchiveAddress, find_shards, places_of
from palaver.messenger.archive.trimming import Margin, trim_journal
from palaver.messenger.store.leases import Lease, LeaseLostError, check_lease
from palaver.messenger.store.shards import ACTIVE, Shard, read_shards, store_shards
from palaver.runtime.sql.database import Database
from palaver.runtime.telemetry.configuration import log

BLOCK_ROWS = 50_000
# Of texts; the process and the node each have them in memory more than once
BLOCK_BYTES = 32 * 1024 * 1024
CHANGES_AT_ONCE = 500
# Chats and changes that wait in memory. Where more do, those of shards that fail are searched for later
MOST_WAITING = 200_000
# Of one step: neither may keep the other, or the blocks, waiting for long
FOLLOWED_AT_ONCE = 20
TRIMS_AT_ONCE = 10
SHARDS_SECONDS = 15.0
POLL_SECONDS = 0.25
NOWHERE = -1


class Archiver:
    """Archives as the holder of a lease, a block of each shard in `block_seconds`: fewer and larger ones
    leave fewer parts, which the node has to merge. `shards`: as they are known."""

    def __init__(
        self,
        database: Database,
        nodes: ArchiveNodes,
        archive: ArchiveAddress,
        margin: Margin,
        lease: Lease,
        block_seconds: float,
    ) -> None:
        self._database = database
        self._nodes = nodes
        self._archive = archive
        self._margin = margin
        self._lease = lease
        self._block_seconds = block_seconds
        self.shards: list[Shard] = []
        self._places: Mapping[int, Address] = {}
        self._shards_read_at = float("-inf")
        self._backlog = Backlog(self._place)
        self._follower = JournalFollower(database, self._backlog)
        self._writer = BlockWriter(database, nodes, archive.database, lease)
        self._breakers: dict[int, CircuitBreaker] = defaultdict(CircuitBreaker)
        self._blocks: dict[int, asyncio.Task[None]] = {}
        self._due: dict[int, float] = defaultdict(float)
        self._forgot = False

    @property
    def failing(self) -> list[int]:
        """The shards that take no blocks now."""
        return [shard.id for shard in self.shards if not self._breakers[shard.id].is_closed]

    async def run(self) -> None:
        """Archives until cancelled. Raises `LeaseLostError`, `StartError` and what the database raises."""
        try:
            await self.begin()
            while True:
                await self.step()
                await self.wait(POLL_SECONDS)
        finally:
            for task in self._blocks.values():
                task.cancel()
            await asyncio.gather(*self._blocks.values(), return_exceptions=True)

    async def begin(self) -> None:
        """Learns where it stands. Raises as `run` does."""
        await self._find_shards()
        await self._follower.begin()

    async def step(self) -> None:
        """Follows what is new, begins what blocks there are, and records what has ended."""
        if time.monotonic() - self._shards_read_at >= SHARDS_SECONDS:
            await self._find_shards()
        await self._follow()
        await self._begin_blocks()
        self._end_blocks()
        finished = self._backlog.finished()
        if finished is not None:
            await self._database.write(store_positions, self._lease, finished)
        metrics.LAG_COMMITS.set(await self._follower.lag() + self._backlog.steps)
        for _ in range(TRIMS_AT_ONCE):
            trimmed = await self._database.write(trim_journal, self._lease, self._margin)
            if not trimmed:
                break
            metrics.TRIMMED.inc(trimmed)

    def is_idle(self) -> bool:
        """Whether everything that was followed is archived."""
        return not self._blocks and not len(self._backlog)

    # ---- shards ----

    async def _find_shards(self) -> None:
        """Reads the topology anew. While the cluster's node is away, the shards stay as they are known."""
        self._shards_read_at = time.monotonic()
        known = await self._database.read(read_shards)
        try:
            found = await find_shards(self._nodes, self._archive, known)
        except NodeError as error:
            log.warning("cluster_not_read", node=str(self._archive.node), cause=str(error))
        else:
            await self._database.write(store_found, self._lease, found)
            known = await self._database.read(read_shards)
        if known != self.shards:
            self.shards = known
            self._places = places_of(known)
            self._backlog.place_anew()

    def _place(self, chat_id: bytes) -> int:
        active = [WeightedShard(one.id, one.weight) for one in self.shards if one.state == ACTIVE]
        try:
            return place(chat_id, active)
        except NoShardError:
            return NOWHERE

    # ---- following ----

    async def _follow(self) -> None:
        for _ in range(FOLLOWED_AT_ONCE):
            if len(self._backlog) >= MOST_WAITING or not await self._follower.advance():
                break
        if len(self._backlog) >= MOST_WAITING:
            for shard in self.failing:
                self._backlog.forget(shard)
                self._forgot = True
        if self._forgot and not self.failing:
            self._forgot = False
            await self._follower.search()

    # ---- blocks ----

    async def _begin_blocks(self) -> None:
        changed = await self._locate_changes()
        now = time.monotonic()
        for shard in {*self._backlog.shards(), *changed} & self._places.keys() - self._blocks.keys():
            if now >= self._due[shard] and self._breakers[shard].admits(now):
                self._due[shard] = now + self._block_seconds
                taken = self._backlog.take(shard, BLOCK_ROWS)
                block = self._write_block(shard, taken, changed.get(shard, []))
                self._blocks[shard] = asyncio.create_task(block)

    async def _locate_changes(self) -> Mapping[int, Sequence[ChangedRow]]:
        """Changed rows by the shard that has them in an older state.

        They are waited for until a later look finds that the archive has them: they may change once more
        while they are on their way.
        """
        by_shard: dict[int, list[ChangedRow]] = defaultdict(list)
        places = self._backlog.changes(CHANGES_AT_ONCE)
        if places:
            found, settled = await self._database.read(read_changed, places)
            self._backlog.changes_done(settled)
            for changed in found:
                by_shard[changed.shard_id].append(changed)
        return by_shard

    async def _write_block(
        self, shard: int, taken: Mapping[bytes, Wanted], changed: Sequence[ChangedRow]
    ) -> None:
        """Archives chats and changes on one shard; what fails waits again. Raises `LeaseLostError`."""
        ends: Mapping[bytes, int] = {}
        try:
            if changed:
                await self._writer.write_changed(self._places[shard], changed)
            rows, reached = await self._database.read(
                read_new_rows, {chat_id: one.until for chat_id, one in taken.items()}, BLOCK_ROWS, BLOCK_BYTES
            )
            if rows:
                await self._writer.write_new(shard, self._places[shard], rows)
            ends = reached
            metrics.ARCHIVED.inc(len(changed) + len(rows))
            self._note_success(shard)
        except LeaseLostError:
            raise
        except Exception as error:
            self._note_failure(shard, error)
        finally:
            self._settle(shard, taken, ends)

    def _settle(self, shard: int, taken: Mapping[bytes, Wanted], ends: Mapping[bytes, int]) -> None:
        """What was taken is archived, or waits again."""
        for chat_id, wanted in taken.items():
            end = ends.get(chat_id, 0)
            if end >= wanted.until:
                self._backlog.done(wanted)
                continue
            self._backlog.give_back(
                chat_id, wanted._replace(messages=min(wanted.messages, wanted.until - end))
            )
            if ends:
                # The block was full: the next one need not be waited for
                self._due[shard] = 0.0

    def _note_success(self, shard: int) -> None:
        self._breakers[shard].succeed()
        metrics.SHARD_FAILING.labels(shard).set(0)

    def _note_failure(self, shard: int, error: Exception) -> None:
        if self._breakers[shard].is_closed:
            if isinstance(error, NodeError):
                log.warning("shard_failed", shard=shard, kind=type(error).__name__, cause=str(error))
            else:
                log.error("block_failed", shard=shard, exc_info=error)
        self._breakers[shard].fail(time.monotonic())
        metrics.SHARD_FAILING.labels(shard).set(1)

    def _end_blocks(self) -> None:
        for shard, task in list(self._blocks.items()):
            if task.done():
                del self._blocks[shard]
                task.result()

    async def wait(self, seconds: float) -> None:
        """Until a block ends, but no longer."""
        if self._blocks:
            await asyncio.wait(self._blocks.values(), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        else:
            await asyncio.sleep(seconds)


def store_found(connection: Connection, lease: Lease, found: Sequence[Shard]) -> None:
    """Notes where shards were found. Raises `LeaseLostError`."""
    check_lease(connection, lease)
    store_shards(connection, found)
