"""The messenger's gRPC: each call is one use case, in the name of the token's user."""

from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any, NamedTuple, TypeVar

import grpc.aio

from palaver.contracts import messenger_pb2 as pb
from palaver.contracts.messenger_pb2_grpc import add_MessengerServicer_to_server
from palaver.messenger.authentication import SERVICE, note_chat, user_of
from palaver.messenger.live import Live
from palaver.messenger.protobuf import (
    chat_to_wire,
    chats_to_wire,
    inspection_to_wire,
    message_to_wire,
    messages_to_wire,
    page_to_wire,
    receipt_to_wire,
)
from palaver.messenger.store.messages import Page
from palaver.messenger.use_cases import UseCases
from palaver.runtime.grpc.instrumentation import Method
from palaver.runtime.grpc.server import abort_call
from palaver.runtime.telemetry.trace_context import parse_traceparent
from palaver.runtime.telemetry.tracing import current_span
from palaver.runtime.tokens import TokenVerifier


class Caller(NamedTuple):
    """Who calls, and the trace that the call belongs to (W3C trace context); empty where it names none."""

    user_id: bytes
    trace_id: str


Q = TypeVar("Q")
A = TypeVar("A")
# Serves one gateway's stream until it ends: (batches, context)
Attach = Callable[[Any, Any], Awaitable[None]]
# Serves one unary call: (request, token, traceparent)
Serve = Callable[[Q, str, str], Awaitable[A]]


class Rpc:
    """The unary calls. Each gets who calls and what is asked, and raises what the use case raises."""

    def __init__(self, dialogs: UseCases, live: Live) -> None:
        self._dialogs = dialogs
        self._is_online = live.is_online

    async def open_direct_chat(self, caller: Caller, asked: pb.OpenDirectChatRequest) -> pb.Chat:
        """See `UseCases.open_direct_chat`."""
        shown = await self._dialogs.open_direct_chat(caller.user_id, asked.companion_id)
        return chat_to_wire(shown, self._is_online)

    async def find_direct_chat(self, caller: Caller, asked: pb.FindDirectChatRequest) -> pb.Chat:
        """See `UseCases.find_direct_chat`."""
        shown = await self._dialogs.find_direct_chat(caller.user_id, asked.companion_id)
        return chat_to_wire(shown, self._is_online)

    async def create_group(self, caller: Caller, asked: pb.CreateGroupRequest) -> pb.Chat:
        """See `UseCases.create_group`."""
        shown = await self._dialogs.create_group(
            caller.user_id, asked.title, asked.member_ids, asked.idempotency_key
        )
        return chat_to_wire(shown, self._is_online)

    async def get_chat(self, caller: Caller, asked: pb.GetChatRequest) -> pb.Chat:
        """See `UseCases.get_chat`."""
        return chat_to_wire(await self._dialogs.get_chat(caller.user_id, asked.chat_id), self._is_online)

    async def list_chats(self, caller: Caller, asked: pb.ListChatsRequest) -> pb.ChatPage:
        """See `UseCases.list_chats`."""
        shown = await self._dialogs.list_chats(
            caller.user_id, asked.limit, asked.cursor, asked.offset, with_total=asked.with_total
        )
        return chats_to_wire(shown, self._is_online)

    async def add_members(self, caller: Caller, asked: pb.AddMembersRequest) -> pb.Chat:
        """See `UseCases.add_members`."""
        shown = await self._dialogs.add_members(caller.user_id, asked.chat_id, asked.user_ids)
        return chat_to_wire(shown, self._is_online)

    async def remove_member(self, caller: Caller, asked: pb.RemoveMemberRequest) -> pb.Empty:
        """See `UseCases.remove_member`."""
        await self._dialogs.remove_member(caller.user_id, asked.chat_id, asked.user_id)
        return pb.Empty()

    async def list_messages(self, caller: Caller, asked: pb.ListMessagesRequest) -> pb.MessagePage:
        """See `UseCases.list_messages`."""
        return page_to_wire(await self.read_page(caller.user_id, asked))

    async def read_page(self, user_id: bytes, asked: pb.ListMessagesRequest) -> Page:
        """See `UseCases.list_messages`."""
        return await self._dialogs.list_messages(
            user_id,
            asked.chat_id,
            asked.limit,
            before=asked.before_seq,
            after=asked.after_seq,
            from_start=asked.from_start,
            mark_read=asked.mark_read,
        )

    async def send_messages(self, caller: Caller, asked: pb.SendMessagesRequest) -> pb.SentMessages:
        """See `UseCases.send_messages`."""
        messages = await self._dialogs.send_messages(
            caller.user_id,
            asked.chat_id,
            list(asked.client_ids),
            list(asked.texts),
            retry=asked.retry,
            trace_id=caller.trace_id,
        )
        return messages_to_wire(messages)

    async def edit_message(self, caller: Caller, asked: pb.EditMessageRequest) -> pb.Message:
        """See `UseCases.edit_message`."""
        return message_to_wire(
            await self._dialogs.edit_message(caller.user_id, asked.chat_id, asked.seq, asked.text)
        )

    async def delete_message(self, caller: Caller, asked: pb.DeleteMessageRequest) -> pb.Message:
        """See `UseCases.delete_message`."""
        return message_to_wire(await self._dialogs.delete_message(caller.user_id, asked.chat_id, asked.seq))

    async def set_receipt(self, caller: Caller, asked: pb.SetReceiptRequest) -> pb.Receipt:
        """See `UseCases.set_receipt`."""
        return receipt_to_wire(
            await self._dialogs.set_receipt(caller.user_id, asked.chat_id, asked.received_seq, asked.read_seq)
        )

    async def inspect_message(self, asked: pb.InspectMessageRequest) -> pb.MessageInspection:
        """See `UseCases.inspect_message`."""
        return inspection_to_wire(await self._dialogs.inspect_message(asked.chat_id, asked.seq))


