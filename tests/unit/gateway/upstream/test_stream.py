"""The gateway's end of the stream, against a messenger over real gRPC that sends what a test wants."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio

from palaver.contracts.errors import OVERLOADED, PalaverError
from palaver.contracts.ids import new_id
from palaver.contracts.messenger_pb2 import (
    Delivery,
    GatewayBatch,
    MessengerBatch,
    Position,
    SentReply,
    SocketOpen,
    SocketOpened,
)
from palaver.contracts.messenger_pb2_grpc import MessengerServicer, add_MessengerServicer_to_server
from palaver.gateway.upstream import stream as module
from palaver.gateway.upstream.batches import BATCH_BYTES, split_batch
from palaver.gateway.upstream.outbox import Outbox
from palaver.gateway.upstream.pending_reads import PendingReads
from palaver.gateway.upstream.pending_sends import PendingSend, PendingSends
from palaver.gateway.upstream.reopening import OPENS_AT_ONCE
from palaver.gateway.upstream.stream import MessengerStream
from palaver.runtime.grpc.server import serving_grpc
from tests.harness.realtime import HOST, client_to
from tests.harness.waiting import eventually

CHAT, OTHER, ALICE, BOB = new_id(), new_id(), new_id(), new_id()
COMMIT = {"writer": 1, "number": 1}


class Stream:
    """One stream, as the messenger has it."""

    def __init__(self, context: Any) -> None:
        self.received: list[GatewayBatch] = []
        self._context = context
        self._end = asyncio.Event()

    async def send(self, **fields: Any) -> None:
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


class Messenger(MessengerServicer):  # type: ignore[misc] # generated without types
    """All streams, in their order."""

    def __init__(self) -> None:
        self.streams: list[Stream] = []
        self.port = 0

    async def Attach(self, requests: AsyncIterator[GatewayBatch], context: Any) -> None:  # noqa: N802 - the contract's name
        """Serves a stream."""
        stream = Stream(context)
        self.streams.append(stream)
        await stream.serve(requests)

    async def stream(self, number: int = 0) -> Stream:
        """A stream, once it is there and the gateway has sent its hello."""
        await eventually(
            lambda: len(self.streams) > number and self.streams[number].received, f"stream {number}"
        )
        return self.streams[number]


class Sockets:
    """The handler of a stream: notes what comes."""

    def __init__(self) -> None:
        self.open: list[SocketOpen] = []
        self.opened: list[SocketOpened] = []
        self.deliveries: list[tuple[Delivery, PendingSend | None, int]] = []
        self.replies: list[tuple[SentReply, PendingSend]] = []
        self.batches = 0
        self.trimmed = 0
        # Raises at the delivery of this seq, once
        self.fails_at = 0

    def reopenings(self) -> Iterable[SocketOpen]:
        """See `StreamHandler`."""
        return list(self.open)

    def handle_log_trimmed(self) -> None:
        """See `StreamHandler`."""
        self.trimmed += 1

    def handle_opened(self, opened: SocketOpened) -> None:
        """See `StreamHandler`."""
        self.opened.append(opened)

    def handle_batch(self, _: MessengerBatch) -> None:
        """See `StreamHandler`."""
        self.batches += 1

    def handle_delivery(self, delivery: Delivery, sent: PendingSend | None, *, delivered_seq: int) -> None:
        """See `StreamHandler`."""
        if delivery.first_seq == self.fails_at:
            self.fails_at = 0
            raise ValueError("not foreseen")
        self.deliveries.append((delivery, sent, delivered_seq))

    def handle_reply(self, reply: SentReply, sent: PendingSend) -> None:
        """See `StreamHandler`."""
        self.replies.append((reply, sent))

    @property
    def fresh(self) -> list[int]:
        """The seqs that were not delivered before."""
        return [one.first_seq for one, _, delivered_seq in self.deliveries if one.first_seq > delivered_seq]


class Place:
    """A gateway's stream between sockets and a messenger."""

    def __init__(self, port: int, messenger: Messenger) -> None:
        self.sockets = Sockets()
        self.messenger = messenger
        self.outbox = Outbox()
        self.sends, self.reads = PendingSends(5, 10_000), PendingReads(self.outbox)
        self.stream = MessengerStream(client_to(port), self.outbox, self.sends, self.reads, self.sockets)

    async def gateway_stream(self, number: int = 0) -> Stream:
        """The messenger's end, once the gateway is attached."""
        stream = await self.messenger.stream(number)
        await eventually(lambda: self.stream.is_attached, "attached")
        return stream

    async def away(self) -> None:
        """Returns in the very turn of the event loop in which the stream is gone: it may soon be back."""
        async with asyncio.timeout(20):
            while self.stream.is_attached:  # noqa: ASYNC110 - each turn has to be looked at
                await asyncio.sleep(0)

    async def broken(self, number: int = 0) -> Stream:
        """Breaks the stream of that number. Returns the next."""
        (await self.messenger.stream(number)).end()
        await self.messenger.stream(number + 1)
        return await self.gateway_stream(number + 1)


