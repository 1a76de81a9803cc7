"""The gateway's end of the stream, against a messenger over real gRPC that says what a test tells it to."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable
from typing import Any

import pytest
import pytest_asyncio

from palaver.contracts.errors import OVERLOADED, PalaverError
from palaver.contracts.ids import new_id
from palaver.contracts.messenger_pb2 import (
    Delivery,
    GatewayBatch,
    MessengerBatch,
    SentReply,
    SocketOpen,
    SocketOpened,
)
from palaver.contracts.messenger_pb2_grpc import add_MessengerServicer_to_server
from palaver.gateway.upstream import stream as module
from palaver.gateway.upstream.batches import BATCH_BYTES, split_batch
from palaver.gateway.upstream.delivered import MARGIN_US
from palaver.gateway.upstream.pending_sends import InFlight
from palaver.gateway.upstream.stream import MessengerStream
from palaver.runtime.grpc.server import serving_grpc
from palaver.runtime.telemetry.trace_context import NO_TRACE
from tests.harness.realtime import HOST, AttachOnly, channel_to, eventually

CHAT, ALICE, BOB = new_id(), new_id(), new_id()
MINUTE_US = 60_000_000


class Stream:
    """One stream, as the messenger has it."""

    def __init__(self, context: Any) -> None:
        self.received: list[GatewayBatch] = []
        self._context = context
        self._end = asyncio.Event()

    async def say(self, **fields: Any) -> None:
        """Writes a batch."""
        await self._context.write(MessengerBatch(**fields))

    def end(self) -> None:
        """Ends the stream."""
        self._end.set()

    async def serve(self, requests: AsyncIterator[GatewayBatch]) -> None:
        """Until it ends."""

        async def read() -> None:
            async for batch in requests:
                self.received.append(batch)

        reading = asyncio.create_task(read())
        ending = asyncio.create_task(self._end.wait())
        try:
            await asyncio.wait((reading, ending), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (reading, ending):
                task.cancel()
            await asyncio.gather(reading, ending, return_exceptions=True)

    def all(self, field: str) -> list[Any]:
        """All that came in a field of the batches."""
        return [one for batch in self.received for one in getattr(batch, field)]


class Messenger:
    """All streams, in their order."""

    def __init__(self) -> None:
        self.streams: list[Stream] = []
        self.port = 0

    async def attach(self, requests: AsyncIterator[GatewayBatch], context: Any) -> None:
        """Serves a stream."""
        stream = Stream(context)
        self.streams.append(stream)
        await stream.serve(requests)

    async def stream(self, number: int = 0) -> Stream:
        """A stream, once it is there and the gateway has said who it is."""
        await eventually(
            lambda: len(self.streams) > number and self.streams[number].received, f"stream {number}"
        )
        return self.streams[number]


class Sockets:
    """What stands above the link: notes what it hears. `fail`: raises at the next delivery."""

    def __init__(self) -> None:
        self.open: list[SocketOpen] = []
        self.opened: list[SocketOpened] = []
        self.deliveries: list[tuple[Delivery, InFlight | None, int]] = []
        self.replies: list[tuple[SentReply, InFlight]] = []
        self.batches = 0
        self.fail = False

    def reopenings(self) -> Iterable[SocketOpen]:
        """See `Hears`."""
        return list(self.open)

    def hear_opened(self, opened: SocketOpened) -> None:
        """See `Hears`."""
        self.opened.append(opened)

    def hear_batch(self, _: MessengerBatch) -> None:
        """See `Hears`."""
        self.batches += 1

    def hear_delivery(self, delivery: Delivery, sent: InFlight | None, *, fresh_only: int) -> None:
        """See `Hears`."""
        if self.fail:
            self.fail = False
            raise ValueError("not foreseen")
        self.deliveries.append((delivery, sent, fresh_only))

    def hear_reply(self, reply: SentReply, sent: InFlight) -> None:
        """See `Hears`."""
        self.replies.append((reply, sent))

    @property
    def fresh(self) -> list[int]:
        """The seqs that were not passed on before."""
        return [one.first_seq for one, _, fresh_only in self.deliveries if one.first_seq > fresh_only]


class Place:
    """A link between sockets and a messenger."""

    def __init__(self, link: MessengerStream, sockets: Sockets, messenger: Messenger) -> None:
        self.link = link
        self.sockets = sockets
        self.messenger = messenger

    async def gateway_stream(self, number: int = 0) -> Stream:
        """The messenger's end, once the link has heard of it."""
        stream = await self.messenger.stream(number)
        await eventually(lambda: self.link.is_attached, "attached")
        return stream

    async def away(self) -> None:
        """Returns in the very turn of the event loop in which the stream is gone: it may soon be back."""
        async with asyncio.timeout(20):
            while self.link.is_attached:  # noqa: ASYNC110 - each turn has to be looked at
                await asyncio.sleep(0)

    async def broken(self, number: int = 0) -> Stream:
        """Breaks the stream of that number. Returns the next."""
        (await self.messenger.stream(number)).end()
        await self.messenger.stream(number + 1)
        return await self.gateway_stream(number + 1)


