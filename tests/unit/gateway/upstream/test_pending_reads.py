"""Pages of history over the stream, against a messenger that sends what a test wants."""

import asyncio

import pytest

from palaver.contracts import messenger_pb2 as pb
from palaver.contracts.errors import NOT_FOUND, OVERLOADED, RATE_LIMITED, UNAVAILABLE, PalaverError
from palaver.gateway.upstream import pending_reads as module
from palaver.gateway.upstream.outbox import Outbox
from palaver.gateway.upstream.pending_reads import HistoryPage, PendingReads
from palaver.runtime.fair_turns import MOST_OF_ONE
from palaver.runtime.requester import work_for
from tests.harness.stream_peers import NotedStream
from tests.harness.waiting import eventually
from tests.unit.gateway.upstream.test_stream import CHAT, Place, Stream, place

__all__ = ["place"]

REQUEST = pb.ListMessagesRequest(chat_id=CHAT, limit=50)


def read(place: Place, request: pb.ListMessagesRequest = REQUEST) -> asyncio.Task[HistoryPage]:
    """Reads a page."""
    return asyncio.create_task(place.reads.list_messages("the token", request))


async def sent(stream: Stream, count: int = 1) -> list[pb.ReadRequest]:
    """What the messenger has received, once it is so many."""
    await eventually(lambda: len(stream.all("reads")) >= count, "sent")
    return stream.all("reads")


async def test_reads_of_one_turn_leave_together_and_each_gets_its_own_reply(place: Place) -> None:
    """Each page would cost a gRPC message, or a reader would see somebody else's chat."""
    stream = await place.gateway_stream()
    waiting = [read(place, pb.ListMessagesRequest(chat_id=CHAT, limit=limit)) for limit in range(1, 6)]
    reads = await sent(stream, 5)
    assert len(stream.received[-1].reads) == 5
    assert {one.token for one in reads} == {"the token"}
    answers = [{"number": one.number, "page": {"last_seq": one.list_messages.limit}} for one in reads]
    await stream.send(read_replies=reversed(answers))
    assert [page.messages.last_seq for page in await asyncio.gather(*waiting)] == [1, 2, 3, 4, 5]
    assert len(place.reads) == 0


async def test_one_reply_answers_all_who_asked_for_the_same_page(place: Place) -> None:
    """All but one of those who open a chat in the same moment would wait for ten seconds and get an error."""
    stream = await place.gateway_stream()
    waiting = [read(place) for _ in range(3)]
    first, *more = [one.number for one in await sent(stream, 3)]
    await stream.send(read_replies=[{"number": first, "more_numbers": more, "page": {"last_seq": 7}}])
    pages = await asyncio.gather(*waiting)
    assert [page.messages.last_seq for page in pages] == [7, 7, 7]
    assert len(place.reads) == 0


def test_a_shared_page_is_rendered_once_for_each_way_of_asking() -> None:
    """A page would be encoded for each of its readers; or one of them would get what another asked for."""
    rendered: list[str] = []

    def render(page: pb.MessagePage, name: str) -> bytes:
        rendered.append(name)
        return f"{page.last_seq} {name}".encode()

    page = HistoryPage(pb.MessagePage(last_seq=7))
    bodies = [page.rendered(render, name) for name in ("v1", "v2", "v1")]
    assert bodies == [b"7 v1", b"7 v2", b"7 v1"]
    assert rendered == ["v1", "v2"]


async def test_an_empty_page_is_an_answer(place: Place) -> None:
    """Who opens a new chat would wait for ten seconds and get an error."""
    stream = await place.gateway_stream()
    waiting = read(place)
    await stream.send(read_replies=[{"number": (await sent(stream))[0].number}])
    assert (await waiting).messages == pb.MessagePage()


async def test_a_refusal_arrives_as_the_messenger_meant_it(place: Place) -> None:
    """An outsider would learn that the service is broken, again and again."""
    stream = await place.gateway_stream()
    waiting = read(place)
    error = {"code": "not_found", "message": "no such chat", "field": "chat_id"}
    await stream.send(read_replies=[{"number": (await sent(stream))[0].number, "error": error}])
    with pytest.raises(PalaverError, match="no such chat") as refused:
        await waiting
    assert (refused.value.kind, refused.value.field) == (NOT_FOUND, "chat_id")


