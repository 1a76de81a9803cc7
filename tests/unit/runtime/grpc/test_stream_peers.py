"""The stream of ours with grpcio at its other end, and with itself."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from google.protobuf.wrappers_pb2 import BytesValue

from palaver.contracts.errors import INVALID, UNAUTHENTICATED, PalaverError
from palaver.runtime.grpc.errors import abort_call, error_from_rpc
from palaver.runtime.grpc.http2.outgoing import STREAM_WINDOW
from palaver.runtime.grpc.server import MESSAGE_BYTES
from tests.harness.stream_peers import HOST, Collector, grpcio_client, grpcio_server, our_call, our_server
from tests.harness.waiting import eventually

# Empty, small, longer than a frame, longer than a window, and as it was
VALUES = [b"", b"a", b"b" * 100_000, b"c" * (3 * STREAM_WINDOW), b"d"]
LARGE = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


async def echo(requests: AsyncIterator[BytesValue], context: Any) -> None:
    """grpcio's echo."""
    async for message in requests:
        await context.write(message)


# ---- grpcio calls ----


async def test_grpcio_calls_our_server() -> None:
    """A gateway of another version, and every tool that speaks gRPC, would be kept out."""
    async with our_server() as server, grpcio_client(server.port, options=LARGE) as call:
        stream = call()
        for value in VALUES:
            await stream.write(BytesValue(value=value))
            assert (await stream.read()).value == value
        await stream.done_writing()
        assert await stream.read() is grpc.aio.EOF
        assert await stream.code() is grpc.StatusCode.OK


async def test_many_streams_of_grpcio_share_a_connection() -> None:
    """A second stream of a gateway's would be mixed up with the first."""
    async with our_server() as server, grpcio_client(server.port) as call:
        streams = [call() for _ in range(10)]

        async def use(number: int, stream: Any) -> None:
            for turn in range(20):
                await stream.write(BytesValue(value=b"%d/%d" % (number, turn)))
                assert (await stream.read()).value == b"%d/%d" % (number, turn)
            await stream.done_writing()
            assert await stream.code() is grpc.StatusCode.OK

        # More than are taken at once: grpcio lets the others wait
        await asyncio.gather(*(use(number, stream) for number, stream in enumerate(streams)))
        assert len(server.calls) == 10


async def test_grpcio_learns_the_error_of_the_catalogue() -> None:
    """Gateways would take each refusal for a broken messenger."""
    async with our_server() as server, grpcio_client(server.port) as call:
        server.error = PalaverError(INVALID, "nicht so: 100 % ☃", field="hello")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call().read()
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert caught.value.details() == "nicht so: 100 % ☃"
        error = error_from_rpc(caught.value)
        assert (error.kind, error.field) == (INVALID, "hello")


async def test_grpcio_with_wrong_metadata_is_refused_before_all_else() -> None:
    """Who is no part of the deployment would read everybody's messages."""

    def admit(metadata: Mapping[str, str]) -> None:
        if metadata.get("palaver-key") != "right":
            raise PalaverError(UNAUTHENTICATED)

    async with our_server(admit) as server, grpcio_client(server.port) as call:
        for metadata in ((), (("palaver-key", "wrong"),)):
            assert await call(metadata=metadata).code() is grpc.StatusCode.UNAUTHENTICATED
        assert not server.calls
        stream = call(metadata=(("palaver-key", "right"),))
        await stream.write(BytesValue(value=b"a"))
        assert (await stream.read()).value == b"a"
        stream.cancel()


async def test_what_is_not_served_is_refused() -> None:
    """A tool that calls the wrong port would wait for ever."""
    async with (
        our_server() as server,
        grpc.aio.insecure_channel(f"{HOST}:{server.port}") as channel,
        grpcio_client(server.port, compression=grpc.Compression.Gzip) as compressed,
    ):
        other = channel.unary_unary("/test.Test/Other")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await other(b"")
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
        stream = compressed()
        await stream.write(BytesValue(value=b"a" * 10_000))
        assert await stream.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_a_message_that_is_too_large_ends_the_call() -> None:
    """One message would fill the messenger's memory (promise P9)."""
    async with our_server() as server, grpcio_client(server.port, options=LARGE) as call:
        stream = call()
        await stream.write(BytesValue(value=b"a" * (MESSAGE_BYTES + 1)))
        assert await stream.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        # The server goes on
        stream = call()
        await stream.write(BytesValue(value=b"a"))
        assert (await stream.read()).value == b"a"
        stream.cancel()


async def test_a_call_that_grpcio_gives_up_ends() -> None:
    """Sockets of gateways that have gone would stay open for ever."""
    async with our_server() as server, grpcio_client(server.port) as call:
        for number in range(3):
            stream = call()
            await stream.write(BytesValue(value=b"a"))
            await stream.read()
            stream.cancel()
            await eventually(lambda number=number: server.ended == number + 1, "the call's end")


async def test_a_slow_grpcio_is_not_buffered_for() -> None:
    """A gateway that does not read would fill the messenger's memory (promise P9)."""
    async with our_server() as server, grpcio_client(server.port) as call:
        server.echoes = False
        stream = call()
        await stream.wait_for_connection()
        await eventually(lambda: server.calls, "the call")
        (sender,) = server.calls
        values = [b"%d" % number + b"x" * 50_000 for number in range(1_000)]
        sender.send(*values)
        await asyncio.sleep(0.2)
        assert len(sender.unsent) > 100
        for value in values:
            assert (await stream.read()).value == value
        assert sender.resumed > 0
        stream.cancel()