@pytest_asyncio.fixture
async def place() -> AsyncIterator[Place]:
    """A link with room for 5 sends."""
    messenger, sockets = Messenger(), Sockets()
    async with (
        serving_grpc(
            lambda server: add_MessengerServicer_to_server(AttachOnly(messenger.attach), server), HOST, 0, 0.0
        ) as (_, port),
        channel_to(port) as channel,
    ):
        link = MessengerStream(channel, 5, 10_000)
        link.start(sockets)
        yield Place(link, sockets, messenger)
        await link.stop()


def message(*client_ids: bytes, socket: int = 1) -> InFlight:
    """A send of Alice's."""
    ids = list(client_ids) or [new_id()]
    return InFlight(socket, ALICE, CHAT, ids, ["text"] * len(ids), NO_TRACE)


def delivery(seq: int, *, client_id: bytes = b"", sender: bytes = BOB, **more: Any) -> dict[str, Any]:
    """A message that is told to sockets 1 and 2."""
    return {
        "chat_id": CHAT,
        "sender_id": sender,
        "first_seq": seq,
        "ids": [new_id()],
        "client_ids": [client_id or new_id()],
        "texts": ["text"],
        "sockets": [1, 2],
        **more,
    }


# ---- sends ----


async def test_a_send_is_acknowledged_by_its_delivery(place: Place) -> None:
    """Senders would wait for ever, and the link would fill up."""
    stream = await place.gateway_stream()
    sent = message()
    place.link.send(sent)
    await eventually(lambda: stream.all("sends"), "the send")
    (asked,) = stream.all("sends")
    assert (asked.socket, asked.chat_id, list(asked.client_ids)) == (1, CHAT, sent.client_ids)
    assert not asked.retry
    await stream.say(deliveries=[{"request": asked.request, "first_seq": 3, "ids": [new_id()]}])
    await eventually(lambda: place.sockets.deliveries, "the delivery")
    ((told, own, _),) = place.sockets.deliveries
    assert (told.first_seq, own) == (3, sent)
    assert place.link.in_flight == 0


async def test_sends_of_one_turn_leave_together_and_in_order(place: Place) -> None:
    """Each message would cost a gRPC message; or a conversation would be mixed up."""
    stream = await place.gateway_stream()
    sends = [message() for _ in range(5)]
    for sent in sends:
        place.link.send(sent)
    await eventually(lambda: stream.all("sends"), "the sends")
    assert [list(asked.client_ids) for asked in stream.received[-1].sends] == [s.client_ids for s in sends]


async def test_a_refusal_reaches_its_sender(place: Place) -> None:
    """Somebody who may not write would wait for ever."""
    stream = await place.gateway_stream()
    sent = message()
    place.link.send(sent)
    await eventually(lambda: stream.all("sends"), "the send")
    request = stream.all("sends")[0].request
    await stream.say(sent=[{"request": request, "error": {"code": "not_found"}}])
    await eventually(lambda: place.sockets.replies, "the reply")
    ((reply, own),) = place.sockets.replies
    assert (reply.error.code, own, place.link.in_flight) == ("not_found", sent, 0)


