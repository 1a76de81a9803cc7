"""What one HTTP/2 connection sends: frames, and data within the peer's windows."""

from palaver.runtime.grpc.http2.flow_control import ReceiveWindow, SendWindow
from palaver.runtime.grpc.http2.frames import DATA, encode_frame
from palaver.runtime.grpc.http2.header_blocks import Headers
from palaver.runtime.grpc.http2.peer_settings import DEFAULT_WINDOW, PeerSettings

STREAM_WINDOW = 4 * 1024 * 1024


class Stream:
    """An open stream's windows, and what waits for room."""

    __slots__ = ("half_closed", "pending", "receive_window", "send_window", "trailers")

    def __init__(self, send_window: int) -> None:
        self.send_window = SendWindow(send_window)
        self.receive_window = ReceiveWindow(STREAM_WINDOW)
        self.pending = bytearray()
        # They follow what is pending
        self.trailers: Headers | None = None
        # The peer has ended its side
        self.half_closed = False


class Outgoing:
    """Bytes that must be sent. `window`: the connection's own. `has_sent_data`: since somebody reset it."""

    def __init__(self, peer: PeerSettings) -> None:
        self.window = SendWindow(DEFAULT_WINDOW)
        self.has_sent_data = False
        self._peer = peer
        self._parts: list[bytes] = []

    def take(self) -> bytes:
        """All of them."""
        parts, self._parts = self._parts, []
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def add_bytes(self, *parts: bytes) -> None:
        """Adds bytes as they are."""
        self._parts += parts

    def add(self, kind: int, flags: int, stream_id: int, payload: bytes = b"") -> None:
        """Adds a frame."""
        self._parts.append(encode_frame(kind, flags, stream_id, payload))

    def add_number(self, kind: int, stream_id: int, number: int) -> None:
        """Adds a frame that is made of a number."""
        self._parts.append(encode_frame(kind, 0, stream_id, number.to_bytes(4, "big")))

    def add_data(self, stream_id: int, stream: Stream, data: bytes) -> None:
        """Adds a stream's bytes; what the peer has no room for becomes pending."""
        if len(data) <= self._room(stream) and not stream.pending:
            self._add_frame(stream_id, stream, data)
        else:
            stream.pending += data
            self.add_pending(stream_id, stream)

    def add_pending(self, stream_id: int, stream: Stream) -> bool:
        """Adds what the peer has room for now. Returns whether that was all."""
        pending = stream.pending
        while pending and (room := self._room(stream)) > 0:
            self._add_frame(stream_id, stream, bytes(pending[:room]))
            del pending[:room]
        return not pending

    def _room(self, stream: Stream) -> int:
        """How much one DATA frame of a stream may carry."""
        return min(stream.send_window.size, self.window.size, self._peer.frame_bytes)

    def _add_frame(self, stream_id: int, stream: Stream, data: bytes) -> None:
        stream.send_window.size -= len(data)
        self.window.size -= len(data)
        self.has_sent_data = True
        self._parts.append(encode_frame(DATA, 0, stream_id, data))
