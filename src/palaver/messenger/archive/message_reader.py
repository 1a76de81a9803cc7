"""The reader of messages over journal and archive."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection

from palaver.contracts.errors import UNAVAILABLE, PalaverError
from palaver.messenger.archive import statements
from palaver.messenger.archive.journal_spans import Piece, Room, Row, Span, read_places, read_span
from palaver.messenger.archive.nodes import Address, ArchiveNodes, NodeError
from palaver.messenger.archive.rows import from_row
from palaver.messenger.archive.single_flight import SingleFlight
from palaver.messenger.domain import Message
from palaver.messenger.store import messages
from palaver.messenger.store.members import Standing, read_standing
from palaver.messenger.store.messages import SEQ, ArchivedMessage, Page, Place
from palaver.messenger.store.receipts import read_receipts
from palaver.messenger.store.schema import DIRECT
from palaver.messenger.store.segments import CHUNK, Segment
from palaver.runtime.sql.database import Database
from palaver.runtime.telemetry.configuration import log

RETRY_SECONDS = 1.0


class ArchivedMessageReader:
    """Messages that are in the journal, in the archive, or in both, where the journal's are newer.

    First one transaction reads the journal and the segments of what it lacks, then the shards are read: what
    is trimmed in between is there already.
    """

    def __init__(self, database: Database, nodes: ArchiveNodes, archive_database: str) -> None:
        self._database = database
        self._nodes = nodes
        self._name = archive_database
        self._pieces: SingleFlight[list[Row]] = SingleFlight()

    async def page(
        self, chat_id: bytes, user_id: bytes, limit: int, *, before: int, after: int | None
    ) -> Page:
        """See `MessageReader.page`."""
        page, span = await self._database.read_short(read_page, chat_id, user_id, limit, before, after)
        backwards = after is None
        rows = await self._fill(span, messages.PAGE_BYTES, backwards=backwards)
        return page._replace(rows=rows[::-1] if backwards else rows)

    async def after(self, chat_id: bytes, after: int, until: int) -> list[Message]:
        """See `MessageReader.after`."""
        span = await self._database.read(read_after, chat_id, after, until)
        rows = await self._fill(span, messages.STREAM_BYTES, backwards=False)
        return [Message._make(row) for row in rows]

    async def readable_after(
        self, chat_id: bytes, user_id: bytes, after: int
    ) -> tuple[list[Message], int] | None:
        """See `MessageReader.readable_after`."""
        found = await self._database.read(read_readable_after, chat_id, user_id, after)
        if found is None:
            return None
        span, until = found
        rows = await self._fill(span, messages.STREAM_BYTES, backwards=False)
        return [Message._make(row) for row in rows], until

    async def readable_ends(self, user_id: bytes, chat_ids: Sequence[bytes]) -> Mapping[bytes, int]:
        """See `MessageReader.readable_ends`."""
        return await self._database.read(messages.read_readable_ends, user_id, chat_ids) if chat_ids else {}

    async def at(self, places: Sequence[Place]) -> Mapping[Place, Message]:
        """See `MessageReader.at`."""
        if not places:
            return {}
        found, archived = await self._database.read_short(read_places, places, messages.AT)
        found.update(await self._read_places(archived, statements.select_at))
        return found

    async def previews(self, places: Sequence[Place]) -> Mapping[Place, Message]:
        """See `MessageReader.previews`."""
        if not places:
            return {}
        found, archived = await self._database.read(read_places, places, messages.PREVIEWS_AT)
        for shard in {segment.shard_id for segment in archived.values()}:
            there = {place: segment for place, segment in archived.items() if segment.shard_id == shard}
            try:
                found.update(await self._read_places(there, statements.select_previews))
            except PalaverError as error:
                log.info("previews_left_out", shard=shard, count=len(there), debug=error.debug)
        return found

    async def archived(self, chat_id: bytes, seq: int) -> ArchivedMessage | None:
        """See `MessageReader.archived`."""
        place = (chat_id, seq)
        found, archived = await self._database.read(read_places, [place], messages.AT)
        if place in found:
            # It came back to the journal meanwhile; its change needs no copy
            return ArchivedMessage(found[place], 0, -1)
        if place not in archived:
            return None
        read = await self._read_places(archived, statements.select_at)
        segment = archived[place]
        return ArchivedMessage(read[place], segment.first_seq, segment.changes) if place in read else None

    async def _fill(self, span: Span, most_bytes: int, *, backwards: bool) -> list[Row]:
        """The span's rows with what lies in the archive, in the order of the walk, as far as they fit."""
        if not span.pieces:
            return list(span.rows)
        room = Room(most_bytes)
        filled: list[Row] = []
        rows = list(span.rows)
        for piece in span.pieces:
            ahead = [row for row in rows if (row[SEQ] > piece.last_seq) == backwards]
            rows = rows[len(ahead) :]
            filled += room.take(ahead)
            if room.is_full:
                return filled
            read = await self._read_piece(piece)
            filled += room.take(reversed(read) if backwards else read)
            if room.is_full:
                return filled
        filled += room.take(rows)
        return filled

    async def _read_piece(self, piece: Piece) -> list[Row]:
        """The rows of a piece, ascending. Raises `unavailable`.

        Who reads the same piece at the same time shares it, unless something has changed in its segment in
        between: what was read before may be older than what the second reader's transaction saw.
        """
        segment = piece.segment
        key = (segment.chat_id, piece.first_seq, piece.last_seq, segment.shard_id, segment.changes)
        return await self._pieces.run(key, lambda: self._select_piece(piece))

    async def _select_piece(self, piece: Piece) -> list[Row]:
        segment = piece.segment
        statement = statements.select_span(self._name, segment.chat_id, piece.first_seq, piece.last_seq)
        rows = await self._select(segment, statement, (piece.first_seq, piece.last_seq))
        if len(rows) != piece.last_seq - piece.first_seq + 1:
            # The node has lost data, or was put back to an older state
            raise archive_lacks(segment, piece.first_seq, piece.last_seq)
        return rows

    async def _read_places(
        self, archived: Mapping[Place, Segment], select: Callable[[str, Iterable[Place]], str]
    ) -> dict[Place, Message]:
        """Messages at places whose segments are known. Raises `unavailable`."""
        by_shard: dict[int, list[Place]] = defaultdict(list)
        for place, segment in archived.items():
            by_shard[segment.shard_id].append(place)
        chunks = [
            places[start : start + CHUNK]
            for places in by_shard.values()
            for start in range(0, len(places), CHUNK)
        ]
        reads = [
            self._select(archived[chunk[0]], select(self._name, chunk), (chunk[0][1], chunk[0][1]))
            for chunk in chunks
        ]
        found: dict[Place, Message] = {}
        for chunk, rows in zip(chunks, await asyncio.gather(*reads), strict=True):
            found.update({(row[0], row[SEQ]): Message._make(row) for row in rows})
            for chat_id, seq in chunk:
                if (chat_id, seq) not in found:
                    raise archive_lacks(archived[chat_id, seq], seq, seq)
        return found

    async def _select(self, segment: Segment, statement: str, seqs: tuple[int, int]) -> list[Row]:
        try:
            rows = await self._nodes.select(Address(segment.host, segment.port), statement)
        except NodeError as error:
            raise archive_away(segment, *seqs, cause=str(error)) from error
        return [from_row(row) for row in rows]


