"""The messenger's client: what is repeated, what is not, and what errors become."""

import asyncio

import grpc
import pytest

from palaver.contracts import messenger_pb2 as pb
from palaver.contracts.errors import NOT_FOUND, RESTARTING, UNAVAILABLE, PalaverError
from palaver.runtime.grpc.instrumentation import RETRIES
from tests.harness.scripted_upstreams import ALICE, CHAT, Door, message, open_door
from tests.harness.tracing import SAMPLED, keeping

pytestmark = pytest.mark.asyncio(loop_scope="session")

CLIENT_ID = ALICE.bytes


async def test_a_read_is_repeated_once_where_the_messenger_was_away(door: Door) -> None:
    """A restart of the messenger would be an error for everybody who reads in that second."""
    door.messenger.answers["GetChat"] = [grpc.StatusCode.UNAVAILABLE, pb.Chat(id=CHAT.bytes)]
    chat = await door.services.messenger.get_chat("a.b.c", CHAT.bytes)
    assert chat.id == CHAT.bytes


async def test_it_is_not_repeated_twice(door: Door) -> None:
    """Gateways would hammer a messenger that is in trouble."""
    door.messenger.answers["GetChat"] = grpc.StatusCode.UNAVAILABLE
    with pytest.raises(PalaverError) as told:
        await door.services.messenger.get_chat("a.b.c", CHAT.bytes)
    assert told.value.kind is UNAVAILABLE
    assert told.value.retry_after
    assert len(door.messenger.requests("GetChat")) == 2


async def test_a_send_is_repeated_as_a_repetition(door: Door) -> None:
    """A message that was stored before the connection broke would be stored a second time."""
    answers = [grpc.StatusCode.UNAVAILABLE, pb.SentMessages(messages=[message(1)])]
    door.messenger.answers["SendMessages"] = answers
    await door.services.messenger.send_messages("a.b.c", CHAT.bytes, [CLIENT_ID], ["hello"], retry=False)
    first, second = door.messenger.requests("SendMessages")
    assert (first.retry, second.retry) == (False, True)
    assert list(first.client_ids) == list(second.client_ids) == [CLIENT_ID]


async def test_both_tries_have_spans(door: Door) -> None:
    """A request that waited for a restart would look slow without a reason."""
    door.messenger.answers["GetChat"] = [grpc.StatusCode.UNAVAILABLE, pb.Chat(id=CHAT.bytes)]
    retries = RETRIES.labels("GetChat")._value.get()
    with keeping() as kept:
        await door.call("GET", f"/v2/chats/{CHAT}", traceparent=SAMPLED)
    first, second = [span for span in kept.spans if span.name == "palaver.v1.Messenger/GetChat"]
    assert [span.attributes["rpc.grpc.status_code"] for span in (first, second)] == [14, 0]
    assert first.parent_id == second.parent_id == kept.span("GET /v2/chats/{chat_id}").span_id
    assert RETRIES.labels("GetChat")._value.get() == retries + 1


async def test_requests_are_named_after_their_methods() -> None:
    """Spans and numbers of a call would bear the name of another one."""
    for method in pb.DESCRIPTOR.services_by_name["Messenger"].methods:
        assert method.name == "Attach" or method.input_type.name == f"{method.name}Request"


async def test_what_is_not_idempotent_is_not_repeated(door: Door) -> None:
    """A member that the first call removed would be `not found` for the second, and the client told so."""
    door.messenger.answers["RemoveMember"] = grpc.StatusCode.UNAVAILABLE
    with pytest.raises(PalaverError):
        await door.services.messenger.remove_member("a.b.c", CHAT.bytes, ALICE.bytes)
    assert len(door.messenger.requests("RemoveMember")) == 1


async def test_what_is_away_behind_the_messenger_is_not_called_again(door: Door) -> None:
    """Each read of an archive that is away would be asked for twice."""
    door.messenger.answers["ListMessages"] = PalaverError(UNAVAILABLE, "the archive is away", retry_after=5)
    with pytest.raises(PalaverError, match="the archive is away") as told:
        await door.services.messenger.list_messages("a.b.c", pb.ListMessagesRequest(chat_id=CHAT.bytes))
    assert told.value.retry_after == 5
    assert len(door.messenger.requests("ListMessages")) == 1


async def test_a_messenger_that_stops_is_called_again(door: Door) -> None:
    """An orderly restart would be an error for its last callers."""
    door.messenger.answers["GetChat"] = [PalaverError(RESTARTING), pb.Chat(id=CHAT.bytes)]
    assert (await door.services.messenger.get_chat("a.b.c", CHAT.bytes)).id == CHAT.bytes


async def test_the_callers_token_goes_with_each_call(door: Door) -> None:
    """The messenger could not tell in whose name it is asked."""
    door.messenger.answers["GetChat"] = PalaverError(NOT_FOUND)
    assert (await door.call("GET", f"/v2/chats/{CHAT}")).status == 404
    assert door.messenger.tokens == [f"Bearer {door.token}"]


async def test_without_a_messenger_the_answer_is_503_in_time() -> None:
    """Requests would hang for as long as the messenger is away, and pile up."""
    async with open_door() as door:
        await door.stop_messenger(None)
        answer, old = await asyncio.wait_for(
            asyncio.gather(door.call("GET", f"/v2/chats/{CHAT}"), door.call("GET", "/messenger/chats")), 8
        )
        assert (answer.status, answer.json["code"]) == (503, "unavailable")
        assert answer.headers["retry-after"] == "1"
        assert (old.status, old.json["code"]) == (503, 0)
