"""The messenger's client: what is repeated, what is not, and what errors become."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import grpc
import grpc.aio
import pytest

from palaver.contracts import messenger_pb2 as pb
from palaver.contracts.errors import NOT_FOUND, RESTARTING, UNAVAILABLE, PalaverError
from palaver.contracts.messenger_pb2_grpc import add_MessengerServicer_to_server
from palaver.gateway.upstream.messenger import MessengerClient, messenger_channels
from palaver.gateway.upstream.outbox import Outbox
from palaver.gateway.upstream.pending_reads import PendingReads
from palaver.runtime.grpc.instrumentation import RETRIES
from palaver.runtime.replicas.replicas import Replicas
from tests.harness.scripted_upstreams import (
    ALICE,
    CHAT,
    GatewayClient,
    ScriptedMessenger,
    message,
    running_http_gateway,
)
from tests.harness.tracing import SAMPLED, recording

pytestmark = pytest.mark.asyncio(loop_scope="session")

CLIENT_ID = ALICE.bytes


async def test_a_read_is_repeated_once_where_the_messenger_was_away(gateway: GatewayClient) -> None:
    """A restart of the messenger would be an error for everybody who reads in that second."""
    gateway.messenger.answers["GetChat"] = [grpc.StatusCode.UNAVAILABLE, pb.Chat(id=CHAT.bytes)]
    chat = await gateway.services.messenger.get_chat("a.b.c", CHAT.bytes)
    assert chat.id == CHAT.bytes


async def test_it_is_not_repeated_twice(gateway: GatewayClient) -> None:
    """Gateways would hammer a messenger that is in trouble."""
    gateway.messenger.answers["GetChat"] = grpc.StatusCode.UNAVAILABLE
    with pytest.raises(PalaverError) as told:
        await gateway.services.messenger.get_chat("a.b.c", CHAT.bytes)
    assert told.value.kind is UNAVAILABLE
    assert told.value.retry_after
    assert len(gateway.messenger.requests("GetChat")) == 2


async def test_a_send_is_repeated_as_a_repetition(gateway: GatewayClient) -> None:
    """A message that was stored before the connection broke would be stored a second time."""
    answers = [grpc.StatusCode.UNAVAILABLE, pb.SentMessages(messages=[message(1)])]
    gateway.messenger.answers["SendMessages"] = answers
    await gateway.services.messenger.send_messages("a.b.c", CHAT.bytes, [CLIENT_ID], ["hello"], retry=False)
    first, second = gateway.messenger.requests("SendMessages")
    assert (first.retry, second.retry) == (False, True)
    assert list(first.client_ids) == list(second.client_ids) == [CLIENT_ID]


async def test_both_tries_have_spans(gateway: GatewayClient) -> None:
    """A request that waited for a restart would look slow without a reason."""
    gateway.messenger.answers["GetChat"] = [grpc.StatusCode.UNAVAILABLE, pb.Chat(id=CHAT.bytes)]
    retries = RETRIES.labels("GetChat")._value.get()
    with recording() as recorded:
        await gateway.call("GET", f"/v2/chats/{CHAT}", traceparent=SAMPLED)
    first, second = [span for span in recorded.spans if span.name == "palaver.v1.Messenger/GetChat"]
    assert [span.attributes["rpc.grpc.status_code"] for span in (first, second)] == [14, 0]
    assert first.parent_id == second.parent_id == recorded.span("GET /v2/chats/{chat_id}").span_id
    assert RETRIES.labels("GetChat")._value.get() == retries + 1


async def test_requests_are_named_after_their_methods() -> None:
    """Spans and numbers of a call would bear the name of another one."""
    for method in pb.DESCRIPTOR.services_by_name["Messenger"].methods:
        assert method.name == "Attach" or method.input_type.name == f"{method.name}Request"


async def test_what_is_not_idempotent_is_not_repeated(gateway: GatewayClient) -> None:
    """A member that the first call removed would be `not found` for the second, and the client told so."""
    gateway.messenger.answers["RemoveMember"] = grpc.StatusCode.UNAVAILABLE
    with pytest.raises(PalaverError):
        await gateway.services.messenger.remove_member("a.b.c", CHAT.bytes, ALICE.bytes)
    assert len(gateway.messenger.requests("RemoveMember")) == 1


async def test_what_is_away_behind_the_messenger_is_not_called_again(gateway: GatewayClient) -> None:
    """Each read of an archive that is away would be asked for twice."""
    gateway.messenger.answers["ListMessages"] = PalaverError(
        UNAVAILABLE, "the archive is away", retry_after=5
    )
    with pytest.raises(PalaverError, match="the archive is away") as told:
        await gateway.services.messenger.list_messages("a.b.c", pb.ListMessagesRequest(chat_id=CHAT.bytes))
    assert told.value.retry_after == 5
    assert len(gateway.messenger.requests("ListMessages")) == 1


async def test_a_messenger_that_stops_is_called_again(gateway: GatewayClient) -> None:
    """An orderly restart would be an error for its last callers."""
    gateway.messenger.answers["GetChat"] = [PalaverError(RESTARTING), pb.Chat(id=CHAT.bytes)]
    assert (await gateway.services.messenger.get_chat("a.b.c", CHAT.bytes)).id == CHAT.bytes


async def test_the_callers_token_goes_with_each_call(gateway: GatewayClient) -> None:
    """The messenger could not tell in whose name it is asked."""
    gateway.messenger.answers["GetChat"] = PalaverError(NOT_FOUND)
    assert (await gateway.call("GET", f"/v2/chats/{CHAT}")).status == 404
    assert gateway.messenger.tokens == [f"Bearer {gateway.token}"]


async def test_without_a_messenger_the_answer_is_503_in_time() -> None:
    """Requests would hang for as long as the messenger is away, and pile up."""
    async with running_http_gateway() as gateway:
        await gateway.stop_messenger(None)
        answer, old = await asyncio.wait_for(
            asyncio.gather(gateway.call("GET", f"/v2/chats/{CHAT}"), gateway.call("GET", "/messenger/chats")),
            8,
        )
        assert (answer.status, answer.json["code"]) == (503, "unavailable")
        assert answer.headers["retry-after"] == "1"
        assert (old.status, old.json["code"]) == (503, 0)


# ---- several messengers ----


@contextlib.asynccontextmanager
async def two_messengers() -> AsyncIterator[tuple[MessengerClient, list[ScriptedMessenger]]]:
    """A client before two messengers."""
    async with contextlib.AsyncExitStack() as stack:
        messengers, targets = [ScriptedMessenger(), ScriptedMessenger()], []
        for messenger in messengers:
            server = grpc.aio.server()
            add_MessengerServicer_to_server(messenger, server)  # type: ignore[no-untyped-call] # generated
            targets.append(f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}")
            await server.start()
            stack.push_async_callback(server.stop, None)
        channels = await stack.enter_async_context(messenger_channels(Replicas(",".join(targets))))
        yield MessengerClient(channels, PendingReads(Outbox())), messengers


async def test_a_call_is_repeated_at_another_messenger() -> None:
    """Half of all requests would fail while one of two messengers restarts."""
    async with two_messengers() as (client, (one, other)):
        one.answers["GetChat"] = grpc.StatusCode.UNAVAILABLE
        other.answers["GetChat"] = pb.Chat(id=CHAT.bytes)
        for _ in range(10):
            assert (await client.get_chat("a.b.c", CHAT.bytes)).id == CHAT.bytes
        assert len(other.requests("GetChat")) == 10


async def test_what_may_have_been_executed_is_repeated_at_no_other_messenger() -> None:
    """A member that the first call removed would be `not found` for the second, and the client told so."""
    async with two_messengers() as (client, messengers):
        for messenger in messengers:
            messenger.answers["RemoveMember"] = grpc.StatusCode.UNAVAILABLE
        with pytest.raises(PalaverError):
            await client.remove_member("a.b.c", CHAT.bytes, ALICE.bytes)
        assert sum(len(messenger.requests("RemoveMember")) for messenger in messengers) == 1