async def test_what_was_not_answered_is_sent_again_with_its_client_ids(place: Place) -> None:
    """A restart of the messenger would lose messages, or store them twice."""
    stream = await place.gateway_stream()
    answered, lost, away = message(), message(), message()
    place.link.send(answered)
    place.link.send(lost)
    await eventually(lambda: len(stream.all("sends")) == 2, "the sends")
    await stream.say(sent=[{"request": stream.all("sends")[0].request, "seqs": [1]}])
    await eventually(lambda: place.sockets.replies, "the reply")
    stream.end()
    await place.away()
    place.link.send(away)
    again = (await place.gateway_stream(1)).received[0]
    assert [list(asked.client_ids) for asked in again.sends] == [lost.client_ids, away.client_ids]
    assert all(asked.retry for asked in again.sends)


async def test_a_messenger_that_stops_gives_sends_to_the_next_one(place: Place) -> None:
    """Each update of the messenger would lose old clients' messages of its last moment."""
    stream = await place.gateway_stream()
    place.link.send(sent := message())
    await eventually(lambda: stream.all("sends"), "the send")
    await stream.say(sent=[{"request": stream.all("sends")[0].request, "error": {"code": "restarting"}}])
    await stream.say(resumed=[9])
    await eventually(lambda: place.sockets.batches == 2, "heard")
    assert place.sockets.replies == []
    again = await place.broken()
    assert [list(asked.client_ids) for asked in again.received[0].sends] == [sent.client_ids]


async def test_too_many_sends_are_refused(place: Place) -> None:
    """A messenger that is away would fill the gateway's memory (promise P9)."""
    await place.gateway_stream()
    for _ in range(5):
        place.link.send(message())
    with pytest.raises(PalaverError) as refused:
        place.link.send(message())
    assert refused.value.kind is OVERLOADED


async def test_sends_that_are_too_long_together_are_refused(place: Place) -> None:
    """A few long messages would fill the gateway's memory (promise P9)."""
    await place.gateway_stream()
    place.link.send(InFlight(1, ALICE, CHAT, [new_id()], ["x" * 10_000], NO_TRACE))
    with pytest.raises(PalaverError) as refused:
        place.link.send(message())
    assert refused.value.kind is OVERLOADED


async def test_what_may_be_lost_does_not_pile_up_without_a_messenger(place: Place) -> None:
    """Typing of an hour without the messenger would fill the gateway's memory (promise P9)."""
    (await place.gateway_stream()).end()
    await place.away()
    place.link.batch.typings.add(socket=1)
    assert len(place.link.batch.typings) == 0


async def test_receipts_of_a_broken_stream_are_said_again_merged(place: Place) -> None:
    """What somebody read while the messenger restarts would stay unread for ever."""
    stream = await place.gateway_stream()
    place.sockets.open = [SocketOpen(socket=1, opened_at=5)]
    place.link.move_receipt(1, "one", CHAT, 3, 0)
    place.link.move_receipt(2, "two", CHAT, 3, 0)
    await eventually(lambda: len(stream.all("receipts")) == 2, "said")
    stream.end()
    await place.away()
    place.link.move_receipt(1, "one", CHAT, 0, 2)
    place.link.move_receipt(7, "seven", CHAT, 9, 9)
    again = (await place.gateway_stream(1)).received[0]
    # Of a closed socket only what nobody heard, and it is open for just that
    assert [(one.socket, one.received_seq, one.read_seq) for one in again.receipts] == [(1, 3, 2), (7, 9, 9)]
    assert [(one.socket, one.token) for one in again.opens] == [(1, ""), (7, "seven")]
    assert list(again.closes) == [7]
    # The second stream may have broken before it took them
    assert [one.socket for one in (await place.broken(1)).all("receipts")] == [1, 7]


async def test_a_refused_receipt_is_not_said_again(place: Place) -> None:
    """A client would be told of one mistake after each broken stream."""
    stream = await place.gateway_stream()
    place.sockets.open = [SocketOpen(socket=1, opened_at=5)]
    place.link.move_receipt(1, "one", CHAT, 3, 0)
    await stream.say(errors=[{"socket": 1, "chat_id": CHAT, "error": {"code": "not_found"}}])
    await eventually(lambda: place.sockets.batches, "heard")
    assert (await place.broken()).all("receipts") == []


