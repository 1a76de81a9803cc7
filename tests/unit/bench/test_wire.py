"""The bench's own WebSocket client, on a real server."""

import asyncio

import pytest
import uvloop
from picows import ws_create_server

from bench import relay
from bench.people import relay_pairs
from bench.talk import Talk, Tally, frame_with_size, template_of
from bench.wire import MARK, content_length, frame_of, open_socket


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65_535, 65_536])
async def test_frames_of_all_sizes_come_through(size: int) -> None:
    """A frame that is read wrongly would be counted wrongly, or stall the load."""
    server = await ws_create_server(relay.accept, "127.0.0.1", 0)
    address = server.sockets[0].getsockname()
    heard: asyncio.Queue[bytes] = asyncio.Queue()
    pair = relay_pairs(1)[0]
    receiver = await open_socket(
        address,
        f"/messenger/ws?token={pair.recipient.token}",
        lambda data, start, end: heard.put_nowait(data[start:end]),
    )
    sender = await open_socket(address, f"/messenger/ws?token={pair.sender.token}")
    payload = b"x" * size
    # Two in one write, and a third apart from its last byte
    frame = frame_of(payload)
    sender.write(frame + frame + frame[:-1])
    sender.write(frame[-1:])
    for _ in range(3):
        assert await asyncio.wait_for(heard.get(), 5) == payload
    for socket in (sender, receiver):
        socket.transport.close()
    server.close()


@pytest.mark.parametrize("generation", ["v1", "v2"])
def test_a_talk_keeps_its_messages_in_flight(generation: str) -> None:
    """A load that loses count sends less, or more, than the shape says."""

    async def run() -> Tally:
        server = await ws_create_server(relay.accept, "127.0.0.1", 0)
        tally = Tally()
        tally.counting = True
        talk = Talk(relay_pairs(1)[0], generation, 3, tally)
        await talk.open(server.sockets[0].getsockname())
        for _ in range(3):
            talk.send()
        async with asyncio.timeout(5):
            while tally.sending or tally.received < tally.sent:
                await asyncio.sleep(0)
                assert 0 <= tally.sent - tally.received <= 3
                tally.sending = tally.received < 50
        talk.close()
        server.close()
        return tally

    tally = uvloop.run(run())
    assert len(tally.latencies) == tally.sent >= 50
    assert all(0 < latency < 5e9 for latency in tally.latencies)


@pytest.mark.parametrize("generation", ["v1", "v2"])
def test_templates_are_whole_frames(generation: str) -> None:
    """A frame whose head tells a wrong size makes the server close the socket."""
    template = template_of(generation, relay_pairs(1)[0].chat_id)
    filled = template % ((7, 123) if generation == "v2" else 123)
    size = int.from_bytes(filled[2:4], "big")
    assert (filled[0], filled[1], size) == (0x81, 0x80 | 126, len(filled) - 8)
    assert MARK + b"0000000000000123" in filled


def test_a_size_that_looks_like_a_format_is_kept() -> None:
    """A frame of 37 bytes has a percent sign in its head, which formatting would take for a place."""
    sample = "~t%016d" + "x" * 19
    filled = frame_with_size(sample, sample % 0) % 5
    assert filled == frame_of(b"~t0000000000000005" + b"x" * 19)


def test_content_length_in_any_case() -> None:
    """An answer whose length is not found would be taken for an empty one."""
    assert content_length(b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n") == 12
    assert content_length(b"HTTP/1.1 200 OK\r\nx: y\r\ncontent-length:7\r\n\r\n") == 7
    assert content_length(b"HTTP/1.1 204 No Content\r\n\r\n") == 0
