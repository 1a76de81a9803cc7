"""Writers on MySQL: any number of them write to one schema, each under a number of its own in the commit log.

A writer is a row of `writers`, claimed by one process for some time. Each claim raises the row's token, and
each transaction of the writer checks that the token is still its own, in the statement that gives it its
number. The row stays locked until the commit: numbers are in the order of commits, and a process that was
paused for so long that its claim was taken writes nothing under it. Claims that were not used for a while may
be taken: after restarts there are as many writers as before.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

from sqlalchemy import Connection, func, insert, literal_column, select, update
from sqlalchemy.exc import IntegrityError

from palaver.messenger.events import Event, Position, encode_entries
from palaver.messenger.store.schema import commit_log, writers
from palaver.runtime.sql.database import DatabaseUnavailableError
from palaver.runtime.sql.mysql import MysqlDatabase
from palaver.runtime.sql.url import MysqlAddress
from palaver.runtime.telemetry.configuration import log

T = TypeVar("T")

# How long a writer that writes nothing keeps its number. Each commit begins it anew
CLAIM_SECONDS = 30
CLAIM_US = CLAIM_SECONDS * 1_000_000
# A process that is paused again and again may lose its claim as often
MOST_CLAIMS = 3

# The database's clock, in microseconds, the same whatever the time zone is
_now: Any = literal_column("CAST(UNIX_TIMESTAMP(NOW(6)) * 1000000 AS SIGNED)")
_free = select(writers.c.id, writers.c.token).where(writers.c.expires_at <= _now).order_by(writers.c.id)
# `LAST_INSERT_ID(…)` gives the new number back with the answer
_TAKE_NUMBER = (
    "UPDATE writers SET number = LAST_INSERT_ID(number + 1), "
    "expires_at = CAST(UNIX_TIMESTAMP(NOW(6)) * 1000000 AS SIGNED) + %s WHERE id = %s AND token = %s"
)
_LOG = "INSERT INTO commit_log (writer, number, entries) VALUES (%s, %s, %s)"


class Claim(NamedTuple):
    """The right to write under a writer's number, until somebody else takes it."""

    writer: int
    token: int


class ClaimLostError(Exception):
    """Somebody else has taken the writer's row meanwhile. Nothing was written."""


@dataclass(slots=True)
class Attempt(Generic[T]):
    """One transaction, however often it is begun. `outcome` and `position`: those of the attempt whose commit
    was sent; where the connection was lost then, they say what to look for."""

    outcome: tuple[T, Sequence[Event]] | None = None
    position: Position | None = None


class MysqlWriter:
    """One connection that commits one transaction after the other, under one writer's number."""

    def __init__(self, address: MysqlAddress) -> None:
        self._database = MysqlDatabase(address, readers=1, writers=1)
        self._claim: Claim | None = None
        self._claiming = asyncio.Lock()

    @property
    def wanted(self) -> int:
        """How many transactions run or wait."""
        return self._database.wanted

    async def write(
        self, work: Callable[..., tuple[T, Sequence[Event]]], *args: Any
    ) -> tuple[T, Sequence[Event], Position | None]:
        """Runs `work` in a transaction, and adds its row to the commit log where it touched anything.

        Exactly once, also where the connection is lost within the commit: whether it was committed is seen
        from the writer's row. Raises `DatabaseUnavailableError`, and what `work` raises.
        """
        for _ in range(MOST_CLAIMS):
            claim = await self._claimed()
            attempt: Attempt[T] = Attempt()
            try:
                result, events = await self._database.write(commit_work, attempt, claim, work, args)
            except ClaimLostError:
                log.warning("writer_lost", writer=claim.writer)
                if self._claim is claim:
                    self._claim = None
                continue
            return result, events, attempt.position
        raise DatabaseUnavailableError("claim lost")

    async def commit(
        self, change: Callable[..., tuple[T, list[Event]]], args: Any, kwargs: Any
    ) -> tuple[T, list[Event], Position | None]:
        """See `Writer.commit`."""
        result, events, position = await self.write(run_change, change, args, kwargs)
        return result, list(events), position

    async def close(self) -> None:
        """See `Writer.close`."""
        claim, self._claim = self._claim, None
        if claim is not None:
            try:
                await self._database.write(release_writer, claim)
            except DatabaseUnavailableError:
                # It ends by itself
                log.info("writer_not_released", writer=claim.writer)
        await self._database.close()

    async def _claimed(self) -> Claim:
        async with self._claiming:
            if self._claim is None:
                self._claim = await self._database.write(claim_writer)
                log.info("writer_claimed", writer=self._claim.writer, token=self._claim.token)
            return self._claim