# ---- one transaction ----


def read_page(
    connection: Connection, chat_id: bytes, user_id: bytes, limit: int, before: int, after: int | None
) -> tuple[Page, Span]:
    """A page without its rows, and what the journal knows of those."""
    standing = read_standing(connection, chat_id, user_id)
    end = messages.readable_seq(standing)
    if after is None:
        last = min(before - 1, end) if before else end
        first = max(1, last - limit + 1)
    else:
        # min: a seq of the wire may be larger than the database's integers
        first = min(after, end) + 1
        last = min(end, first + limit - 1)
    span = read_span(connection, chat_id, first, last, messages.PAGE_BYTES, backwards=after is None)
    return page_of(connection, chat_id, user_id, standing, end), span


def page_of(connection: Connection, chat_id: bytes, user_id: bytes, standing: Standing, end: int) -> Page:
    """A page without its rows."""
    left = standing.left_seq is not None
    receipts = read_receipts(connection, chat_id, user_id, direct=standing.kind == DIRECT, left=left)
    return Page([], end, standing.read_seq, left, receipts)


def read_after(connection: Connection, chat_id: bytes, after: int, until: int) -> Span:
    """What the journal knows of the next messages behind `after`."""
    last = min(until, after + messages.STREAM_MESSAGES)
    return read_span(connection, chat_id, after + 1, last, messages.STREAM_BYTES, backwards=False)


def read_readable_after(
    connection: Connection, chat_id: bytes, user_id: bytes, after: int
) -> tuple[Span, int] | None:
    """The same as far as a user may read, and the last seq of all that; None: the chat is not theirs."""
    try:
        until = messages.readable_seq(read_standing(connection, chat_id, user_id))
    except PalaverError:
        return None
    return read_after(connection, chat_id, min(after, until), until), until


# ---- refusals ----


def archive_away(segment: Segment, first: int, last: int, **debug: Any) -> PalaverError:
    """For whoever wants messages of a shard that cannot be reached."""
    what = (
        f"message {first} of this chat is"
        if first == last
        else f"messages {first} to {last} of this chat are"
    )
    return PalaverError(
        UNAVAILABLE,
        f"{what} in a part of the archive that is away",
        retry_after=RETRY_SECONDS,
        shard=segment.shard_id,
        **debug,
    )


def archive_lacks(segment: Segment, first: int, last: int) -> PalaverError:
    """For messages that a segment promises and its shard does not have."""
    log.error("archive_lacks_messages", shard=segment.shard_id, first_seq=first, last_seq=last)
    return archive_away(segment, first, last, cause="the shard lacks them")