@pytest_asyncio.fixture
async def place() -> AsyncIterator[Place]:
    """A stream with room for 5 sends."""
    messenger = Messenger()
    async with serving_grpc(
        lambda server: add_MessengerServicer_to_server(messenger, server), HOST, 0, 0.0
    ) as (_, port):
        place = Place(port, messenger)
        place.stream.start()
        yield place
        await place.stream.stop()


@dataclass(frozen=True)
class Sender:
    """A socket of Alice's."""

    number: int
    token: str = ""
    opened_at: int = 5
    proof: bytes = b""
    user_id: bytes = ALICE


def message(*client_ids: bytes, sender: Sender = Sender(1), text: str = "text") -> PendingSend:
    """A send of Alice's."""
    ids = list(client_ids) or [new_id()]
    send = PendingSend(CHAT, ids, [text] * len(ids))
    send.accept(sender, 1)
    return send


def delivery(seq: int, *, client_id: bytes = b"", sender: bytes = BOB, **more: Any) -> dict[str, Any]:
    """A message that is delivered to sockets 1 and 2."""
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


def positions(numbers: dict[int, int]) -> list[Position]:
    """Places in the commit log, by writer."""
    return [Position(writer=writer, number=number) for writer, number in numbers.items()]


def followed(stream: Stream) -> dict[int, int]:
    """What a gateway has followed when its stream begins."""
    return {position.writer: position.number for position in stream.received[0].hello.followed}


# ---- sends ----


async def test_a_send_is_acknowledged_by_its_delivery(place: Place) -> None:
    """Senders would wait for ever, and the gateway would fill up."""
    stream = await place.gateway_stream()
    sent = message()
    place.stream.send(sent)
    await eventually(lambda: stream.all("sends"), "the send")
    (sent_up,) = stream.all("sends")
    assert (sent_up.socket, sent_up.chat_id, list(sent_up.client_ids)) == (1, CHAT, sent.client_ids)
    assert not sent_up.retry
    await stream.send(deliveries=[{"request": sent_up.request, "first_seq": 3, "ids": [new_id()]}])
    await eventually(lambda: place.sockets.deliveries, "the delivery")
    ((got, own, _),) = place.sockets.deliveries
    assert (got.first_seq, own) == (3, sent)
    assert len(place.sends) == 0


async def test_sends_of_one_turn_leave_together_and_in_order(place: Place) -> None:
    """Each message would cost a gRPC message; or a conversation would be mixed up."""
    stream = await place.gateway_stream()
    sends = [message() for _ in range(5)]
    for sent in sends:
        place.stream.send(sent)
    await eventually(lambda: stream.all("sends"), "the sends")
    assert [list(one.client_ids) for one in stream.received[-1].sends] == [s.client_ids for s in sends]