async def test_a_stop_waits_for_answers(place: Place) -> None:
    """A gateway's update would leave its clients' last messages without an answer."""
    stream = await place.gateway_stream()
    place.link.send(message())
    await eventually(lambda: stream.all("sends"), "the send")
    stopping = asyncio.create_task(place.link.settle(5.0))
    await asyncio.sleep(0.03)
    assert not stopping.done()
    await stream.say(sent=[{"request": stream.all("sends")[0].request, "seqs": [1]}])
    await stopping
    assert len(place.sockets.replies) == 1


# ---- after a broken stream ----


async def test_a_new_stream_begins_with_who_was_there(place: Place) -> None:
    """Open sockets would hear nothing more after a restart of the messenger."""
    first = (await place.gateway_stream()).received[0]
    assert (first.hello.since, first.reopened, len(first.opens)) == (0, True, 0)
    place.sockets.open = [SocketOpen(socket=number, opened_at=5) for number in range(1, 1_201)]
    await (await place.gateway_stream()).say(clock=100 * MINUTE_US)
    await eventually(lambda: place.sockets.batches, "the time")
    again = await place.broken()
    await eventually(lambda: len(again.all("opens")) == 1_200, "all sockets")
    assert again.received[0].hello.since == 100 * MINUTE_US - MARGIN_US
    assert [batch.reopened for batch in again.received] == [False, False, True]
    assert max(len(batch.opens) for batch in again.received) == module.OPENS_AT_ONCE
    assert again.received[0].hello.gateway_id == first.hello.gateway_id


async def test_a_time_that_is_not_said_moves_nothing(place: Place) -> None:
    """A stream that breaks while the gateway catches up would leave out what it had not told yet."""
    stream = await place.gateway_stream()
    await stream.say(clock=100 * MINUTE_US)
    await stream.say(clock=0)
    await eventually(lambda: place.sockets.batches == 2, "the times")
    again = await place.broken()
    assert again.received[0].hello.since == 100 * MINUTE_US - MARGIN_US


async def test_the_last_words_of_a_socket_that_closed_are_sent_again(place: Place) -> None:
    """Who says goodbye while the messenger restarts would not have said it."""
    await place.gateway_stream()
    place.sockets.open = [SocketOpen(socket=1, opened_at=5)]
    place.link.send(message(socket=1))
    place.link.send(InFlight(7, ALICE, CHAT, [new_id()], ["goodbye"], NO_TRACE, "the token"))
    again = (await place.broken()).received[0]
    assert [(one.socket, one.token, one.opened_at > 0) for one in again.opens] == [
        (1, "", True),
        (7, "the token", True),
    ]
    assert [one.socket for one in again.sends] == [1, 7]
    # Taken after the sends
    assert list(again.closes) == [7]


async def test_what_was_passed_on_is_passed_over(place: Place) -> None:
    """After each broken stream everybody would be told the last seconds again."""
    stream = await place.gateway_stream()
    await stream.say(deliveries=[delivery(1), delivery(2)], clock=MINUTE_US)
    await eventually(lambda: place.sockets.batches, "heard")
    again = await place.broken()
    await again.say(deliveries=[delivery(seq, catch_up=True) for seq in (1, 2, 3)])
    await again.say(deliveries=[delivery(seq) for seq in (3, 4)])
    await eventually(lambda: place.sockets.batches == 3, "heard")
    assert place.sockets.fresh == [1, 2, 3, 4]


async def test_changes_and_resumes_are_never_passed_over(place: Place) -> None:
    """Edits of old messages would be lost, and a client that resumes would get nothing."""
    stream = await place.gateway_stream()
    await stream.say(
        deliveries=[delivery(5), delivery(2, changed=True, catch_up=True), delivery(1, resumed=True)]
    )
    await eventually(lambda: place.sockets.batches, "heard")
    assert place.sockets.fresh == [5, 2, 1]


