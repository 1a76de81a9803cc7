"""Connections whose peers are silent, gone, or have never spoken gRPC."""

import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path

import grpc
import grpc.aio
import pytest
import uvloop
from google.protobuf.wrappers_pb2 import BytesValue
from hpack import Decoder, Encoder

from palaver.runtime.grpc import http2_protocol as module
from palaver.runtime.grpc.http2.frames import (
    ACK,
    END_HEADERS,
    GOAWAY,
    HEADERS,
    PING,
    PREFACE,
    SETTINGS,
    Frame,
    FrameReader,
    encode_frame,
)
from palaver.runtime.grpc.http2_protocol import KeepAlive
from palaver.runtime.grpc.stream_client import StreamClient
from palaver.runtime.grpc.stream_server import Methods, serving_streams
from tests.harness.stream_peers import HOST, PATH, Collector, grpcio_client, our_call, our_server
from tests.harness.waiting import eventually

HEAD = [
    (b":method", b"POST"),
    (b":scheme", b"http"),
    (b":path", PATH.encode()),
    (b"content-type", b"application/grpc"),
]


@contextlib.asynccontextmanager
async def raw_connection(port: int):  # type: ignore[no-untyped-def] # a pair of asyncio's streams
    """A connection of bytes."""
    reader, writer = await asyncio.open_connection(HOST, port)
    try:
        yield reader, writer
    finally:
        writer.close()


def all_frames(data: bytes) -> list[Frame]:
    """The frames of some bytes."""
    reader = FrameReader()
    reader.feed(data)
    found = []
    while (frame := reader.next()) is not None:
        found.append(frame)
    return found


async def test_a_peer_that_vanished_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its sockets would stay open for ever, and their users online."""
    monkeypatch.setattr(module, "PATIENT", KeepAlive(0.05, 3, 5))
    block = Encoder().encode(HEAD)
    async with our_server() as server, raw_connection(server.port) as (reader, writer):
        # It never answers a ping
        writer.write(PREFACE + encode_frame(SETTINGS, 0, 0) + encode_frame(HEADERS, END_HEADERS, 1, block))
        await eventually(lambda: server.calls, "the call")
        seen = b""
        async with asyncio.timeout(5):
            while data := await reader.read(1000):
                seen += data
        assert encode_frame(PING, 0, 0, bytes(8)) in seen
        await eventually(lambda: server.ended == 1, "the call's end")


async def test_a_peer_that_answers_pings_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """A gateway with nothing to say would lose its stream every half minute."""
    monkeypatch.setattr(module, "PATIENT", KeepAlive(0.02, 3, 5))
    async with (
        our_server() as server,
        our_call(f"{HOST}:{server.port}") as ours,
        grpcio_client(server.port) as call,
    ):
        theirs = call()
        await theirs.wait_for_connection()
        await eventually(lambda: len(server.calls) == 2, "both calls")
        await asyncio.sleep(0.02 * 5 * 5)
        peer = Collector(ours)
        peer.send(b"a")
        await eventually(lambda: peer.received == [b"a"], "the echo")
        assert server.ended == 0
        theirs.cancel()


@pytest.mark.parametrize("how", ["abort", "close"])
def test_a_call_ends_with_its_connection_in_services_event_loop(how: str) -> None:
    """A gateway would log each kill of a messenger as a fault of its own, with a traceback."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(encode_frame(SETTINGS, 0, 0))
        seen = FrameReader()
        await reader.readexactly(len(PREFACE))
        while True:
            seen.feed(await reader.read(1000))
            while (frame := seen.next()) is not None:
                if frame.kind == HEADERS:
                    getattr(writer.transport, how)()
                    return

    async def use() -> None:
        async with await asyncio.start_server(serve, HOST, 0) as server:
            stream = await StreamClient(
                f"{HOST}:{server.sockets[0].getsockname()[1]}", PATH, BytesValue.FromString, 1000
            ).open()
            with pytest.raises(grpc.aio.AioRpcError):
                await stream.ended()
            # Until the connection itself is closed behind the transport's last turn
            await asyncio.sleep(0.01)
            stream.cancel()

    uvloop.run(use())