async def test_a_refusal_reaches_its_sender(place: Place) -> None:
    """Somebody who may not write would wait for ever."""
    stream = await place.gateway_stream()
    sent = message()
    place.stream.send(sent)
    await eventually(lambda: stream.all("sends"), "the send")
    request = stream.all("sends")[0].request
    await stream.send(sent=[{"request": request, "error": {"code": "not_found"}}])
    await eventually(lambda: place.sockets.replies, "the reply")
    ((reply, own),) = place.sockets.replies
    assert (reply.error.code, own, len(place.sends)) == ("not_found", sent, 0)


async def test_what_was_not_answered_is_sent_again_with_its_client_ids(place: Place) -> None:
    """A restart of the messenger would lose messages, or store them twice."""
    stream = await place.gateway_stream()
    answered, lost, away = message(), message(), message()
    place.stream.send(answered)
    place.stream.send(lost)
    await eventually(lambda: len(stream.all("sends")) == 2, "the sends")
    await stream.send(sent=[{"request": stream.all("sends")[0].request, "seqs": [1]}])
    await eventually(lambda: place.sockets.replies, "the reply")
    stream.end()
    await place.away()
    place.stream.send(away)
    again = (await place.gateway_stream(1)).received[0]
    assert [list(one.client_ids) for one in again.sends] == [lost.client_ids, away.client_ids]
    assert all(one.retry for one in again.sends)


async def test_a_messenger_that_stops_gives_sends_to_the_next_one(place: Place) -> None:
    """Each update of the messenger would lose old clients' messages of its last moment."""
    stream = await place.gateway_stream()
    place.stream.send(sent := message())
    await eventually(lambda: stream.all("sends"), "the send")
    await stream.send(sent=[{"request": stream.all("sends")[0].request, "error": {"code": "restarting"}}])
    await stream.send(resumed=[9])
    await eventually(lambda: place.sockets.batches == 2, "handled")
    assert place.sockets.replies == []
    again = await place.broken()
    assert [list(one.client_ids) for one in again.received[0].sends] == [sent.client_ids]