async def test_what_has_no_reply_is_sent_again_on_the_next_stream(place: Place) -> None:
    """Each restart of the messenger would be an error for everybody who reads in that second."""
    stream = await place.gateway_stream()
    lost, stopped = read(place), read(place)
    number = (await sent(stream, 2))[1].number
    await stream.send(read_replies=[{"number": number, "error": {"code": "restarting"}}])
    stream.end()
    away = read(place)
    again = await place.gateway_stream(1)
    reads = await sent(again, 3)
    assert [one.number for one in reads] == [1, 2, 3]
    assert all((one.token, one.list_messages) == ("the token", REQUEST) for one in reads)
    await again.send(read_replies=[{"number": one.number, "page": {"last_seq": 7}} for one in reads])
    assert [page.messages.last_seq for page in await asyncio.gather(lost, stopped, away)] == [7, 7, 7]


async def test_a_read_that_was_given_up_is_not_sent_again(place: Place) -> None:
    """Readers who leave would make work for the messenger when it has least time."""
    stream = await place.gateway_stream()
    waiting = read(place)
    await sent(stream)
    waiting.cancel()
    await asyncio.wait([waiting])
    assert len(place.reads) == 0
    assert (await place.broken()).all("reads") == []


async def test_a_read_ends_at_its_deadline(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests would hang for as long as the messenger does, and pile up."""
    monkeypatch.setattr(module, "DEADLINE_SECONDS", 0.05)
    stream = await place.gateway_stream()
    first = read(place)
    await sent(stream)
    second = read(place)
    async with asyncio.timeout(5):
        for waiting in (first, second):
            with pytest.raises(PalaverError) as refused:
                await waiting
            assert (refused.value.kind, refused.value.retry_after) == (UNAVAILABLE, 1.0)
        # The timer went off for good, and is set again
        third = read(place)
        with pytest.raises(PalaverError):
            await third


@pytest.mark.parametrize("is_there", [True, False])
async def test_without_a_messenger_a_read_ends_soon(monkeypatch: pytest.MonkeyPatch, is_there: bool) -> None:
    """Everybody who opens a chat would stare at it for ten seconds before they learn that it is away."""
    monkeypatch.setattr(module, "AWAY_SECONDS", 0.1)
    reads = PendingReads(outbox := Outbox())
    if is_there:
        outbox.open(NotedStream())
    waiting = asyncio.create_task(reads.list_messages("the token", REQUEST))
    await eventually(lambda: len(reads) == 1, "sent")
    if is_there:
        reads.note_break()
    with pytest.raises(PalaverError) as refused:
        await asyncio.wait_for(waiting, 2)
    assert refused.value.kind is UNAVAILABLE
    assert len(reads) == 0


async def test_a_read_outlives_a_short_break(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each restart of the messenger would be an error for everybody who reads in that second."""
    monkeypatch.setattr(module, "AWAY_SECONDS", 0.1)
    reads = PendingReads(outbox := Outbox())
    outbox.open(NotedStream())
    waiting = asyncio.create_task(reads.list_messages("the token", REQUEST))
    await eventually(lambda: len(reads) == 1, "sent")
    reads.note_break()
    (pending,) = reads.resend()
    await asyncio.sleep(0.2)
    reads.handle_replies([pb.ReadReply(number=pending.number, page=pb.MessagePage(last_seq=7))])
    assert (await waiting).messages.last_seq == 7


async def test_too_many_reads_of_one_reader_are_refused_to_that_reader(place: Place) -> None:
    """One reader would have everybody refused while the messenger is away, or slow."""
    await place.gateway_stream()

    async def read_as(name: str) -> HistoryPage:
        work_for(name)
        return await place.reads.list_messages("the token", REQUEST)

    waiting = [asyncio.create_task(read_as("greedy")) for _ in range(MOST_OF_ONE)]
    await eventually(lambda: len(place.reads) == MOST_OF_ONE, "sent")
    with pytest.raises(PalaverError) as refused:
        await asyncio.create_task(read_as("greedy"))
    assert (refused.value.kind, refused.value.retry_after) == (RATE_LIMITED, 1.0)
    waiting.append(asyncio.create_task(read_as("alice")))
    await eventually(lambda: len(place.reads) == MOST_OF_ONE + 1, "alice's is sent")
    for one in waiting:
        one.cancel()
    await asyncio.wait(waiting)
    # A reader who gave up may read again
    again = asyncio.create_task(read_as("greedy"))
    await eventually(lambda: len(place.reads) == 1, "sent")
    again.cancel()
    await asyncio.wait([again])


async def test_too_many_reads_are_refused(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Readers would fill the gateway's memory while the messenger is away (promise P9)."""
    monkeypatch.setattr(module, "MOST_PENDING", 2)
    await place.gateway_stream()
    waiting = [read(place), read(place)]
    await eventually(lambda: len(place.reads) == 2, "sent")
    with pytest.raises(PalaverError) as refused:
        await read(place)
    assert refused.value.kind is OVERLOADED
    for one in waiting:
        one.cancel()
    await asyncio.wait(waiting)
