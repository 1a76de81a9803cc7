"""One HTTP/2 connection, and what a peer that means ill sends."""

import struct
from itertools import pairwise

import pytest
from hpack import Encoder
from hypothesis import given
from hypothesis import strategies as st

from palaver.runtime.grpc.http2.connection import (
    CONNECTION_WINDOW,
    MOST_CONTROL_FRAMES,
    MOST_STREAMS,
    Connection,
)
from palaver.runtime.grpc.http2.events import (
    DataReceived,
    Event,
    HeadersReceived,
    PeerLeaving,
    SettingsReceived,
    StreamReset,
)
from palaver.runtime.grpc.http2.frames import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    FRAME_BYTES,
    GOAWAY,
    HAS_PRIORITY,
    HEADERS,
    PADDED,
    PING,
    PREFACE,
    PRIORITY,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    ErrorCode,
    Frame,
    FrameReader,
    Setting,
    encode_frame,
    settings_payload,
)
from palaver.runtime.grpc.http2.outgoing import STREAM_WINDOW

HEAD = [(b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/a/b")]
BLOCK = Encoder().encode(HEAD)
HELLO = PREFACE + encode_frame(SETTINGS, 0, 0)
OPEN = HELLO + encode_frame(HEADERS, END_HEADERS, 1, BLOCK)


def number(value: int) -> bytes:
    """Four bytes."""
    return struct.pack(">I", value)


def receive(data: bytes, cuts: list[int] | None = None) -> tuple[Connection, list[Event], bytes]:
    """What a server makes of some bytes that come in pieces: itself, the events, and its answer."""
    connection = Connection(is_client=False)
    events: list[Event] = []
    for start, end in pairwise([0, *sorted(cut % (len(data) + 1) for cut in cuts or []), len(data)]):
        events += connection.receive(data[start:end])
    return connection, events, connection.take()


def frames(data: bytes) -> list[Frame]:
    """The frames of a server's answer."""
    reader = FrameReader()
    reader.feed(data.removeprefix(PREFACE))
    found = []
    while (frame := reader.next()) is not None:
        found.append(frame)
    return found


def of_kind(data: bytes, kind: int) -> list[Frame]:
    """The frames of one kind of an answer."""
    return [frame for frame in frames(data) if frame.kind == kind]


# ---- what a peer may send ----


def test_a_stream_from_its_head_to_its_end() -> None:
    """Nothing would reach the messenger."""
    data = OPEN + encode_frame(DATA, 0, 1, b"abc") + encode_frame(DATA, END_STREAM, 1, b"d")
    connection, events, _ = receive(data)
    assert events == [
        SettingsReceived(),
        HeadersReceived(1, HEAD, ends=False),
        DataReceived(1, b"abc", 3, ends=False),
        DataReceived(1, b"d", 1, ends=True),
    ]
    connection.send_headers(1, [(b":status", b"200")])
    connection.send_data(1, b"xyz")
    connection.send_trailers(1, [(b"grpc-status", b"0")])
    answer = frames(connection.take())
    assert [(frame.kind, frame.flags) for frame in answer] == [
        (HEADERS, END_HEADERS),
        (DATA, 0),
        (HEADERS, END_HEADERS | END_STREAM),
    ]


def test_padding_priority_and_continuation_are_taken() -> None:
    """Some of gRPC's implementations could not attach."""
    padded = bytes([3]) + number(0) + b"\x10" + BLOCK[:5] + bytes(3)
    data = (
        HELLO
        + encode_frame(HEADERS, PADDED | HAS_PRIORITY, 1, padded)
        + encode_frame(CONTINUATION, 0, 1, BLOCK[5:8])
        + encode_frame(CONTINUATION, END_HEADERS, 1, BLOCK[8:])
        + encode_frame(DATA, PADDED, 1, b"\x02abc\0\0")
    )
    _, events, _ = receive(data)
    # Padding counts in the window
    assert events[1:] == [
        HeadersReceived(1, HEAD, ends=False),
        DataReceived(1, b"abc", 6, ends=False),
    ]


def test_what_must_be_answered_is_and_the_unknown_is_passed_over() -> None:
    """Peers would take the connection for dead, or for one of another protocol."""
    data = (
        OPEN
        + encode_frame(PING, 0, 0, b"12345678")
        + encode_frame(PING, ACK, 0, b"12345678")
        + encode_frame(0xBE, 0xFF, 1, b"grease")
        + encode_frame(PRIORITY, 0, 5, number(0) + b"\x01")
        + encode_frame(SETTINGS, 0, 0, struct.pack(">HI", 0xBABA, 7))
        + encode_frame(GOAWAY, 0, 0, number(7) + number(0) + b"bye")
        + encode_frame(RST_STREAM, 0, 1, number(8))
    )
    connection, events, answer = receive(data)
    assert connection.failure is None
    assert events[2:] == [PeerLeaving(7, 0), StreamReset(1, 8)]
    assert [frame.payload for frame in of_kind(answer, PING)] == [b"12345678"]
    assert [frame.flags for frame in of_kind(answer, SETTINGS)] == [0, ACK, ACK]


def test_streams_beyond_the_limit_are_refused_alone() -> None:
    """One gateway could take the memory of all, or lose its stream for having asked for one more."""
    opened = b"".join(
        encode_frame(HEADERS, END_HEADERS, 1 + 2 * index, BLOCK) for index in range(MOST_STREAMS + 1)
    )
    connection, events, answer = receive(HELLO + opened)
    assert len([event for event in events if isinstance(event, HeadersReceived)]) == MOST_STREAMS
    (reset,) = of_kind(answer, RST_STREAM)
    assert (reset.stream_id, reset.payload) == (1 + 2 * MOST_STREAMS, number(ErrorCode.REFUSED_STREAM))
    assert connection.failure is None


def test_a_stream_that_was_given_up_may_still_send() -> None:
    """Each gateway that is cut off would lose the connection, and its other streams, with an error."""
    connection, _, _ = receive(OPEN)
    connection.reset_stream(1, ErrorCode.CANCEL)
    late = encode_frame(DATA, 0, 1, b"late") + encode_frame(WINDOW_UPDATE, 0, 1, number(5))
    assert connection.receive(late + encode_frame(RST_STREAM, 0, 1, number(0))) == []
    assert connection.failure is None


# ---- flow control ----


def test_the_peers_windows_bound_what_is_sent() -> None:
    """A peer would end the connection for more than it can take; or a slow one fill our memory."""
    setting = settings_payload({Setting.INITIAL_WINDOW_SIZE: 10})
    connection, _, _ = receive(
        PREFACE + encode_frame(SETTINGS, 0, 0, setting) + encode_frame(HEADERS, END_HEADERS, 1, BLOCK)
    )
    connection.take()
    connection.send_data(1, b"a" * 25)
    connection.send_trailers(1, [(b"grpc-status", b"0")])
    assert [len(frame.payload) for frame in frames(connection.take())] == [10]
    assert connection.has_pending(1)
    connection.receive(encode_frame(WINDOW_UPDATE, 0, 1, number(5)))
    assert [len(frame.payload) for frame in frames(connection.take())] == [5]
    # A window that shrinks below nothing opens again
    connection.receive(
        encode_frame(SETTINGS, 0, 0, settings_payload({Setting.INITIAL_WINDOW_SIZE: 0}))
        + encode_frame(WINDOW_UPDATE, 0, 1, number(10))
    )
    assert not of_kind(connection.take(), DATA)
    connection.receive(encode_frame(WINDOW_UPDATE, 0, 1, number(100)))
    answer = frames(connection.take())
    # The end comes behind all that waited
    assert [frame.kind for frame in answer] == [DATA, HEADERS, RST_STREAM]
    assert len(answer[0].payload) == 10


def test_the_connections_window_bounds_all_streams() -> None:
    """A peer with little memory would be sent more than it asked for."""
    setting = settings_payload({Setting.INITIAL_WINDOW_SIZE: 1_000_000})
    connection, _, _ = receive(
        PREFACE + encode_frame(SETTINGS, 0, 0, setting) + encode_frame(HEADERS, END_HEADERS, 1, BLOCK)
    )
    connection.send_data(1, b"a" * 100_000)
    sent = of_kind(connection.take(), DATA)
    assert sum(len(frame.payload) for frame in sent) == 65_535
    # No frame is larger than the peer takes
    assert max(len(frame.payload) for frame in sent) == 16_384
    connection.receive(encode_frame(WINDOW_UPDATE, 0, 0, number(100_000)))
    assert sum(len(frame.payload) for frame in of_kind(connection.take(), DATA)) == 100_000 - 65_535


def test_a_peer_gets_room_back_for_what_was_consumed() -> None:
    """A stream would stand still after four megabytes."""
    connection, _, _ = receive(OPEN)
    sent = 0
    for _ in range(3 * CONNECTION_WINDOW // FRAME_BYTES):
        (event,) = connection.receive(encode_frame(DATA, 0, 1, bytes(FRAME_BYTES)))
        assert isinstance(event, DataReceived)
        connection.consume(1, event.size)
        sent += event.size
    updates = of_kind(connection.take(), WINDOW_UPDATE)
    given_back = sum(int.from_bytes(frame.payload, "big") for frame in updates if frame.stream_id == 1)
    assert sent - given_back < STREAM_WINDOW
    assert connection.failure is None
    # A frame a message would cost as much as the message
    assert len(updates) < 50


# ---- what no peer may send ----


def flood(frame: bytes, count: int = MOST_CONTROL_FRAMES + 1) -> bytes:
    """The same frame again and again."""
    return frame * count


def resets() -> bytes:
    """Streams that are opened and given up at once."""
    return b"".join(
        encode_frame(HEADERS, END_HEADERS, 1 + 2 * index, BLOCK)
        + encode_frame(RST_STREAM, 0, 1 + 2 * index, number(8))
        for index in range(MOST_CONTROL_FRAMES)
    )


def bomb() -> bytes:
    """A small block that says one long header many times."""
    encoder = Encoder()
    long = encoder.encode([(b"a", b"x" * 3_000)])
    return encode_frame(HEADERS, END_HEADERS, 1, long + b"\xbe" * 5_000)


WINDOW = number(2**31 - 1)
ATTACKS: dict[str, tuple[bytes, ErrorCode]] = {
    "another protocol": (b"GET / HTTP/1.1\r\n\r\n", ErrorCode.PROTOCOL_ERROR),
    "no settings": (PREFACE + encode_frame(PING, 0, 0, bytes(8)), ErrorCode.PROTOCOL_ERROR),
    "an answer to settings first": (PREFACE + encode_frame(SETTINGS, ACK, 0), ErrorCode.PROTOCOL_ERROR),
    "a large frame": (HELLO + b"\xff\xff\xff" + bytes(6), ErrorCode.FRAME_SIZE_ERROR),
    "pings": (HELLO + flood(encode_frame(PING, 0, 0, bytes(8))), ErrorCode.ENHANCE_YOUR_CALM),
    "settings": (HELLO + flood(encode_frame(SETTINGS, 0, 0)), ErrorCode.ENHANCE_YOUR_CALM),
    "resets": (HELLO + resets(), ErrorCode.ENHANCE_YOUR_CALM),
    "empty data": (OPEN + flood(encode_frame(DATA, 0, 1)), ErrorCode.ENHANCE_YOUR_CALM),
    "padding alone": (OPEN + flood(encode_frame(DATA, PADDED, 1, b"\0")), ErrorCode.ENHANCE_YOUR_CALM),
    "priorities": (HELLO + flood(encode_frame(PRIORITY, 0, 9, bytes(5))), ErrorCode.ENHANCE_YOUR_CALM),
    "unknown frames": (HELLO + flood(encode_frame(77, 0, 0)), ErrorCode.ENHANCE_YOUR_CALM),
    "windows by the byte": (
        OPEN + flood(encode_frame(WINDOW_UPDATE, 0, 1, number(1))),
        ErrorCode.ENHANCE_YOUR_CALM,
    ),
    "a head without an end": (
        HELLO + encode_frame(HEADERS, 0, 1) + flood(encode_frame(CONTINUATION, 0, 1, bytes(100))),
        ErrorCode.ENHANCE_YOUR_CALM,
    ),
    "a head of empty frames": (
        HELLO + encode_frame(HEADERS, 0, 1) + flood(encode_frame(CONTINUATION, 0, 1)),
        ErrorCode.ENHANCE_YOUR_CALM,
    ),
    "a head that swells": (HELLO + bomb(), ErrorCode.ENHANCE_YOUR_CALM),
    "a large head": (HELLO + encode_frame(HEADERS, 4, 1, bytes(60_000)), ErrorCode.ENHANCE_YOUR_CALM),
    "no HPACK": (HELLO + encode_frame(HEADERS, END_HEADERS, 1, b"\xff\xff\xff"), ErrorCode.COMPRESSION_ERROR),
    "an interrupted head": (
        HELLO + encode_frame(HEADERS, 0, 1, BLOCK) + encode_frame(PING, 0, 0, bytes(8)),
        ErrorCode.PROTOCOL_ERROR,
    ),
    "a head of two streams": (
        HELLO + encode_frame(HEADERS, 0, 1, BLOCK) + encode_frame(CONTINUATION, 4, 3),
        ErrorCode.PROTOCOL_ERROR,
    ),
    "continuation of nothing": (OPEN + encode_frame(CONTINUATION, 4, 1), ErrorCode.PROTOCOL_ERROR),
    "a stream of the server's": (HELLO + encode_frame(HEADERS, 4, 2, BLOCK), ErrorCode.PROTOCOL_ERROR),
    "stream 0": (HELLO + encode_frame(HEADERS, 4, 0, BLOCK), ErrorCode.PROTOCOL_ERROR),
    "a second head": (OPEN + encode_frame(HEADERS, 4, 1, BLOCK), ErrorCode.PROTOCOL_ERROR),
    "a head behind the end": (
        OPEN + encode_frame(DATA, END_STREAM, 1) + encode_frame(HEADERS, 5, 1, BLOCK),
        ErrorCode.STREAM_CLOSED,
    ),
    "data behind the end": (
        OPEN + encode_frame(DATA, END_STREAM, 1) + encode_frame(DATA, 0, 1, b"a"),
        ErrorCode.STREAM_CLOSED,
    ),
    "data of no stream": (HELLO + encode_frame(DATA, 0, 1, b"a"), ErrorCode.PROTOCOL_ERROR),
    "data of the connection": (HELLO + encode_frame(DATA, 0, 0, b"a"), ErrorCode.PROTOCOL_ERROR),
    "more than the window": (
        OPEN + flood(encode_frame(DATA, 0, 1, bytes(FRAME_BYTES)), STREAM_WINDOW // FRAME_BYTES + 1),
        ErrorCode.FLOW_CONTROL_ERROR,
    ),
    "more padding than data": (OPEN + encode_frame(DATA, PADDED, 1, b"\x05abc"), ErrorCode.PROTOCOL_ERROR),
    "no length of padding": (OPEN + encode_frame(DATA, PADDED, 1), ErrorCode.FRAME_SIZE_ERROR),
    "a window of the connection's beyond all": (
        HELLO + encode_frame(WINDOW_UPDATE, 0, 0, WINDOW),
        ErrorCode.FLOW_CONTROL_ERROR,
    ),
    "a window of a stream's beyond all": (
        OPEN + encode_frame(WINDOW_UPDATE, 0, 1, WINDOW),
        ErrorCode.FLOW_CONTROL_ERROR,
    ),
    "windows that settings push beyond all": (
        OPEN
        + encode_frame(WINDOW_UPDATE, 0, 1, number(1_000))
        + encode_frame(SETTINGS, 0, 0, settings_payload({Setting.INITIAL_WINDOW_SIZE: 2**31 - 1})),
        ErrorCode.FLOW_CONTROL_ERROR,
    ),
    "a first window beyond all": (
        HELLO + encode_frame(SETTINGS, 0, 0, settings_payload({Setting.INITIAL_WINDOW_SIZE: 2**31})),
        ErrorCode.FLOW_CONTROL_ERROR,
    ),
    "a window that grows by nothing": (
        OPEN + encode_frame(WINDOW_UPDATE, 0, 1, number(0)),
        ErrorCode.PROTOCOL_ERROR,
    ),
    "a window of no stream": (HELLO + encode_frame(WINDOW_UPDATE, 0, 7, number(1)), ErrorCode.PROTOCOL_ERROR),
    "a reset of no stream": (HELLO + encode_frame(RST_STREAM, 0, 7, number(1)), ErrorCode.PROTOCOL_ERROR),
    "a short reset": (OPEN + encode_frame(RST_STREAM, 0, 1, b"a"), ErrorCode.FRAME_SIZE_ERROR),
    "a push": (OPEN + encode_frame(PUSH_PROMISE, 4, 1, number(2) + BLOCK), ErrorCode.PROTOCOL_ERROR),
    "a short ping": (HELLO + encode_frame(PING, 0, 0, b"a"), ErrorCode.FRAME_SIZE_ERROR),
    "a ping of a stream": (OPEN + encode_frame(PING, 0, 1, bytes(8)), ErrorCode.PROTOCOL_ERROR),
    "half a setting": (HELLO + encode_frame(SETTINGS, 0, 0, b"a"), ErrorCode.FRAME_SIZE_ERROR),
    "settings of a stream": (OPEN + encode_frame(SETTINGS, 0, 1), ErrorCode.PROTOCOL_ERROR),
    "an answer that sets": (HELLO + encode_frame(SETTINGS, ACK, 0, bytes(6)), ErrorCode.FRAME_SIZE_ERROR),
    "tiny frames": (
        HELLO + encode_frame(SETTINGS, 0, 0, settings_payload({Setting.MAX_FRAME_SIZE: 1})),
        ErrorCode.PROTOCOL_ERROR,
    ),
    "push that is no yes or no": (
        HELLO + encode_frame(SETTINGS, 0, 0, settings_payload({Setting.ENABLE_PUSH: 2})),
        ErrorCode.PROTOCOL_ERROR,
    ),
    "very many settings": (
        HELLO + encode_frame(SETTINGS, 0, 0, bytes(6 * 5_000)),
        ErrorCode.ENHANCE_YOUR_CALM,
    ),
    "a short goaway": (HELLO + encode_frame(GOAWAY, 0, 0, b"a"), ErrorCode.FRAME_SIZE_ERROR),
    "a stream that depends on itself": (
        HELLO + encode_frame(HEADERS, END_HEADERS | HAS_PRIORITY, 1, number(1) + b"\0" + BLOCK),
        ErrorCode.PROTOCOL_ERROR,
    ),
    "a short priority": (HELLO + encode_frame(PRIORITY, 0, 1, b"a"), ErrorCode.FRAME_SIZE_ERROR),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_ends_the_connection_with_its_code(name: str) -> None:
    """One peer would take the messenger's time or memory from everybody (promise P9)."""
    data, code = ATTACKS[name]
    connection, _, answer = receive(data)
    assert connection.failure is not None
    assert connection.failure.code == code
    goaway = of_kind(answer, GOAWAY)[-1]
    assert int.from_bytes(goaway.payload[4:8], "big") == code
    # Nothing more is read
    assert connection.receive(encode_frame(PING, 0, 0, bytes(8))) == []
    assert connection.take() == b""


def test_control_frames_of_a_long_life_are_no_flood() -> None:
    """A stream of hours would be cut off for its pings."""
    connection, _, _ = receive(OPEN)
    for _ in range(5):
        connection.receive(flood(encode_frame(PING, 0, 0, bytes(8)), MOST_CONTROL_FRAMES - 10))
        assert connection.failure is None
        connection.forgive()


# ---- any bytes ----

cuts = st.lists(st.integers(0, 2**20), max_size=12)
frame = st.builds(
    encode_frame,
    st.integers(0, 12),
    st.sampled_from([0, 1, 4, 5, 8, 12, 0x20, 0x24, 0x2D, 0xFF]),
    st.sampled_from([0, 1, 1, 2, 3, 5, 2**31 - 1]),
    st.one_of(st.binary(max_size=40), st.just(BLOCK), st.integers(0, 2**32 - 1).map(number)),
)
valid = st.lists(
    st.one_of(
        st.binary(max_size=300).map(lambda data: encode_frame(DATA, 0, 1, data)),
        st.binary(min_size=8, max_size=8).map(lambda data: encode_frame(PING, 0, 0, data)),
        st.integers(1, 1000).map(lambda size: encode_frame(WINDOW_UPDATE, 0, 1, number(size))),
        st.just(encode_frame(SETTINGS, 0, 0)),
    ),
    max_size=20,
).map(b"".join)


@given(valid, cuts)
def test_any_split_of_what_is_valid_means_the_same(data: bytes, cuts: list[int]) -> None:
    """What a gateway's message means would depend on how the network cuts it."""
    whole, split = receive(OPEN + data), receive(OPEN + data, cuts)
    assert whole[0].failure is split[0].failure is None
    assert whole[1:] == split[1:]


@given(st.lists(frame, max_size=30).map(b"".join), st.booleans(), cuts)
def test_any_frames_end_in_an_error_at_most(data: bytes, opened: bool, cuts: list[int]) -> None:
    """One peer's bytes would end the messenger's event loop, or a stream of others."""
    data = (OPEN if opened else HELLO) + data
    whole, split = receive(data), receive(data, cuts)
    assert str(whole[0].failure) == str(split[0].failure)
    assert whole[1:] == split[1:]


@given(st.binary(max_size=400), st.sampled_from([b"", PREFACE, HELLO, OPEN]), cuts)
def test_any_bytes_end_in_an_error_at_most(data: bytes, before: bytes, cuts: list[int]) -> None:
    """One peer's bytes would end the messenger's event loop, or a stream of others."""
    whole, split = receive(before + data), receive(before + data, cuts)
    assert str(whole[0].failure) == str(split[0].failure)
    assert whole[1:] == split[1:]


@given(st.binary(max_size=300))
def test_any_bytes_of_a_server_end_in_an_error_at_most(data: bytes) -> None:
    """A gateway would be ended by what listens at its messenger's address."""
    connection = Connection(is_client=True)
    connection.receive(encode_frame(SETTINGS, 0, 0))
    assert connection.open_stream(HEAD) == 1
    connection.receive(data)
    connection.receive(encode_frame(HEADERS, END_HEADERS, 1, data))