async def test_a_messenger_that_stops_and_does_not_end_is_left(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sends would wait for as long as a stopping messenger waits for its database, with another one there."""
    monkeypatch.setattr(module, "LEAVE_SECONDS", 0.01)
    stream = await place.gateway_stream()
    place.stream.send(sent := message())
    await eventually(lambda: stream.all("sends"), "the send")
    await stream.send(sent=[{"request": stream.all("sends")[0].request, "error": {"code": "restarting"}}])
    again = (await place.gateway_stream(1)).received[0]
    assert [list(one.client_ids) for one in again.sends] == [sent.client_ids]


async def test_too_many_sends_are_refused(place: Place) -> None:
    """A messenger that is away would fill the gateway's memory (promise P9)."""
    await place.gateway_stream()
    for _ in range(5):
        place.stream.send(message())
    with pytest.raises(PalaverError) as refused:
        place.stream.send(message())
    assert refused.value.kind is OVERLOADED


async def test_sends_that_are_too_long_together_are_refused(place: Place) -> None:
    """A few long messages would fill the gateway's memory (promise P9)."""
    await place.gateway_stream()
    place.stream.send(message(text="x" * 10_000))
    with pytest.raises(PalaverError) as refused:
        place.stream.send(message())
    assert refused.value.kind is OVERLOADED


async def test_what_may_be_lost_does_not_pile_up_without_a_messenger(place: Place) -> None:
    """Typing of an hour without the messenger would fill the gateway's memory (promise P9)."""
    (await place.gateway_stream()).end()
    await place.away()
    place.outbox.batch.typings.add(socket=1)
    assert len(place.outbox.batch.typings) == 0


async def test_receipts_of_a_broken_stream_are_sent_again_merged(place: Place) -> None:
    """What somebody read while the messenger restarts would stay unread for ever."""
    stream = await place.gateway_stream()
    place.sockets.open = [SocketOpen(socket=1, opened_at=5)]
    place.stream.move_receipt(Sender(1, "one"), CHAT, 3, 0)
    place.stream.move_receipt(Sender(2, "two"), CHAT, 3, 0)
    await eventually(lambda: len(stream.all("receipts")) == 2, "sent")
    stream.end()
    await place.away()
    place.stream.move_receipt(Sender(1, "one"), CHAT, 0, 2)
    place.stream.move_receipt(Sender(7, "seven"), CHAT, 9, 9)
    again = (await place.gateway_stream(1)).received[0]
    moved = [(one.socket, one.received_seq, one.read_seq) for one in again.receipts]
    assert moved == [(1, 3, 2), (2, 3, 0), (7, 9, 9)]
    # Those that closed are open for just that
    assert [(one.socket, one.token) for one in again.opens] == [(1, ""), (2, "two"), (7, "seven")]
    assert list(again.closes) == [2, 7]
    # The second stream may have broken before it took them
    assert [one.socket for one in (await place.broken(1)).all("receipts")] == [1, 2, 7]


async def test_a_stored_receipt_is_not_sent_again(place: Place) -> None:
    """Each broken stream would bring all receipts of the gateway's life."""
    stream = await place.gateway_stream()
    for chat_id, seqs in ((CHAT, (3, 0)), (OTHER, (4, 4)), (CHAT, (0, 2))):
        place.stream.move_receipt(Sender(1, "one"), chat_id, *seqs)
    await eventually(lambda: len(stream.all("receipts")) == 3, "sent")
    sent = stream.all("receipts")
    assert [one.number for one in sent] == [1, 2, 3]
    # The answer to the newest is the answer to all of them
    assert (sent[2].received_seq, sent[2].read_seq) == (3, 2)
    await stream.send(stored_receipts=[1, 2])
    await eventually(lambda: place.sockets.batches == 1, "the answers")
    again = await place.broken()
    assert [(one.chat_id, one.number) for one in again.received[0].receipts] == [(CHAT, 3)]
    await again.send(stored_receipts=[3])
    await eventually(lambda: place.sockets.batches == 2, "the answer")
    assert (await place.broken(1)).all("receipts") == []


async def test_a_refused_receipt_is_not_sent_again(place: Place) -> None:
    """A client would get one error after each broken stream."""
    stream = await place.gateway_stream()
    place.sockets.open = [SocketOpen(socket=1, opened_at=5)]
    place.stream.move_receipt(Sender(1, "one"), CHAT, 3, 0)
    await stream.send(errors=[{"socket": 1, "chat_id": CHAT, "error": {"code": "not_found"}}])
    await eventually(lambda: place.sockets.batches, "handled")
    assert (await place.broken()).all("receipts") == []


async def test_receipts_of_a_socket_that_is_not_opened_are_forgotten(place: Place) -> None:
    """Whoever comes with a bad token would stay in the gateway's memory, and come back with each stream."""
    stream = await place.gateway_stream()
    for socket in (1, 2):
        place.stream.move_receipt(Sender(socket, "a token"), CHAT, 3, 0)
        place.stream.move_receipt(Sender(socket, "a token"), OTHER, 3, 0)
    await stream.send(opened=[{"socket": 1, "error": "unauthenticated"}])
    await eventually(lambda: place.sockets.opened, "refused")
    assert [one.socket for one in (await place.broken()).all("opens")] == [2]


async def test_a_stop_waits_for_answers(place: Place) -> None:
    """A gateway's update would leave its clients' last messages without an answer."""
    stream = await place.gateway_stream()
    place.stream.send(message())
    await eventually(lambda: stream.all("sends"), "the send")
    stopping = asyncio.create_task(place.stream.drain(5.0))
    await asyncio.sleep(0.03)
    assert not stopping.done()
    await stream.send(sent=[{"request": stream.all("sends")[0].request, "seqs": [1]}])
    await stopping
    assert len(place.sockets.replies) == 1


# ---- after a broken stream ----


async def test_a_new_stream_begins_with_who_was_there(place: Place) -> None:
    """Open sockets would get nothing more after a restart of the messenger."""
    first = (await place.gateway_stream()).received[0]
    assert (len(first.hello.followed), first.reopened, len(first.opens)) == (0, True, 0)
    place.sockets.open = [SocketOpen(socket=number, opened_at=5) for number in range(1, 1_201)]
    await (await place.gateway_stream()).send(followed=positions({1: 7}))
    await eventually(lambda: place.sockets.batches, "the position")
    again = await place.broken()
    await eventually(lambda: len(again.all("opens")) == 1_200, "all sockets")
    assert followed(again) == {1: 7}
    assert [batch.reopened for batch in again.received] == [False, False, True]
    assert max(len(batch.opens) for batch in again.received) == OPENS_AT_ONCE
    assert again.received[0].hello.gateway_id == first.hello.gateway_id


async def test_a_position_that_is_not_sent_moves_nothing(place: Place) -> None:
    """A stream that breaks while the gateway catches up would leave out what it had not delivered yet."""
    stream = await place.gateway_stream()
    await stream.send(followed=positions({1: 7, 2: 3}))
    await stream.send(followed=positions({1: 6, 2: 4}))
    await stream.send()
    await eventually(lambda: place.sockets.batches == 3, "the positions")
    assert followed(await place.broken()) == {1: 7, 2: 4}


async def test_a_batch_that_was_not_handled_whole_was_not_followed(place: Place) -> None:
    """One odd message would take all behind it along, for everybody on the gateway; or bring others twice."""
    stream = await place.gateway_stream()
    await stream.send(deliveries=[delivery(1)], followed=positions({1: 1}), settled=True)
    place.sockets.fails_at = 3
    batch = {
        "deliveries": [delivery(seq) for seq in (2, 3, 4)],
        "followed": positions({1: 4}),
        "settled": True,
    }
    await stream.send(**batch)
    again = await place.gateway_stream(1)
    assert followed(again) == {1: 1}
    await again.send(**{**batch, "settled": False})
    await eventually(lambda: place.sockets.fresh == [1, 2, 3, 4], "each once")


async def test_a_trimmed_log_is_handled_before_anything_else(place: Place) -> None:
    """Sockets would get what is new behind a hole that they do not know of."""
    stream = await place.gateway_stream()
    await stream.send(deliveries=[delivery(1)])
    await eventually(lambda: place.sockets.batches == 1, "handled")
    assert place.sockets.trimmed == 0
    place.sockets.fails_at = 2
    await (await place.broken()).send(log_trimmed=True, deliveries=[delivery(2)])
    await eventually(lambda: place.sockets.trimmed == 1, "trimmed")


async def test_the_last_sends_of_a_socket_that_closed_are_sent_again(place: Place) -> None:
    """Who sends a goodbye while the messenger restarts would lose it."""
    await place.gateway_stream()
    place.sockets.open = [SocketOpen(socket=1, opened_at=5)]
    place.stream.send(message(sender=Sender(1)))
    place.stream.send(message(sender=Sender(7, "the token", 77), text="goodbye"))
    again = (await place.broken()).received[0]
    # By the messenger's time of then: the gateway's clock may be wrong
    assert [(one.socket, one.token, one.opened_at) for one in again.opens] == [
        (1, "", 5),
        (7, "the token", 77),
    ]
    assert [one.socket for one in again.sends] == [1, 7]
    # Taken after the sends
    assert list(again.closes) == [7]


async def test_what_was_delivered_is_passed_over(place: Place) -> None:
    """After each broken stream everybody would get the last seconds again."""
    stream = await place.gateway_stream()
    await stream.send(deliveries=[delivery(1), delivery(2)])
    await eventually(lambda: place.sockets.batches, "handled")
    again = await place.broken()
    await again.send(deliveries=[delivery(seq, commit={"writer": 1, "number": seq}) for seq in (1, 2, 3)])
    await again.send(deliveries=[delivery(seq) for seq in (3, 4)])
    await eventually(lambda: place.sockets.batches == 3, "handled")
    assert place.sockets.fresh == [1, 2, 3, 4]


async def test_what_was_held_meanwhile_is_compared_in_a_settled_batch_too(place: Place) -> None:
    """A message that came live while the gateway caught up would come twice."""
    stream = await place.gateway_stream()
    await stream.send(deliveries=[delivery(1), delivery(2)])
    await stream.send(deliveries=[delivery(seq) for seq in (2, 3)], settled=True)
    await eventually(lambda: place.sockets.batches == 2, "handled")
    assert place.sockets.fresh == [1, 2, 3]


async def test_nothing_is_remembered_once_all_is_followed(place: Place) -> None:
    """Each gateway would keep a seq of each chat of its life, and compare each message with it."""
    stream = await place.gateway_stream()
    await stream.send(deliveries=[delivery(1)])
    await eventually(lambda: place.sockets.batches == 1, "handled")
    assert place.stream._delivered.last_seqs == {CHAT: 1}
    await stream.send(settled=True)
    await stream.send(deliveries=[delivery(2), delivery(3)], settled=True)
    await eventually(lambda: place.sockets.batches == 3, "handled")
    assert place.stream._delivered.last_seqs == {}
    assert place.sockets.fresh == [1, 2, 3]


async def test_changes_and_resumes_are_never_passed_over(place: Place) -> None:
    """Edits of old messages would be lost, and a client that resumes would get nothing."""
    stream = await place.gateway_stream()
    await stream.send(
        deliveries=[delivery(5), delivery(2, changed=True, commit=COMMIT), delivery(1, resumed=True)]
    )
    await eventually(lambda: place.sockets.batches, "handled")
    assert place.sockets.fresh == [5, 2, 1]


async def test_one_sockets_resume_hides_nothing_from_the_others(place: Place) -> None:
    """Others would miss a message that one socket's resume brought first, where the stream breaks then."""
    stream = await place.gateway_stream()
    await stream.send(deliveries=[delivery(1), delivery(2, resumed=True, sockets=[1])])
    await eventually(lambda: place.sockets.batches, "handled")
    again = await place.broken()
    await again.send(deliveries=[delivery(seq, commit=COMMIT) for seq in (1, 2)])
    await eventually(lambda: place.sockets.batches == 2, "handled")
    assert place.sockets.fresh == [1, 2, 2]


async def test_a_socket_does_not_get_what_it_sent_again(place: Place) -> None:
    """Old clients would show their own message as somebody else's."""
    await place.gateway_stream()
    client_id = new_id()
    place.stream.send(message(client_id, sender=Sender(1)))
    again = await place.broken()
    stored = delivery(1, client_id=client_id, sender=ALICE, commit=COMMIT)
    foreign = delivery(2, client_id=client_id, sender=BOB, commit=COMMIT)
    await again.send(deliveries=[stored, foreign])
    await eventually(lambda: place.sockets.batches, "handled")
    assert [list(one.sockets) for one, _, _ in place.sockets.deliveries] == [[2], [1, 2]]


async def test_what_was_sent_again_is_remembered_until_all_of_it_is_followed(place: Place) -> None:
    """Old clients would show their own message as somebody else's; or each message be compared for ever."""
    await place.gateway_stream()
    ids = [new_id(), new_id()]
    for client_id in ids:
        place.stream.send(message(client_id))
    again = await place.broken()
    requests = [one.request for one in again.received[0].sends]
    await again.send(sent=[{"request": requests[0], "seqs": [1]}], settled=True)
    # One is not answered: it may be stored and on its way
    await again.send(deliveries=[delivery(2, client_id=ids[1], sender=ALICE)])
    await again.send(sent=[{"request": requests[1], "seqs": [2]}])
    # All are answered, and what was delivered is not followed yet
    await again.send(deliveries=[delivery(1, client_id=ids[0], sender=ALICE)])
    await again.send(settled=True)
    await again.send(deliveries=[delivery(3, client_id=ids[0], sender=ALICE)])
    await eventually(lambda: place.sockets.batches == 6, "all of it")
    assert [list(one.sockets) for one, _, _ in place.sockets.deliveries] == [[2], [2], [1, 2]]


async def test_an_unforeseen_error_costs_one_stream_and_not_all(place: Place) -> None:
    """One odd message would leave the gateway without the messenger until somebody restarts it."""
    stream = await place.gateway_stream()
    place.sockets.fails_at = 1
    await stream.send(deliveries=[delivery(1)])
    again = await place.gateway_stream(1)
    await again.send(deliveries=[delivery(1, commit=COMMIT)])
    await eventually(lambda: place.sockets.fresh == [1], "delivered after all")


async def test_a_silent_messenger_is_left(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hanging messenger would keep all sockets silent, though another one is there."""
    (await place.gateway_stream()).end()
    monkeypatch.setattr(module, "SILENCE_SECONDS", 0.05)
    await place.gateway_stream(1)
    await place.gateway_stream(2)


async def test_a_stop_ends_a_stream_that_finds_nobody() -> None:
    """A gateway without a messenger could not be stopped."""
    stream = Place(1, Messenger()).stream
    stream.start()
    await asyncio.sleep(0.05)
    async with asyncio.timeout(5):
        await stream.stop()
    assert all(task.done() for task in stream._tasks)


# ---- without a stream ----


def test_a_large_batch_is_split_opens_first_and_closes_last() -> None:
    """A burst would be refused as too large, or name sockets that are not open."""
    batch = GatewayBatch(opens=[{"socket": 1}], closes=[1], receipts=[{"socket": 1}])
    for number in range(10):
        batch.sends.add(request=number, texts=["x" * 1_000_000])
    parts = list(split_batch(batch))
    assert len(parts) > 2
    assert all(part.ByteSize() < BATCH_BYTES + 1_100_000 for part in parts)
    assert [len(part.opens) for part in parts] == [1] + [0] * (len(parts) - 1)
    assert [len(part.closes) for part in parts] == [0] * (len(parts) - 1) + [1]
    assert [send.request for part in parts for send in part.sends] == list(range(10))


def test_a_large_first_batch_says_hello_before_its_sends() -> None:
    """What was missed would come behind what is new, count as delivered, and be lost on open sockets."""
    batch = GatewayBatch(opens=[{"socket": 1}], reopened=True, closes=[1])
    batch.hello.gateway_id = "gateway"
    batch.hello.followed.add(writer=1, number=7)
    for number in range(6):
        batch.sends.add(request=number, texts=["x" * 1_000_000])
    first, *rest = split_batch(batch)
    assert [(one.writer, one.number) for one in first.hello.followed] == [(1, 7)]
    assert first.reopened
    assert rest
    assert not any(part.HasField("hello") or part.reopened for part in rest)


def test_many_resumes_and_reads_are_split_too() -> None:
    """Everybody who comes back at once would break the stream that they come back to."""
    batch = GatewayBatch(closes=[1])
    cursors = {"chat_ids": [bytes(16)] * 1_000, "after_seqs": [2**40] * 1_000}
    for number in range(500):
        batch.resumes.add(socket=number, **cursors)
        batch.reads.add(number=number, token="x" * 20_000)
    parts = list(split_batch(batch))
    assert all(part.ByteSize() < BATCH_BYTES + 30_000 for part in parts)
    assert [one.socket for part in parts for one in part.resumes] == list(range(500))
    assert [one.number for part in parts for one in part.reads] == list(range(500))
    assert [len(part.closes) for part in parts] == [0] * (len(parts) - 1) + [1]