def add_messenger(server: grpc.aio.Server, rpc: Rpc, verifier: TokenVerifier, attach: Attach) -> None:
    """Puts the service on a server. The stream verifies its sockets' tokens by itself."""
    calls: dict[str, Callable[[Caller, Any], Awaitable[Any]]] = {
        "OpenDirectChat": rpc.open_direct_chat,
        "FindDirectChat": rpc.find_direct_chat,
        "CreateGroup": rpc.create_group,
        "GetChat": rpc.get_chat,
        "ListChats": rpc.list_chats,
        "AddMembers": rpc.add_members,
        "RemoveMember": rpc.remove_member,
        "ListMessages": rpc.list_messages,
        "SendMessages": rpc.send_messages,
        "EditMessage": rpc.edit_message,
        "DeleteMessage": rpc.delete_message,
        "SetReceipt": rpc.set_receipt,
    }
    handlers = {name: unary(name, with_caller(call, verifier)) for name, call in calls.items()}
    handlers["InspectMessage"] = unary("InspectMessage", without_caller(rpc.inspect_message))
    servicer = SimpleNamespace(Attach=attach, **handlers)
    add_MessengerServicer_to_server(servicer, server)  # type: ignore[no-untyped-call] # generated without types


def unary(name: str, serve: Serve[Q, A]) -> Callable[[Q, Any], Awaitable[A]]:
    """What gRPC calls: it reads metadata, and says errors as gRPC does."""
    method = Method(SERVICE, name)

    async def answer(request: Q, context: Any) -> A:
        token, traceparent = read_metadata(context.invocation_metadata())
        try:
            return await method.serve(traceparent, serve(request, token, traceparent))
        except Exception as error:
            await abort_call(context, error)

    return answer


def with_caller(call: Callable[[Caller, Q], Awaitable[A]], verifier: TokenVerifier) -> Serve[Q, A]:
    """A call in the name of the token's user."""

    async def serve(request: Q, token: str, traceparent: str) -> A:
        note_chat(request)
        user_id = await user_of(token, verifier)
        return await call(Caller(user_id, trace_id_of(traceparent)), request)

    return serve


def without_caller(call: Callable[[Q], Awaitable[A]]) -> Serve[Q, A]:
    """A call of an operator, in nobody's name. The port is private."""

    async def serve(request: Q, _token: str, _traceparent: str) -> A:
        note_chat(request)
        return await call(request)

    return serve


def read_metadata(metadata: Any) -> tuple[str, str]:
    """The token, and the traceparent, of a call; empty where it has none."""
    token = traceparent = ""
    for key, value in metadata or ():
        if key == "authorization":
            token = value.removeprefix("Bearer ")
        elif key == "traceparent":
            traceparent = value
    return token, traceparent


def trace_id_of(traceparent: str) -> str:
    """The trace of the work under way; where traces are off, the one that the caller named, if any."""
    work = current_span()
    if work is not None and work.trace_id:
        return work.trace_id
    return parse_traceparent(traceparent).trace_id