async def test_a_connection_without_a_call_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever connects would keep a file of the messenger's for ever."""
    monkeypatch.setattr(module, "PATIENT", KeepAlive(0.02, 1, 5))
    async with our_server() as server, raw_connection(server.port) as (reader, writer):
        writer.write(PREFACE + encode_frame(SETTINGS, 0, 0))
        seen = b""
        async with asyncio.timeout(5):
            # It answers, so it is not taken for gone
            while data := await reader.read(10_000):
                seen += data
                writer.write(encode_frame(PING, ACK, 0, bytes(8)))
        assert any(frame.kind == GOAWAY for frame in all_frames(seen))


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"\0" * 100, os.urandom(5_000)])
async def test_what_is_no_http2_is_sent_away(data: bytes) -> None:
    """A browser on the wrong port would wait, or end the messenger's event loop."""
    async with our_server() as server, raw_connection(server.port) as (reader, writer):
        writer.write(data)
        async with asyncio.timeout(5):
            while await reader.read(1000):
                pass
        async with our_call(f"{HOST}:{server.port}") as stream:
            peer = Collector(stream)
            peer.send(b"a")
            await eventually(lambda: peer.received == [b"a"], "the echo")


@pytest.mark.parametrize(
    ("changes", "status"),
    [({b":method": b"GET"}, b"405"), ({b"content-type": b"application/json"}, b"415")],
)
async def test_what_is_no_grpc_is_refused_in_http(changes: dict[bytes, bytes], status: bytes) -> None:
    """A tool that speaks HTTP would read nothing of why it is refused."""
    block = Encoder().encode(list({**dict(HEAD), **changes}.items()))
    async with our_server() as server, raw_connection(server.port) as (reader, writer):
        writer.write(PREFACE + encode_frame(SETTINGS, 0, 0) + encode_frame(HEADERS, END_HEADERS, 1, block))
        frames = FrameReader()
        while True:
            async with asyncio.timeout(5):
                frames.feed(await reader.read(1000))
            while (frame := frames.next()) is not None:
                if frame.kind == HEADERS:
                    assert (b":status", status) in Decoder().decode(frame.payload, raw=True)
                    return


async def test_a_server_that_is_killed_ends_our_call(tmp_path: Path) -> None:
    """A gateway would wait for a messenger that has died."""
    path = tmp_path / "stream.sock"
    code = (
        "import asyncio, sys\n"
        "from tests.harness.stream_peers import our_server\n"
        "async def main():\n"
        "    async with our_server(path=sys.argv[1]):\n"
        "        await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, str(path))
    try:
        await eventually(path.exists, "the server", 30)
        async with our_call(f"unix:{path}") as stream:
            peer = Collector(stream)
            peer.send(b"a")
            await eventually(lambda: peer.received == [b"a"], "the echo")
            process.send_signal(signal.SIGKILL)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await asyncio.wait_for(stream.ended(), 10)
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def test_a_server_that_stops_ends_calls_and_connections() -> None:
    """A messenger could not be stopped while a gateway is attached."""
    async with our_server() as server:
        client = our_call(f"{HOST}:{server.port}")
        stream = await client.__aenter__()
        Collector(stream).send(b"a")
        await eventually(lambda: server.calls and server.calls[0].received, "the call")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await asyncio.wait_for(stream.ended(), 5)
    assert caught.value.code() in (grpc.StatusCode.CANCELLED, grpc.StatusCode.UNAVAILABLE)
    await client.__aexit__(None, None, None)


async def test_a_port_that_is_taken_fails_the_start() -> None:
    """A second messenger would take half of the gateways."""
    async with our_server() as server:
        with pytest.raises(OSError, match="in use"):
            async with serving_streams(Methods({}), HOST, server.port, 0.0):
                pass
