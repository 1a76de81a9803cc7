"""What the peer of an HTTP/2 connection has set (RFC 9113, section 6.5.2)."""

from palaver.runtime.grpc.http2.frames import (
    LEAST_FRAME_BYTES,
    MOST_FRAME_BYTES,
    MOST_WINDOW,
    ErrorCode,
    Http2Error,
    Setting,
)

DEFAULT_WINDOW = 65_535
DEFAULT_TABLE_BYTES = 4_096


class PeerSettings:
    """As they stand. `first_window`: of a new stream."""

    def __init__(self, *, is_client: bool) -> None:
        self.frame_bytes = LEAST_FRAME_BYTES
        self.first_window = DEFAULT_WINDOW
        self.most_streams = MOST_WINDOW
        self.table_bytes = DEFAULT_TABLE_BYTES
        # Only clients take pushes
        self._most_push = 0 if is_client else 1

    def apply(self, key: int, value: int) -> None:
        """One of them changes; unknown ones are passed over. Raises `Http2Error`."""
        if key == Setting.INITIAL_WINDOW_SIZE:
            if value > MOST_WINDOW:
                raise Http2Error(ErrorCode.FLOW_CONTROL_ERROR, "a window beyond 2^31-1")
            self.first_window = value
        elif key == Setting.MAX_FRAME_SIZE:
            if not LEAST_FRAME_BYTES <= value <= MOST_FRAME_BYTES:
                raise Http2Error(ErrorCode.PROTOCOL_ERROR, "MAX_FRAME_SIZE")
            self.frame_bytes = value
        elif key == Setting.ENABLE_PUSH:
            if value > self._most_push:
                raise Http2Error(ErrorCode.PROTOCOL_ERROR, "ENABLE_PUSH")
        elif key == Setting.MAX_CONCURRENT_STREAMS:
            self.most_streams = value
        elif key == Setting.HEADER_TABLE_SIZE:
            self.table_bytes = value
