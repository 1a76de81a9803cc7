"""Pages of history over the stream, against a messenger that says what a test tells it to."""

import asyncio

import pytest

from palaver.contracts import messenger_pb2 as pb
from palaver.contracts.errors import NOT_FOUND, OVERLOADED, UNAVAILABLE, PalaverError
from palaver.gateway.upstream import pending_reads as module
from palaver.gateway.upstream.pending_reads import PendingReads
from tests.harness.waiting import eventually
from tests.unit.gateway.upstream.test_stream import CHAT, Place, Stream, place

__all__ = ["place"]

REQUEST = pb.ListMessagesRequest(chat_id=CHAT, limit=50)


def ask(place: Place, request: pb.ListMessagesRequest = REQUEST) -> asyncio.Task[pb.MessagePage]:
    """Asks for a page."""
    return asyncio.create_task(place.link.asks.list_messages("the token", request))


async def asked(stream: Stream, count: int = 1) -> list[pb.ReadRequest]:
    """What the messenger was asked, once it is so many."""
    await eventually(lambda: len(stream.all("reads")) >= count, "asked")
    return stream.all("reads")


async def test_asks_of_one_turn_leave_together_and_each_gets_its_own_answer(place: Place) -> None:
    """Each page would cost a gRPC message, or a reader would see somebody else's chat."""
    stream = await place.gateway_stream()
    waiting = [ask(place, pb.ListMessagesRequest(chat_id=CHAT, limit=limit)) for limit in range(1, 6)]
    asks = await asked(stream, 5)
    assert len(stream.received[-1].reads) == 5
    assert {one.token for one in asks} == {"the token"}
    answers = [{"number": one.number, "page": {"last_seq": one.list_messages.limit}} for one in asks]
    await stream.say(read_replies=reversed(answers))
    assert [page.last_seq for page in await asyncio.gather(*waiting)] == [1, 2, 3, 4, 5]
    assert len(place.link.asks) == 0


async def test_an_empty_page_is_an_answer(place: Place) -> None:
    """Who opens a new chat would wait for ten seconds and get an error."""
    stream = await place.gateway_stream()
    waiting = ask(place)
    await stream.say(read_replies=[{"number": (await asked(stream))[0].number}])
    assert await waiting == pb.MessagePage()


async def test_a_refusal_is_told_as_the_messenger_meant_it(place: Place) -> None:
    """An outsider would be told that the service is broken, again and again."""
    stream = await place.gateway_stream()
    waiting = ask(place)
    error = {"code": "not_found", "message": "no such chat", "field": "chat_id"}
    await stream.say(read_replies=[{"number": (await asked(stream))[0].number, "error": error}])
    with pytest.raises(PalaverError, match="no such chat") as told:
        await waiting
    assert (told.value.kind, told.value.field) == (NOT_FOUND, "chat_id")


async def test_what_was_not_answered_is_asked_again_on_the_next_stream(place: Place) -> None:
    """Each restart of the messenger would be an error for everybody who reads in that second."""
    stream = await place.gateway_stream()
    lost, stopped = ask(place), ask(place)
    number = (await asked(stream, 2))[1].number
    await stream.say(read_replies=[{"number": number, "error": {"code": "restarting"}}])
    stream.end()
    away = ask(place)
    again = await place.gateway_stream(1)
    asks = await asked(again, 3)
    assert [one.number for one in asks] == [1, 2, 3]
    assert all((one.token, one.list_messages) == ("the token", REQUEST) for one in asks)
    await again.say(read_replies=[{"number": one.number, "page": {"last_seq": 7}} for one in asks])
    assert [page.last_seq for page in await asyncio.gather(lost, stopped, away)] == [7, 7, 7]


async def test_who_gave_up_is_not_asked_for_again(place: Place) -> None:
    """Readers who leave would make work for the messenger when it has least time."""
    stream = await place.gateway_stream()
    waiting = ask(place)
    await asked(stream)
    waiting.cancel()
    await asyncio.wait([waiting])
    assert len(place.link.asks) == 0
    assert (await place.broken()).all("reads") == []


async def test_an_ask_ends_at_its_deadline(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests would hang for as long as the messenger does, and pile up."""
    monkeypatch.setattr(module, "DEADLINE_SECONDS", 0.05)
    stream = await place.gateway_stream()
    first = ask(place)
    await asked(stream)
    second = ask(place)
    async with asyncio.timeout(5):
        for waiting in (first, second):
            with pytest.raises(PalaverError) as told:
                await waiting
            assert (told.value.kind, told.value.retry_after) == (UNAVAILABLE, 1.0)
        # The timer went off for good, and is set again
        third = ask(place)
        with pytest.raises(PalaverError):
            await third


@pytest.mark.parametrize("is_there", [True, False])
async def test_without_a_messenger_an_ask_ends_soon(monkeypatch: pytest.MonkeyPatch, is_there: bool) -> None:
    """Everybody who opens a chat would stare at it for ten seconds before they are told that it is away."""
    monkeypatch.setattr(module, "AWAY_SECONDS", 0.1)
    asks = PendingReads(lambda _number, _asked: is_there)
    waiting = asyncio.create_task(asks.list_messages("the token", REQUEST))
    await eventually(lambda: len(asks) == 1, "asked")
    if is_there:
        asks.note_break()
    with pytest.raises(PalaverError) as told:
        await asyncio.wait_for(waiting, 2)
    assert told.value.kind is UNAVAILABLE
    assert len(asks) == 0


async def test_an_ask_outlives_a_short_break(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each restart of the messenger would be an error for everybody who reads in that second."""
    monkeypatch.setattr(module, "AWAY_SECONDS", 0.1)
    asks = PendingReads(lambda _number, _asked: True)
    waiting = asyncio.create_task(asks.list_messages("the token", REQUEST))
    await eventually(lambda: len(asks) == 1, "asked")
    asks.note_break()
    ((number, _),) = asks.waiting()
    await asyncio.sleep(0.2)
    asks.hear([pb.ReadReply(number=number, page=pb.MessagePage(last_seq=7))])
    assert (await waiting).last_seq == 7


async def test_too_many_asks_are_refused(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Readers would fill the gateway's memory while the messenger is away (promise P9)."""
    monkeypatch.setattr(module, "MOST_WAITING", 2)
    await place.gateway_stream()
    waiting = [ask(place), ask(place)]
    await eventually(lambda: len(place.link.asks) == 2, "asked")
    with pytest.raises(PalaverError) as told:
        await ask(place)
    assert told.value.kind is OVERLOADED
    for one in waiting:
        one.cancel()
    await asyncio.wait(waiting)
