"""What every gRPC call passes before its handler: the deployment's secret, and a look at its bytes."""

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, NoReturn

import grpc
import grpc.aio
from google.protobuf.message import DecodeError

from palaver.contracts.errors import MALFORMED, PalaverError
from palaver.runtime.deployment_secret import HEADER, DeploymentSecret
from palaver.runtime.grpc.errors import abort_call

MESSAGE = "the deployment's secret is needed"
REFUSAL_SECONDS = 0.1
# What a deserializer gives for bytes that are no request: an exception of it would be UNKNOWN to the caller
UNDECODABLE = object()

Continuation = Callable[[Any], Awaitable[Any]]


class SecretInterceptor(grpc.aio.ServerInterceptor):
    """Ends calls without the deployment's secret as UNAUTHENTICATED, of methods that do not exist too, before
    a byte of their requests is read."""

    def __init__(self, secret: DeploymentSecret) -> None:
        self._secret = secret
        # A stream's handler begins without waiting for a request
        self._refusal: Any = grpc.stream_stream_rpc_method_handler(refuse)

    async def intercept_service(self, continuation: Continuation, handler_call_details: Any) -> Any:
        """See `grpc.aio.ServerInterceptor`."""
        for key, value in handler_call_details.invocation_metadata or ():
            if key == HEADER:
                if self._secret.accepts(value.encode()):
                    return await continuation(handler_call_details)
                break
        return self._refusal


async def refuse(_requests: Any, context: Any) -> NoReturn:
    """Ends a call."""
    # A client that is just writing to its stream when that ends sees INTERNAL, and not why
    await asyncio.sleep(REFUSAL_SECONDS)
    await context.abort(grpc.StatusCode.UNAUTHENTICATED, MESSAGE)
    raise AssertionError("abort() never returns")


class DecodingInterceptor(grpc.aio.ServerInterceptor):
    """Ends calls whose bytes are no request, and streams that raise a `PalaverError`, as errors of the
    catalogue. By itself gRPC says that the server failed."""

    def __init__(self) -> None:
        # By method: those that exist are few
        self._handlers: dict[str, Any] = {}

    async def intercept_service(self, continuation: Continuation, handler_call_details: Any) -> Any:
        """See `grpc.aio.ServerInterceptor`."""
        handler = self._handlers.get(handler_call_details.method)
        if handler is None:
            handler = await continuation(handler_call_details)
            if handler is not None:
                handler = self._handlers[handler_call_details.method] = checked(handler)
        return handler


def checked(handler: Any) -> Any:
    """The handler of a method, with errors of the catalogue."""
    decode = handler.request_deserializer
    if handler.request_streaming:
        serve = checked_stream(handler.stream_stream or handler.stream_unary)
        wrap = (
            grpc.stream_stream_rpc_method_handler
            if handler.response_streaming
            else grpc.stream_unary_rpc_method_handler
        )
        return wrap(serve, decode and raising(decode), handler.response_serializer)
    serve = checked_unary(handler.unary_stream or handler.unary_unary)
    wrap = (
        grpc.unary_stream_rpc_method_handler
        if handler.response_streaming
        else grpc.unary_unary_rpc_method_handler
    )
    return wrap(serve, decode and marking(decode), handler.response_serializer)


def undecodable() -> PalaverError:
    """The error for bytes that are no request."""
    return PalaverError(MALFORMED, "the request cannot be decoded")


def marking(decode: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    """A deserializer that gives `UNDECODABLE` in place of an exception."""

    def decode_or_mark(raw: bytes) -> Any:
        try:
            return decode(raw)
        except DecodeError:
            return UNDECODABLE

    return decode_or_mark


def raising(decode: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    """A deserializer that raises `malformed`, to whoever reads from the stream."""

    def decode_or_raise(raw: bytes) -> Any:
        try:
            return decode(raw)
        except DecodeError:
            raise undecodable() from None

    return decode_or_raise


def checked_unary(serve: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Awaitable[Any]]:
    """What serves a request that could be decoded."""

    async def serve_decoded(request: Any, context: Any) -> Any:
        if request is UNDECODABLE:
            await abort_call(context, undecodable())
        return await serve(request, context)

    return serve_decoded


def checked_stream(serve: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """What serves a stream; what it raises of the catalogue ends it so."""
    if inspect.isasyncgenfunction(serve):

        async def generate(requests: Any, context: Any) -> AsyncIterator[Any]:
            try:
                async for response in serve(requests, context):
                    yield response
            except PalaverError as error:
                await abort_call(context, error)

        return generate

    async def respond(requests: Any, context: Any) -> Any:
        try:
            return await serve(requests, context)
        except PalaverError as error:
            await abort_call(context, error)

    return respond
