"""One HTTP/2 connection without I/O: bytes in, events and bytes out.

`receive` takes what came and returns what it means; `take` has what must be sent. Each error ends the whole
connection, as RFC 9113 lets it: a connection of ours is there for one stream. After an error `failure` says
why, and nothing more is read.
"""

import struct
from collections.abc import Callable

from palaver.runtime.grpc.http2.events import (
    DataReceived,
    Event,
    HeadersReceived,
    PeerLeaving,
    SettingsReceived,
    StreamReset,
)
from palaver.runtime.grpc.http2.flow_control import ReceiveWindow
from palaver.runtime.grpc.http2.frames import (
    ACK,
    CONTINUATION,
    DATA,
    END_STREAM,
    FRAME_BYTES,
    GOAWAY,
    HEADERS,
    MOST_WINDOW,
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
    Http2Error,
    Setting,
    settings_payload,
)
from palaver.runtime.grpc.http2.header_blocks import HEADER_LIST_BYTES, HeaderBlocks, Headers
from palaver.runtime.grpc.http2.outgoing import STREAM_WINDOW, Outgoing, Stream
from palaver.runtime.grpc.http2.payloads import (
    check_of_connection,
    check_ping,
    check_priority,
    read_goaway,
    read_number,
    read_settings,
    refuse_push,
    without_padding,
)
from palaver.runtime.grpc.http2.peer_settings import DEFAULT_WINDOW, PeerSettings

MOST_STREAMS = 4
# A stream that nobody reads leaves room for the others
CONNECTION_WINDOW = MOST_STREAMS * STREAM_WINDOW
# Frames that carry nothing, and cost an answer or a look: so many in a row are an attack
MOST_CONTROL_FRAMES = 1_000


