"""HTTP/2 flow control (RFC 9113, section 5.2): how much each side may send."""

from palaver.runtime.grpc.http2.frames import MOST_WINDOW, ErrorCode, Http2Error


class SendWindow:
    """What may be sent. It can fall below zero, where the peer takes back what it gave."""

    __slots__ = ("size",)

    def __init__(self, size: int) -> None:
        self.size = size

    def grow(self, size: int) -> None:
        """The peer has room for more. Raises `Http2Error`."""
        self.size += size
        if self.size > MOST_WINDOW:
            raise Http2Error(ErrorCode.FLOW_CONTROL_ERROR, "a window beyond 2^31-1")


class ReceiveWindow:
    """What the peer may send, and what of it was consumed and not yet given back."""

    __slots__ = ("_credit", "_most", "_size")

    def __init__(self, size: int) -> None:
        self._most = self._size = size
        self._credit = 0

    def take(self, size: int) -> None:
        """The peer has sent so much. Raises `Http2Error` where it had no room."""
        self._size -= size
        if self._size < 0:
            raise Http2Error(ErrorCode.FLOW_CONTROL_ERROR, "more data than the window has room for")

    def consume(self, size: int) -> int:
        """Gives room back. Returns how much the peer must be told: 0 until it is worth a frame."""
        self._credit += size
        if self._credit < self._most // 2:
            return 0
        told, self._credit = self._credit, 0
        self._size += told
        return told
