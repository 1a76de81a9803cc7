"""Order between replicas: a chat's messages are delivered in the order of their seqs, whoever wrote them.

Each replica delivers its own sends, and what others publish. Where one arrives before its predecessor, the
hole is filled from the store first.
"""

import asyncio

from palaver.messenger.domain import Message
from palaver.messenger.pending_send import PendingSend
from palaver.messenger.realtime.followed import Delivery, FollowedPositions
from palaver.messenger.realtime.hub import Hub
from palaver.messenger.realtime.memberships import CachedChat, DeliveryState
from palaver.messenger.store.commit_log import read_newest
from palaver.messenger.store.messages import MessageReader
from palaver.runtime.requester import SERVICE, work_for
from palaver.runtime.sql.database import Database
from palaver.runtime.telemetry.configuration import log


class OrderedDelivery:
    """Hands messages to the hub, chat by chat in order."""

    def __init__(
        self, hub: Hub, followed: FollowedPositions, database: Database, reader: MessageReader
    ) -> None:
        self._hub = hub
        self._followed = followed
        self._database = database
        self._reader = reader
        self._tasks: set[asyncio.Task[None]] = set()

    def deliver_send(self, chat: CachedChat, send: PendingSend, delivery: Delivery) -> None:
        """Delivers an own send, now, or when the hole before it is filled."""
        state = chat.delivery
        if send.first_seq <= state.delivered_seq + 1:
            self._hub.deliver_send(send)
            state.delivered_seq = max(state.delivered_seq, send.last_seq)
        else:
            delivery.add_part()
            state.held[send.first_seq] = (send, delivery)
        finish_reached(state)
        if state.held or state.wanted_seq > state.delivered_seq:
            state.wanted_seq = max(state.wanted_seq, send.last_seq)
            self._fill(chat)

    def go_on(self, chat: CachedChat) -> None:
        """The committer has one outcome more: what waited for it may be delivered."""
        if chat.delivery.wanted_seq > chat.delivery.delivered_seq:
            self._fill(chat)

    def deliver_until(self, chat: CachedChat, first_seq: int, last_seq: int, delivery: Delivery) -> None:
        """Delivers what another replica wrote, from one seq to another, as a part of `delivery`, and what
        stands before it."""
        state = chat.delivery
        if last_seq > state.delivered_seq:
            delivery.add_part()
            state.waiting.append((first_seq, last_seq, delivery))
            state.wanted_seq = max(state.wanted_seq, last_seq)
            self._fill(chat)

    async def stop(self) -> None:
        """Waits for what is being read."""
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _fill(self, chat: CachedChat) -> None:
        if not chat.delivery.is_filling:
            chat.delivery.is_filling = True
            task = asyncio.create_task(self._fill_hole(chat))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _fill_hole(self, chat: CachedChat) -> None:
        # For the chat's members, whoever has found the hole
        work_for(SERVICE)
        state = chat.delivery
        try:
            while state.wanted_seq > state.delivered_seq and await self._fill_page(chat):
                pass
        except Exception:
            log.exception(
                "hole_not_filled", chat_id=chat.membership.chat_id.hex(), delivered_seq=state.delivered_seq
            )
            # They are read from the commit log once more
            for _, _, delivery in state.waiting:
                delivery.abandon()
            state.waiting.clear()
        finally:
            state.is_filling = False

    async def _fill_page(self, chat: CachedChat) -> bool:
        """Delivers the next page. False: the rest waits for the committer, which goes on from here."""
        state = chat.delivery
        chat_id = chat.membership.chat_id
        before = state.delivered_seq
        page = await self._reader.after(chat_id, before, state.wanted_seq)
        if any(is_unknown(state, message) for message in page):
            # What wrote them is yet to come by the bus or the log. Taken for settled until then, a gateway
            # would forget that it has them, and get them from the next messenger again
            self._followed.expect(await self._database.read(read_newest))
        for message in page:
            if message.seq <= state.delivered_seq:
                continue
            held = state.held.pop(message.seq, None)
            if held is not None:
                send, delivery = held
                self._hub.deliver_send(send)
                state.delivered_seq = send.last_seq
                delivery.finish_part()
            elif message.client_id in state.unsettled:
                # An own send that is on disk, and whose outcome is on its way to the event loop
                return False
            else:
                sender = state.answered.pop(message.seq, None)
                self._hub.deliver_stored(chat.membership, message, sender=sender)
                state.delivered_seq = message.seq
        finish_reached(state)
        return state.delivered_seq > before


def is_unknown(state: DeliveryState, message: Message) -> bool:
    """Whether a message fills a hole, and its transaction has not come yet."""
    if (
        message.seq <= state.delivered_seq
        or message.seq in state.held
        or message.client_id in state.unsettled
    ):
        return False
    return not any(first <= message.seq <= last for first, last, _ in state.waiting)


def finish_reached(state: DeliveryState) -> None:
    """Ends the deliveries that waited for a seq which is delivered now."""
    if not state.waiting:
        return
    reached = [delivery for _, last_seq, delivery in state.waiting if last_seq <= state.delivered_seq]
    state.waiting = [one for one in state.waiting if one[1] > state.delivered_seq]
    for delivery in reached:
        delivery.finish_part()