async def test_one_sockets_resume_hides_nothing_from_the_others(place: Place) -> None:
    """Others would miss a message that one socket's resume told first, where the stream breaks just then."""
    stream = await place.gateway_stream()
    await stream.say(deliveries=[delivery(1), delivery(2, resumed=True, sockets=[1])])
    await eventually(lambda: place.sockets.batches, "heard")
    again = await place.broken()
    await again.say(deliveries=[delivery(seq, catch_up=True) for seq in (1, 2)])
    await eventually(lambda: place.sockets.batches == 2, "heard")
    assert place.sockets.fresh == [1, 2, 2]


async def test_a_socket_is_not_told_of_what_it_sent_again(place: Place) -> None:
    """Old clients would show their own message as somebody else's."""
    await place.gateway_stream()
    client_id = new_id()
    place.link.send(message(client_id, socket=1))
    again = await place.broken()
    stored = delivery(1, client_id=client_id, sender=ALICE, catch_up=True)
    foreign = delivery(2, client_id=client_id, sender=BOB, catch_up=True)
    await again.say(deliveries=[stored, foreign])
    await eventually(lambda: place.sockets.batches, "heard")
    assert [list(told.sockets) for told, _, _ in place.sockets.deliveries] == [[2], [1, 2]]


async def test_an_unforeseen_error_costs_one_stream_and_not_all(place: Place) -> None:
    """One odd message would leave the gateway without the messenger until somebody restarts it."""
    stream = await place.gateway_stream()
    place.sockets.fail = True
    await stream.say(deliveries=[delivery(1)], clock=MINUTE_US)
    again = await place.gateway_stream(1)
    await again.say(deliveries=[delivery(1, catch_up=True)])
    await eventually(lambda: place.sockets.fresh == [1], "told after all")


async def test_a_messenger_that_says_nothing_is_left(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hanging messenger would keep all sockets deaf, though another one is there."""
    (await place.gateway_stream()).end()
    monkeypatch.setattr(module, "SILENCE_SECONDS", 0.05)
    await place.gateway_stream(1)
    await place.gateway_stream(2)


async def test_a_stop_ends_a_link_that_finds_nobody() -> None:
    """A gateway without a messenger could not be stopped."""
    async with channel_to(1) as channel:
        link = MessengerStream(channel, 5, 10_000)
        link.start(Sockets())
        await asyncio.sleep(0.05)
        async with asyncio.timeout(5):
            await link.stop()
        with contextlib.suppress(asyncio.CancelledError):
            assert link._task is not None
            await link._task


# ---- without a stream ----


def test_a_large_batch_is_split_opens_first_and_closes_last() -> None:
    """A burst would be refused as too large, or speak of sockets that are not open."""
    batch = GatewayBatch(opens=[{"socket": 1}], closes=[1], receipts=[{"socket": 1}])
    for number in range(10):
        batch.sends.add(request=number, texts=["x" * 1_000_000])
    parts = list(split_batch(batch))
    assert len(parts) > 2
    assert all(part.ByteSize() < BATCH_BYTES + 1_100_000 for part in parts)
    assert [len(part.opens) for part in parts] == [1] + [0] * (len(parts) - 1)
    assert [len(part.closes) for part in parts] == [0] * (len(parts) - 1) + [1]
    assert [send.request for part in parts for send in part.sends] == list(range(10))


def test_many_resumes_and_asks_are_split_too() -> None:
    """Everybody who comes back at once would break the stream that they come back to."""
    batch = GatewayBatch(closes=[1])
    cursors = {"chat_ids": [bytes(16)] * 1_000, "after_seqs": [2**40] * 1_000}
    for number in range(500):
        batch.resumes.add(socket=number, **cursors)
        batch.reads.add(number=number, token="x" * 20_000)
    parts = list(split_batch(batch))
    assert all(part.ByteSize() < BATCH_BYTES + 30_000 for part in parts)
    assert [asked.socket for part in parts for asked in part.resumes] == list(range(500))
    assert [asked.number for part in parts for asked in part.reads] == list(range(500))
    assert [len(part.closes) for part in parts] == [0] * (len(parts) - 1) + [1]