async def test_a_paused_receiver_slows_grpcio_down() -> None:
    """A flood of batches would fill the messenger's memory while it reads what a gateway missed (P9)."""
    async with our_server() as server, grpcio_client(server.port) as call:
        server.echoes = False
        stream = call()
        await stream.wait_for_connection()
        await eventually(lambda: server.calls, "the call")
        (receiver,) = server.calls
        receiver.stream.pause_reading()
        written = 0

        async def write() -> None:
            nonlocal written
            for _ in range(1_000):
                await stream.write(BytesValue(value=b"x" * 50_000))
                written += 1

        writing = asyncio.create_task(write())
        await asyncio.sleep(0.3)
        assert not receiver.received
        assert written * 50_000 < 2 * STREAM_WINDOW
        receiver.stream.resume_reading()
        await writing
        await eventually(lambda: len(receiver.received) == 1_000, "all")
        stream.cancel()


# ---- we call ----


async def test_we_call_grpcios_server() -> None:
    """A gateway could not attach to a messenger of another version."""
    async with grpcio_server(echo) as port, our_call(f"{HOST}:{port}") as stream:
        peer = Collector(stream)
        peer.send(*VALUES)
        await eventually(lambda: peer.received == VALUES, "the echo")


async def test_we_learn_grpcios_errors() -> None:
    """A gateway would not know why a messenger refuses it."""

    async def refuse(_: Any, context: Any) -> None:
        await abort_call(context, PalaverError(INVALID, "no: 100 % ☃", field="hello"))

    async with grpcio_server(refuse) as port, our_call(f"{HOST}:{port}") as stream:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stream.ended()
    assert (caught.value.code(), caught.value.details()) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "no: 100 % ☃",
    )
    assert error_from_rpc(caught.value).field == "hello"


async def test_our_metadata_reach_grpcio() -> None:
    """Every gateway would be refused."""
    seen: dict[str, str] = {}

    async def note(_: Any, context: Any) -> None:
        seen.update(dict(context.invocation_metadata()))

    async with (
        grpcio_server(note) as port,
        our_call(f"{HOST}:{port}", metadata=(("palaver-key", "right"),)) as stream,
    ):
        await stream.ended()
    assert seen["palaver-key"] == "right"


async def test_a_method_that_grpcio_lacks_is_named() -> None:
    """A gateway before an older messenger would log nothing of use."""
    async with grpcio_server(echo) as port, our_call(f"{HOST}:{port}", "/test.Test/Other") as stream:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stream.ended()
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_a_grpcio_that_stops_ends_our_call() -> None:
    """A gateway would wait for a messenger that has gone."""
    async with grpcio_server(echo) as port:
        client = our_call(f"{HOST}:{port}")
        stream = await client.__aenter__()
        peer = Collector(stream)
        peer.send(b"a")
        await eventually(lambda: peer.received, "the echo")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await asyncio.wait_for(stream.ended(), 5)
    assert caught.value.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
    await client.__aexit__(None, None, None)


async def test_a_slow_grpcio_server_slows_us_down() -> None:
    """A messenger that does not read would fill the gateway's memory (promise P9)."""
    may_read = asyncio.Event()
    read: list[bytes] = []

    async def read_late(requests: AsyncIterator[BytesValue], _: Any) -> None:
        await may_read.wait()
        async for message in requests:
            read.append(message.value)  # noqa: PERF401 - looked at meanwhile

    async with grpcio_server(read_late) as port, our_call(f"{HOST}:{port}") as stream:
        peer = Collector(stream)
        values = [b"%d" % number + b"x" * 50_000 for number in range(1_000)]
        peer.send(*values)
        await asyncio.sleep(0.2)
        assert len(peer.unsent) > 100
        may_read.set()
        await eventually(lambda: read == values, "all, in order")


# ---- both ends are ours ----


async def test_both_ends_are_ours_over_a_unix_socket(tmp_path: Path) -> None:
    """`palaver up` would not start."""
    path = str(tmp_path / "stream.sock")
    async with our_server(path=path) as server, our_call(f"unix:{path}") as stream:
        peer = Collector(stream)
        peer.send(*VALUES, *(b"%d" % number for number in range(1_000)))
        await eventually(lambda: len(peer.received) == len(VALUES) + 1_000, "the echo")
        assert peer.received[: len(VALUES)] == VALUES
        stream.cancel()
        await eventually(lambda: server.ended == 1, "the call's end")


async def test_a_receiver_that_fails_ends_its_stream_alone() -> None:
    """One wrong batch would break the streams of other gateways."""
    async with our_server() as server, grpcio_client(server.port) as call:
        failing, other = call(), call()
        for stream, value in ((failing, b"failing"), (other, b"other")):
            await stream.write(BytesValue(value=value))
            await stream.read()
        (first,) = (one for one in server.calls if one.received == [b"failing"])
        first.fails = ValueError("not foreseen")
        await failing.write(BytesValue(value=b"b"))
        assert await failing.code() is grpc.StatusCode.INTERNAL
        await other.write(BytesValue(value=b"c"))
        assert (await other.read()).value == b"c"
        other.cancel()


async def test_nobody_there_is_unavailable() -> None:
    """A gateway that starts before its messenger would give up."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async with our_call("unix:/nowhere/at/all.sock"):
            pass
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