class MysqlWriters:
    """Several writers of one process: a change goes to the one that has least to do."""

    def __init__(self, writers: Sequence[MysqlWriter]) -> None:
        self._writers = writers

    async def commit(
        self, change: Callable[..., tuple[T, list[Event]]], args: Any, kwargs: Any
    ) -> tuple[T, list[Event], Position | None]:
        """See `Writer.commit`."""
        writer = min(self._writers, key=lambda one: one.wanted)
        return await writer.commit(change, args, kwargs)

    async def close(self) -> None:
        """See `Writer.close`."""
        for writer in self._writers:
            await writer.close()


def run_change(
    connection: Connection, change: Callable[..., tuple[T, list[Event]]], args: Any, kwargs: Any
) -> tuple[T, list[Event]]:
    """A change, as `MysqlWriter.write` takes its work."""
    return change(connection, *args, **kwargs)


# ---- statements ----


def commit_work(
    connection: Connection,
    attempt: Attempt[T],
    claim: Claim,
    work: Callable[..., tuple[T, Sequence[Event]]],
    args: Any,
) -> tuple[T, Sequence[Event]]:
    """Runs `work` and logs what it touched, last of all: the writer's row is locked after all others. Raises
    `ClaimLostError`."""
    if attempt.position is not None and attempt.outcome is not None:
        if read_number(connection, claim) == attempt.position.number:
            return attempt.outcome
        attempt.position = None
    outcome = result, events = work(connection, *args)
    if events:
        attempt.position = append_entries(connection, claim, events)
    attempt.outcome = outcome
    return result, events


def read_number(connection: Connection, claim: Claim) -> int:
    """The writer's last number, once the transaction of a lost connection, which holds its row, has ended.

    Raises `ClaimLostError`: then that one, if it was not committed, never will be.
    """
    row = writers.c.id == claim.writer, writers.c.token == claim.token
    number: int | None = connection.execute(select(writers.c.number).where(*row).with_for_update()).scalar()
    if number is None:
        raise ClaimLostError
    return number


def append_entries(connection: Connection, claim: Claim, entries: Sequence[Event]) -> Position:
    """Gives the transaction under way its number, and adds its row to the commit log. Raises
    `ClaimLostError`."""
    cursor = connection.connection.cursor()
    cursor.execute(_TAKE_NUMBER, (CLAIM_US, *claim))
    if cursor.rowcount != 1:
        raise ClaimLostError
    position = Position(claim.writer, cursor.lastrowid)
    cursor.execute(_LOG, (*position, encode_entries(entries)))
    cursor.close()
    return position


def claim_writer(connection: Connection) -> Claim:
    """A writer that nobody has claimed, or whose claim has ended; a new one where there is none."""
    for writer, token in connection.execute(_free).all():
        # Others look for one at the same time: the token says who was first
        taken = connection.execute(
            update(writers)
            .where(writers.c.id == writer, writers.c.token == token, writers.c.expires_at <= _now)
            .values(token=token + 1, expires_at=_now + CLAIM_US)
        )
        if taken.rowcount:
            return Claim(writer, token + 1)
    return add_writer(connection)


def add_writer(connection: Connection) -> Claim:
    """A new writer, behind all that there are and all that the log knows."""
    while True:
        known = connection.execute(select(func.max(writers.c.id))).scalar() or 0
        logged = connection.execute(select(func.max(commit_log.c.writer))).scalar() or 0
        row = {"id": max(known, logged) + 1, "token": 1, "number": 0}
        try:
            with connection.begin_nested():
                connection.execute(insert(writers).values(**row, expires_at=_now + CLAIM_US))
        except IntegrityError:
            # Somebody else was first
            continue
        return Claim(row["id"], 1)


def release_writer(connection: Connection, claim: Claim) -> None:
    """Lets others have the writer at once."""
    row = writers.c.id == claim.writer, writers.c.token == claim.token
    connection.execute(update(writers).where(*row).values(expires_at=0))
