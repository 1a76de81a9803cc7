"""The messenger's calls, typed: unary gRPC, but pages of history travel on the stream."""

import asyncio
from collections.abc import Sequence
from typing import Any, TypeVar

import grpc
import grpc.aio

from palaver.contracts import messenger_pb2 as pb
from palaver.contracts.errors import RESTARTING, UNAVAILABLE, PalaverError
from palaver.contracts.ids import text_from_id
from palaver.contracts.messenger_pb2_grpc import MessengerStub
from palaver.gateway.upstream.pending_reads import HistoryPage, PendingReads
from palaver.runtime.deployment_secret import secret_metadata
from palaver.runtime.grpc.channels import ReplicaChannels, ReplicaStub
from palaver.runtime.grpc.errors import error_from_rpc, wire_error_of
from palaver.runtime.grpc.instrumentation import RETRIES, client_span, set_status
from palaver.runtime.replicas.replicas import Replicas
from palaver.runtime.telemetry.log_context import bind_field
from palaver.runtime.telemetry.tracing import trace_metadata

DEADLINE_SECONDS = 10.0
# A messenger that restarts is back within this time, mostly; a call that may be repeated waits so long for it
RETRY_SECONDS = 3.0
# What a call that waited for a messenger has left at least, to find out that it is still away
LEAST_SECONDS = 0.1
# The gRPC service, as its spans name it
SERVICE = "palaver.v1.Messenger"

A = TypeVar("A")


def messenger_channels(replicas: Replicas) -> ReplicaChannels:
    """The long-lived channels of a gateway, one a messenger."""
    return ReplicaChannels(replicas, MessengerStub)


class MessengerClient:
    """The calls, each in the name of a token's user.

    Every call raises the `PalaverError` that the messenger meant, or `unavailable`. Calls that may be
    repeated are, once, where the messenger was away: at another one, if there is one.
    """

    def __init__(self, channels: ReplicaChannels, reads: PendingReads, secret: str = "") -> None:
        self._channels = channels
        self._reads = reads
        self._secret = secret_metadata(secret)

    async def open_direct_chat(self, token: str, companion_id: bytes) -> pb.Chat:
        """The one chat of the caller and the companion; `existed`: it was there before."""
        request = pb.OpenDirectChatRequest(companion_id=companion_id)
        return await self._call(pb.Chat, token, request, again=request)

    async def create_group(self, token: str, title: str, member_ids: Sequence[bytes], key: str) -> pb.Chat:
        """A new group, or the one that the caller created with the same key."""
        request = pb.CreateGroupRequest(title=title, member_ids=member_ids, idempotency_key=key)
        return await self._call(pb.Chat, token, request, again=request)

    async def get_chat(self, token: str, chat_id: bytes) -> pb.Chat:
        """One chat of the caller. Raises `not_found`."""
        request = pb.GetChatRequest(chat_id=chat_id)
        return await self._call(pb.Chat, token, request, again=request)

    async def list_chats(self, token: str, request: pb.ListChatsRequest) -> pb.ChatPage:
        """Chats of the caller, newest activity first."""
        return await self._call(pb.ChatPage, token, request, again=request)

    async def add_members(self, token: str, chat_id: bytes, user_ids: Sequence[bytes]) -> pb.Chat:
        """The group with its new members."""
        request = pb.AddMembersRequest(chat_id=chat_id, user_ids=user_ids)
        return await self._call(pb.Chat, token, request, again=request)

    async def remove_member(self, token: str, chat_id: bytes, user_id: bytes) -> None:
        """Removes a member of a group; the caller's own id leaves it."""
        request = pb.RemoveMemberRequest(chat_id=chat_id, user_id=user_id)
        await self._call(pb.Empty, token, request)

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
        return await self._call(pb.SentMessages, token, request, again=again)

    async def edit_message(self, token: str, chat_id: bytes, seq: int, text: str) -> pb.Message:
        """The caller's message with its new text. Raises `not_found`, `forbidden`."""
        request = pb.EditMessageRequest(chat_id=chat_id, seq=seq, text=text)
        return await self._call(pb.Message, token, request, again=request)

    async def delete_message(self, token: str, chat_id: bytes, seq: int) -> pb.Message:
        """What is left of the caller's message. Raises `not_found`, `forbidden`."""
        request = pb.DeleteMessageRequest(chat_id=chat_id, seq=seq)
        return await self._call(pb.Message, token, request, again=request)

    async def set_receipt(self, token: str, chat_id: bytes, received_seq: int, read_seq: int) -> pb.Receipt:
        """The caller's receipt as stored."""
        request = pb.SetReceiptRequest(chat_id=chat_id, received_seq=received_seq, read_seq=read_seq)
        return await self._call(pb.Receipt, token, request, again=request)

    async def _call(self, _answer: type[A], token: str, request: Any, *, again: Any = None) -> A:
        """Calls the method of a request, and once more with `again`, if given. `_answer`: what it returns."""
        note_chat(request)
        # The contract names each request after its method
        name = type(request).__name__.removesuffix("Request")
        replica = await self._channels.pick()
        if replica is None:
            raise PalaverError(UNAVAILABLE, retry_after=1.0, cause="no address of a messenger is known")
        try:
            found: A = await self._try(replica, name, token, request, timeout=DEADLINE_SECONDS)
            return found
        except grpc.aio.AioRpcError as error:
            meant = error_from_rpc(error)
            if again is None or not is_worth_repeating(error, meant):
                raise meant from error
        RETRIES.labels(name).inc()
        ends_at = asyncio.get_running_loop().time() + RETRY_SECONDS
        replica = await self._channels.pick_ready(replica, RETRY_SECONDS)
        left = max(ends_at - asyncio.get_running_loop().time(), LEAST_SECONDS)
        try:
            found = await self._try(replica, name, token, again, timeout=left, wait_for_ready=True)
        except grpc.aio.AioRpcError as error:
            raise error_from_rpc(error) from error
        return found

    async def _try(self, replica: ReplicaStub, name: str, token: str, request: Any, **options: Any) -> Any:
        """One call, in a span of its own. Raises `AioRpcError`."""
        with client_span(SERVICE, name) as span:
            metadata = (("authorization", f"Bearer {token}"), *self._secret, *trace_metadata())
            try:
                answer = await getattr(replica.stub, name)(request, metadata=metadata, **options)
            except grpc.aio.AioRpcError as error:
                set_status(span, error.code())
                if is_worth_repeating(error, error_from_rpc(error)):
                    self._channels.note_failure(replica)
                raise
            set_status(span, grpc.StatusCode.OK)
            self._channels.note_success(replica)
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