class Connection:
    """One end of a connection."""

    def __init__(self, *, is_client: bool) -> None:
        self.failure: Http2Error | None = None
        self._is_client = is_client
        self._streams: dict[int, Stream] = {}
        # The newest stream that was opened, here or there; a client's first is 1
        self._last_id = -1 if is_client else 0
        self._preface = b"" if is_client else PREFACE
        self._frames = FrameReader()
        self._blocks = HeaderBlocks()
        self._has_settings = False
        self._control_frames = 0
        self._peer = PeerSettings(is_client=is_client)
        self._out = Outgoing(self._peer)
        self._receive_window = ReceiveWindow(CONNECTION_WINDOW)
        self._receivers: dict[int, Callable[[Frame, list[Event]], None]] = {
            HEADERS: self._receive_headers,
            PRIORITY: check_priority,
            RST_STREAM: self._receive_reset,
            SETTINGS: self._receive_settings,
            PUSH_PROMISE: refuse_push,
            PING: self._receive_ping,
            GOAWAY: self._receive_goaway,
            WINDOW_UPDATE: self._receive_window_update,
            CONTINUATION: self._receive_continuation,
        }
        self._begin()

    def _begin(self) -> None:
        settings = {
            Setting.MAX_CONCURRENT_STREAMS: MOST_STREAMS,
            Setting.INITIAL_WINDOW_SIZE: STREAM_WINDOW,
            Setting.MAX_FRAME_SIZE: FRAME_BYTES,
            Setting.MAX_HEADER_LIST_SIZE: HEADER_LIST_BYTES,
        }
        if self._is_client:
            settings[Setting.ENABLE_PUSH] = 0
            self._out.add_bytes(PREFACE)
        self._out.add(SETTINGS, 0, 0, settings_payload(settings))
        self._out.add_number(WINDOW_UPDATE, 0, CONNECTION_WINDOW - DEFAULT_WINDOW)

    # ---- what is sent ----

    def take(self) -> bytes:
        """The bytes that must be sent now."""
        return self._out.take()

    def open_stream(self, headers: Headers) -> int | None:
        """Opens a stream, as a client. None: the peer takes no more."""
        if len(self._streams) >= self._peer.most_streams:
            return None
        self._last_id += 2
        self._streams[self._last_id] = Stream(self._peer.first_window)
        self.send_headers(self._last_id, headers)
        return self._last_id

    def send_headers(self, stream_id: int, headers: Headers) -> None:
        """Sends a head."""
        self._out.add_bytes(*self._blocks.encode(stream_id, headers, ends=False))

    def send_trailers(self, stream_id: int, headers: Headers) -> None:
        """Ends a stream, as a server, behind all that was written to it."""
        stream = self._streams.get(stream_id)
        if stream is None:
            return
        if stream.pending:
            stream.trailers = headers
            return
        self._out.add_bytes(*self._blocks.encode(stream_id, headers, ends=True))
        if not stream.half_closed:
            # The answer is complete: the peer need not send the rest of its request (section 8.1)
            self._out.add_number(RST_STREAM, stream_id, ErrorCode.NO_ERROR)
        del self._streams[stream_id]

    def send_data(self, stream_id: int, data: bytes) -> None:
        """Sends bytes of a stream; what the peer has no room for waits: see `has_pending`."""
        stream = self._streams.get(stream_id)
        if stream is not None:
            self._out.add_data(stream_id, stream, data)

    def has_pending(self, stream_id: int) -> bool:
        """Whether some of a stream's bytes wait until the peer has room."""
        stream = self._streams.get(stream_id)
        return stream is not None and bool(stream.pending)

    def reset_stream(self, stream_id: int, code: ErrorCode) -> None:
        """Gives a stream up, with all that waits."""
        if self._streams.pop(stream_id, None) is not None:
            self._out.add_number(RST_STREAM, stream_id, code)

    def ping(self) -> None:
        """Makes the peer answer, if it is still there."""
        self._out.add(PING, 0, 0, bytes(8))

    def leave(self, code: ErrorCode = ErrorCode.NO_ERROR, text: str = "") -> None:
        """Sends GOAWAY: no new streams are taken."""
        last_id = 0 if self._is_client else self._last_id
        payload = struct.pack(">II", last_id, code) + text.encode()
        self._out.add(GOAWAY, 0, 0, payload)

    def consume(self, stream_id: int, size: int) -> None:
        """Lets the peer send as much again."""
        if growth := self._receive_window.consume(size):
            self._out.add_number(WINDOW_UPDATE, 0, growth)
        stream = self._streams.get(stream_id)
        if stream is not None and (growth := stream.receive_window.consume(size)) and not stream.half_closed:
            self._out.add_number(WINDOW_UPDATE, stream_id, growth)

    def forgive(self) -> None:
        """Forgets the control frames that came. Call it every few seconds."""
        self._control_frames = 0

    def _send_pending(self) -> None:
        """Sends what the peer has room for now."""
        for stream_id, stream in list(self._streams.items()):
            if stream.pending and self._out.add_pending(stream_id, stream) and stream.trailers is not None:
                self.send_trailers(stream_id, stream.trailers)

    # ---- what comes ----

    def receive(self, data: bytes) -> list[Event]:
        """What came means these events. Look at `failure` after them."""
        events: list[Event] = []
        if self.failure is not None:
            return events
        try:
            if self._preface:
                data = self._read_preface(data)
            self._frames.feed(data)
            while (frame := self._frames.next()) is not None:
                self._receive_frame(frame, events)
        except Http2Error as error:
            self.failure = error
            self.leave(error.code, error.text)
        return events

    def _read_preface(self, data: bytes) -> bytes:
        size = min(len(data), len(self._preface))
        if data[:size] != self._preface[:size]:
            raise Http2Error(ErrorCode.PROTOCOL_ERROR, "no HTTP/2 preface")
        self._preface = self._preface[size:]
        return data[size:]

    def _receive_frame(self, frame: Frame, events: list[Event]) -> None:
        kind = frame.kind
        if not self._has_settings and (kind != SETTINGS or frame.flags & ACK):
            raise Http2Error(ErrorCode.PROTOCOL_ERROR, "the first frame is not SETTINGS")
        if self._blocks.is_unfinished and kind != CONTINUATION:
            raise Http2Error(ErrorCode.PROTOCOL_ERROR, "a header block that is interrupted")
        if kind == DATA:
            self._receive_data(frame, events)
            return
        self._count_control_frame()
        receiver = self._receivers.get(kind)
        # Unknown frames are for others (section 4.1)
        if receiver is not None:
            receiver(frame, events)

    def _count_control_frame(self) -> None:
        if self._out.has_sent_data:
            # A peer that gets much answers much
            self._out.has_sent_data = False
            self._control_frames = 0
        self._control_frames += 1
        if self._control_frames > MOST_CONTROL_FRAMES:
            raise Http2Error(ErrorCode.ENHANCE_YOUR_CALM, "too many control frames")

    def _is_idle(self, stream_id: int) -> bool:
        """Whether nobody has opened the stream yet."""
        return stream_id > self._last_id or stream_id % 2 == 0

    def _known(self, frame: Frame) -> Stream | None:
        """The open stream of a frame; None where it is closed. Raises `Http2Error` where it never was."""
        stream = self._streams.get(frame.stream_id)
        if stream is None and self._is_idle(frame.stream_id):
            raise Http2Error(ErrorCode.PROTOCOL_ERROR, "a frame of a stream that was never opened")
        return stream

    def _receive_data(self, frame: Frame, events: list[Event]) -> None:
        stream = self._known(frame)
        size = len(frame.payload)
        ends = bool(frame.flags & END_STREAM)
        data = without_padding(frame)
        if not data and not ends:
            self._count_control_frame()
        self._receive_window.take(size)
        if stream is None:
            # It was given up here, which the peer may not know yet
            self._count_control_frame()
            self.consume(frame.stream_id, size)
            return
        if stream.half_closed:
            raise Http2Error(ErrorCode.STREAM_CLOSED, "data behind the end of a stream")
        stream.receive_window.take(size)
        events.append(DataReceived(frame.stream_id, data, size, ends))
        if ends:
            self._end_peer_side(frame.stream_id, stream)

    def _end_peer_side(self, stream_id: int, stream: Stream) -> None:
        stream.half_closed = True
        if self._is_client:
            # A server's end is the call's: what is left of the request is of no use
            self.reset_stream(stream_id, ErrorCode.NO_ERROR)

    def _receive_headers(self, frame: Frame, events: list[Event]) -> None:
        headers = self._blocks.begin(frame)
        if headers is not None:
            self._finish_headers(frame, headers, events)

    def _receive_continuation(self, frame: Frame, events: list[Event]) -> None:
        finished = self._blocks.resume(frame)
        if finished is not None:
            self._finish_headers(*finished, events)

    def _finish_headers(self, frame: Frame, headers: Headers, events: list[Event]) -> None:
        stream_id = frame.stream_id
        ends = bool(frame.flags & END_STREAM)
        if not self._is_client and stream_id > self._last_id and stream_id % 2:
            self._last_id = stream_id
            if len(self._streams) >= MOST_STREAMS:
                self._out.add_number(RST_STREAM, stream_id, ErrorCode.REFUSED_STREAM)
                return
            self._streams[stream_id] = Stream(self._peer.first_window)
        elif not self._is_client and not ends and stream_id in self._streams:
            raise Http2Error(ErrorCode.PROTOCOL_ERROR, "trailers that do not end the stream")
        stream = self._known(frame)
        if stream is None:
            return
        if stream.half_closed:
            raise Http2Error(ErrorCode.STREAM_CLOSED, "headers behind the end of a stream")
        events.append(HeadersReceived(stream_id, headers, ends))
        if ends:
            self._end_peer_side(stream_id, stream)

    def _receive_reset(self, frame: Frame, events: list[Event]) -> None:
        code = read_number(frame)
        if self._known(frame) is not None:
            del self._streams[frame.stream_id]
            events.append(StreamReset(frame.stream_id, code))

    def _receive_ping(self, frame: Frame, _: list[Event]) -> None:
        check_ping(frame)
        if not frame.flags & ACK:
            self._out.add(PING, ACK, 0, frame.payload)

    def _receive_goaway(self, frame: Frame, events: list[Event]) -> None:
        events.append(PeerLeaving(*read_goaway(frame)))

    def _receive_window_update(self, frame: Frame, _: list[Event]) -> None:
        size = read_number(frame) & MOST_WINDOW
        if not size:
            raise Http2Error(ErrorCode.PROTOCOL_ERROR, "a window that grows by nothing")
        if not frame.stream_id:
            self._out.window.grow(size)
        elif (stream := self._known(frame)) is not None:
            stream.send_window.grow(size)
        self._send_pending()

    def _receive_settings(self, frame: Frame, events: list[Event]) -> None:
        check_of_connection(frame)
        settings = read_settings(frame)
        if frame.flags & ACK:
            return
        first_window = self._peer.first_window
        for key, value in settings:
            self._peer.apply(key, value)
        self._blocks.limit_table(self._peer.table_bytes)
        for stream in self._streams.values():
            stream.send_window.grow(self._peer.first_window - first_window)
        self._out.add(SETTINGS, ACK, 0)
        self._send_pending()
        if not self._has_settings:
            self._has_settings = True
            events.append(SettingsReceived())
