"""The messenger's calls, typed: unary gRPC, but pages of history travel on the stream."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import grpc
import grpc.aio

from palaver.contracts import messenger_pb2 as pb
from palaver.contracts.errors import RESTARTING, PalaverError
from palaver.contracts.ids import text_from_id
from palaver.contracts.messenger_pb2_grpc import MessengerStub
from palaver.gateway.upstream.pending_reads import HistoryPage, PendingReads
from palaver.runtime.deployment_secret import secret_metadata
from palaver.runtime.grpc.errors import error_from_rpc, wire_error_of
from palaver.runtime.grpc.instrumentation import RETRIES, client_span, set_status
from palaver.runtime.grpc.polling import reading_all_wake_ups
from palaver.runtime.telemetry.log_context import bind_field
from palaver.runtime.telemetry.tracing import trace_metadata

DEADLINE_SECONDS = 10.0
# A messenger that restarts is back within this time, mostly; a call that may be repeated waits so long for it
RETRY_SECONDS = 3.0
# The gRPC service, as its spans name it
SERVICE = "palaver.v1.Messenger"

A = TypeVar("A")


def open_channel(target: str) -> grpc.aio.Channel:
    """The one long-lived channel of a gateway. It connects, and connects again, by itself."""
    with reading_all_wake_ups():
        return grpc.aio.insecure_channel(
            target,
            options=[
                ("grpc.initial_reconnect_backoff_ms", 100),
                ("grpc.min_reconnect_backoff_ms", 100),
                ("grpc.max_reconnect_backoff_ms", 1_000),
                # A page of long messages is larger than gRPC's 4 MiB, and both ends are ours
                ("grpc.max_receive_message_length", -1),
                ("grpc.max_send_message_length", -1),
                # A proxy of the environment is for the outer world
                ("grpc.enable_http_proxy", 0),
            ],
        )


class MessengerClient:
    """The calls, each in the name of a token's user.

    Every call raises the `PalaverError` that the messenger meant, or `unavailable`. Calls that may be
    repeated are, once, where the messenger was away.
    """

    def __init__(self, channel: grpc.aio.Channel, reads: PendingReads, secret: str = "") -> None:
        self._reads = reads
        self._secret = secret_metadata(secret)
        self._stub: Any = MessengerStub(channel)  # type: ignore[no-untyped-call] # generated without types

    async def open_direct_chat(self, token: str, companion_id: bytes) -> pb.Chat:
        """The one chat of the caller and the companion; `existed`: it was there before."""
        request = pb.OpenDirectChatRequest(companion_id=companion_id)
        return await self._call(self._stub.OpenDirectChat, token, request, again=request)

    async def create_group(self, token: str, title: str, member_ids: Sequence[bytes], key: str) -> pb.Chat:
        """A new group, or the one that the caller created with the same key."""
        request = pb.CreateGroupRequest(title=title, member_ids=member_ids, idempotency_key=key)
        return await self._call(self._stub.CreateGroup, token, request, again=request)

    async def get_chat(self, token: str, chat_id: bytes) -> pb.Chat:
        """One chat of the caller. Raises `not_found`."""
        request = pb.GetChatRequest(chat_id=chat_id)
        return await self._call(self._stub.GetChat, token, request, again=request)

    async def list_chats(self, token: str, request: pb.ListChatsRequest) -> pb.ChatPage:
        """Chats of the caller, newest activity first."""
        return await self._call(self._stub.ListChats, token, request, again=request)

    async def add_members(self, token: str, chat_id: bytes, user_ids: Sequence[bytes]) -> pb.Chat:
        """The group with its new members."""
        request = pb.AddMembersRequest(chat_id=chat_id, user_ids=user_ids)
        return await self._call(self._stub.AddMembers, token, request, again=request)

    async def remove_member(self, token: str, chat_id: bytes, user_id: bytes) -> None:
        """Removes a member of a group; the caller's own id leaves it."""
        request = pb.RemoveMemberRequest(chat_id=chat_id, user_id=user_id)
        await self._call(self._stub.RemoveMember, token, request)

    async def list_messages(self, token: str, request: pb.ListMessagesRequest) -> HistoryPage:
        """Messages of a chat by seq, ascending. Raises `not_found`."""
        note_chat(request)
        with client_span(SERVICE, "ListMessages") as span:
            try:
                page = await self._reads.list_messages(token, request, span.traceparent)
            except PalaverError as error:
                set_status(span, grpc.StatusCode[error.kind.grpc])
                raise
            set_status(span, grpc.StatusCode.OK)
            return page

    async def send_messages(
        self, token: str, chat_id: bytes, client_ids: Sequence[bytes], texts: Sequence[str], *, retry: bool
    ) -> pb.SentMessages:
        """The messages as stored, all or none. `retry`: they may have been stored already."""
        request = pb.SendMessagesRequest(chat_id=chat_id, client_ids=client_ids, texts=texts, retry=retry)
        again = request
        if not retry:
            again = pb.SendMessagesRequest(chat_id=chat_id, client_ids=client_ids, texts=texts, retry=True)
        return await self._call(self._stub.SendMessages, token, request, again=again)

    async def edit_message(self, token: str, chat_id: bytes, seq: int, text: str) -> pb.Message:
        """The caller's message with its new text. Raises `not_found`, `forbidden`."""
        request = pb.EditMessageRequest(chat_id=chat_id, seq=seq, text=text)
        return await self._call(self._stub.EditMessage, token, request, again=request)

    async def delete_message(self, token: str, chat_id: bytes, seq: int) -> pb.Message:
        """What is left of the caller's message. Raises `not_found`, `forbidden`."""
        request = pb.DeleteMessageRequest(chat_id=chat_id, seq=seq)
        return await self._call(self._stub.DeleteMessage, token, request, again=request)

    async def set_receipt(self, token: str, chat_id: bytes, received_seq: int, read_seq: int) -> pb.Receipt:
        """The caller's receipt as stored."""
        request = pb.SetReceiptRequest(chat_id=chat_id, received_seq=received_seq, read_seq=read_seq)
        return await self._call(self._stub.SetReceipt, token, request, again=request)

    async def _call(
        self, method: Callable[..., Awaitable[A]], token: str, request: Any, *, again: Any = None
    ) -> A:
        note_chat(request)
        # The contract names each request after its method
        name = type(request).__name__.removesuffix("Request")
        try:
            return await self._try(method, name, token, request, timeout=DEADLINE_SECONDS)
        except grpc.aio.AioRpcError as error:
            meant = error_from_rpc(error)
            if again is None or not is_worth_repeating(error, meant):
                raise meant from error
        RETRIES.labels(name).inc()
        try:
            return await self._try(method, name, token, again, timeout=RETRY_SECONDS, wait_for_ready=True)
        except grpc.aio.AioRpcError as error:
            raise error_from_rpc(error) from error

    async def _try(
        self, method: Callable[..., Awaitable[A]], name: str, token: str, request: Any, **options: Any
    ) -> A:
        """One call, in a span of its own. Raises `AioRpcError`."""
        with client_span(SERVICE, name) as span:
            metadata = (("authorization", f"Bearer {token}"), *self._secret, *trace_metadata())
            try:
                answer = await method(request, metadata=metadata, **options)
            except grpc.aio.AioRpcError as error:
                set_status(span, error.code())
                raise
            set_status(span, grpc.StatusCode.OK)
            return answer


def note_chat(request: Any) -> None:
    """Names the chat of a request, if it has one, on the request's span and in its lines."""
    chat_id = getattr(request, "chat_id", b"")
    if chat_id:
        bind_field("chat_id", text_from_id(chat_id))


def is_worth_repeating(error: grpc.aio.AioRpcError, meant: PalaverError) -> bool:
    """Whether the messenger itself was away or going away, and not something behind it."""
    if meant.kind is RESTARTING:
        return True
    return error.code() is grpc.StatusCode.UNAVAILABLE and wire_error_of(error) is None
