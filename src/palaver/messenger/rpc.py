"""The messenger's gRPC: each call is one use case, in the name of the token's user."""

from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any, NamedTuple, TypeVar

import grpc.aio

from palaver.contracts import messenger_pb2 as pb
from palaver.contracts.messenger_pb2_grpc import add_MessengerServicer_to_server
from palaver.messenger.authentication import SERVICE, note_chat, user_of
from palaver.messenger.protobuf import (
    chat_to_proto,
    chats_to_proto,
    inspection_to_proto,
    message_to_proto,
    messages_to_proto,
    receipt_to_proto,
)
from palaver.messenger.use_cases import UseCases
from palaver.runtime.grpc.aio_stream import served_by_aio
from palaver.runtime.grpc.errors import abort_call
from palaver.runtime.grpc.instrumentation import Method
from palaver.runtime.grpc.message_stream import MessageStream
from palaver.runtime.telemetry.trace_context import TraceContext, parse_traceparent
from palaver.runtime.telemetry.tracing import current_span
from palaver.runtime.tokens import TokenVerifier


class Caller(NamedTuple):
    """Who calls, and the trace that the call belongs to; `NO_TRACE` where it names none."""

    user_id: bytes
    trace: TraceContext


Q = TypeVar("Q")
A = TypeVar("A")
# Serves one gateway's stream until it ends
Attach = Callable[[MessageStream], Awaitable[None]]
# Serves one unary call: (request, token, traceparent)
Serve = Callable[[Q, str, str], Awaitable[A]]


class Rpc:
    """The unary calls. Each gets who calls and what is request, and raises what the use case raises."""

    def __init__(self, use_cases: UseCases) -> None:
        self._use_cases = use_cases

    async def open_direct_chat(self, caller: Caller, request: pb.OpenDirectChatRequest) -> pb.Chat:
        """See `UseCases.open_direct_chat`."""
        shown = await self._use_cases.open_direct_chat(caller.user_id, request.companion_id)
        return chat_to_proto(shown)

    async def find_direct_chat(self, caller: Caller, request: pb.FindDirectChatRequest) -> pb.Chat:
        """See `UseCases.find_direct_chat`."""
        shown = await self._use_cases.find_direct_chat(caller.user_id, request.companion_id)
        return chat_to_proto(shown)

    async def create_group(self, caller: Caller, request: pb.CreateGroupRequest) -> pb.Chat:
        """See `UseCases.create_group`."""
        shown = await self._use_cases.create_group(
            caller.user_id, request.title, request.member_ids, request.idempotency_key
        )
        return chat_to_proto(shown)

    async def get_chat(self, caller: Caller, request: pb.GetChatRequest) -> pb.Chat:
        """See `UseCases.get_chat`."""
        return chat_to_proto(await self._use_cases.get_chat(caller.user_id, request.chat_id))

    async def list_chats(self, caller: Caller, request: pb.ListChatsRequest) -> pb.ChatPage:
        """See `UseCases.list_chats`."""
        shown = await self._use_cases.list_chats(
            caller.user_id, request.limit, request.cursor, request.offset, with_total=request.with_total
        )
        return chats_to_proto(shown)

    async def add_members(self, caller: Caller, request: pb.AddMembersRequest) -> pb.Chat:
        """See `UseCases.add_members`."""
        shown = await self._use_cases.add_members(caller.user_id, request.chat_id, request.user_ids)
        return chat_to_proto(shown)

    async def remove_member(self, caller: Caller, request: pb.RemoveMemberRequest) -> pb.Empty:
        """See `UseCases.remove_member`."""
        await self._use_cases.remove_member(caller.user_id, request.chat_id, request.user_id)
        return pb.Empty()

    async def send_messages(self, caller: Caller, request: pb.SendMessagesRequest) -> pb.SentMessages:
        """See `UseCases.send_messages`."""
        messages = await self._use_cases.send_messages(
            caller.user_id,
            request.chat_id,
            list(request.client_ids),
            list(request.texts),
            retry=request.retry,
            trace=caller.trace,
        )
        return messages_to_proto(messages)

    async def edit_message(self, caller: Caller, request: pb.EditMessageRequest) -> pb.Message:
        """See `UseCases.edit_message`."""
        return message_to_proto(
            await self._use_cases.edit_message(caller.user_id, request.chat_id, request.seq, request.text)
        )

    async def delete_message(self, caller: Caller, request: pb.DeleteMessageRequest) -> pb.Message:
        """See `UseCases.delete_message`."""
        return message_to_proto(
            await self._use_cases.delete_message(caller.user_id, request.chat_id, request.seq)
        )

    async def set_receipt(self, caller: Caller, request: pb.SetReceiptRequest) -> pb.Receipt:
        """See `UseCases.set_receipt`."""
        return receipt_to_proto(
            await self._use_cases.set_receipt(
                caller.user_id, request.chat_id, request.received_seq, request.read_seq
            )
        )

    async def inspect_message(self, request: pb.InspectMessageRequest) -> pb.MessageInspection:
        """See `UseCases.inspect_message`."""
        return inspection_to_proto(await self._use_cases.inspect_message(request.chat_id, request.seq))


def add_messenger(server: grpc.aio.Server, rpc: Rpc, verifier: TokenVerifier, attach: Attach) -> None:
    """Puts the service on a server. The stream verifies its sockets' tokens by itself; gateways that know the
    streams' own port call it there."""
    calls: dict[str, Callable[[Caller, Any], Awaitable[Any]]] = {
        "OpenDirectChat": rpc.open_direct_chat,
        "FindDirectChat": rpc.find_direct_chat,
        "CreateGroup": rpc.create_group,
        "GetChat": rpc.get_chat,
        "ListChats": rpc.list_chats,
        "AddMembers": rpc.add_members,
        "RemoveMember": rpc.remove_member,
        "SendMessages": rpc.send_messages,
        "EditMessage": rpc.edit_message,
        "DeleteMessage": rpc.delete_message,
        "SetReceipt": rpc.set_receipt,
    }
    handlers = {name: unary(name, with_caller(call, verifier)) for name, call in calls.items()}
    handlers["InspectMessage"] = unary("InspectMessage", without_caller(rpc.inspect_message))
    servicer = SimpleNamespace(Attach=served_by_aio(attach), **handlers)
    add_MessengerServicer_to_server(servicer, server)  # type: ignore[no-untyped-call] # generated without types


def unary(name: str, serve: Serve[Q, A]) -> Callable[[Q, Any], Awaitable[A]]:
    """What gRPC calls: it reads metadata, and reports errors as gRPC does."""
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
        return await call(Caller(user_id, trace_of(traceparent)), request)

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


def trace_of(traceparent: str) -> TraceContext:
    """The context of the active span; where traces are off, the one that the caller named, if any."""
    span = current_span()
    return span.context if span is not None and span.trace_id else parse_traceparent(traceparent)
