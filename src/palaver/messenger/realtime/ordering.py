"""Order between replicas: a chat's messages are told in the order of their seqs, whoever wrote them.

Each replica tells its own appends and hears of others'. Where one arrives before its predecessor, the hole
is filled from the journal first.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any

from palaver.messenger.realtime.bus import NewMessages
from palaver.messenger.realtime.hub import Hub
from palaver.messenger.realtime.memberships import Audience
from palaver.messenger.sequencing import Append
from palaver.messenger.store.missed import read_after
from palaver.runtime.sql.database import Database
from palaver.runtime.telemetry.configuration import log


class OrderedDelivery:
    """Tells the hub of messages, chat by chat in order."""

    def __init__(self, hub: Hub, database: Database) -> None:
        self._hub = hub
        self._database = database
        self._tasks: set[asyncio.Task[None]] = set()

    def tell_append(self, append: Append) -> None:
        """Tells an own append, now, or when the hole before it is filled."""
        audience = append.audience
        last_seq = append.first_seq + len(append.ids) - 1
        if append.first_seq <= audience.told_seq + 1:
            audience.told_seq = max(audience.told_seq, last_seq)
            self._hub.tell_append(append)
        else:
            audience.held[append.first_seq] = append
        if audience.held or audience.wanted > audience.told_seq:
            audience.wanted = max(audience.wanted, last_seq)
            self._fill(audience)

    def go_on(self, audience: Audience) -> None:
        """The committer has one outcome more: what waited for it may be told."""
        if audience.wanted > audience.told_seq:
            self._fill(audience)

    def hear_new(self, audience: Audience, news: NewMessages) -> None:
        """Tells messages that another replica wrote."""
        if news.last_seq <= audience.born_seq:
            # Committed before this replica first looked at the chat, heard of only now: it was never told
            self._start(self._tell_late(audience, news))
        elif news.last_seq > audience.told_seq:
            audience.wanted = max(audience.wanted, news.last_seq)
            self._fill(audience)

    async def stop(self) -> None:
        """Waits for what is being read."""
        await asyncio.gather(*self._tasks)

    def _fill(self, audience: Audience) -> None:
        if not audience.filling:
            audience.filling = True
            self._start(self._fill_hole(audience))

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _fill_hole(self, audience: Audience) -> None:
        try:
            while audience.wanted > audience.told_seq and await self._fill_page(audience):
                pass
        except Exception:
            # Members find the hole themselves and resume; the next message of the chat tries again
            log.exception("hole not filled", chat_id=audience.chat_id.hex(), told_seq=audience.told_seq)
        finally:
            audience.filling = False

    async def _fill_page(self, audience: Audience) -> bool:
        """Tells the next page. False: the rest has to wait for the committer, which goes on from here."""
        rows = await self._database.read(read_after, audience.chat_id, audience.told_seq, audience.wanted)
        before = audience.told_seq
        for message in rows:
            if message.seq <= audience.told_seq:
                continue
            held = audience.held.pop(message.seq, None)
            if held is not None:
                audience.told_seq = held.first_seq + len(held.ids) - 1
                self._hub.tell_append(held)
            elif message.client_id in audience.unsettled:
                # An own append that is on disk, and whose outcome is on its way to the event loop
                return False
            else:
                audience.told_seq = message.seq
                self._hub.tell_messages(audience, [message])
        return audience.told_seq > before

    async def _tell_late(self, audience: Audience, news: NewMessages) -> None:
        rows = await self._database.read(read_after, audience.chat_id, news.first_seq - 1, news.last_seq)
        self._hub.tell_messages(audience, rows)
