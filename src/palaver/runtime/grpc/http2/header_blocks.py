"""Heads and trailers: HPACK (RFC 7541), and blocks over several frames (RFC 9113, section 4.3)."""

import logging

from hpack import Decoder, Encoder, HPACKError, OversizedHeaderListError

from palaver.runtime.grpc.http2.frames import (
    CONTINUATION,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    LEAST_FRAME_BYTES,
    ErrorCode,
    Frame,
    Http2Error,
    encode_frame,
)
from palaver.runtime.grpc.http2.payloads import header_block

# At level debug it logs each header, the deployment's secret too
logging.getLogger("hpack").setLevel(logging.WARNING)

Headers = list[tuple[bytes, bytes]]

# As decoded, counted as RFC 9113 counts it (section 6.5.2)
HEADER_LIST_BYTES = 16 * 1024
# The peer may want a larger table than this; ours needs none
TABLE_BYTES = 4_096


class HeaderBlocks:
    """Both directions of one connection: HPACK has a state for each."""

    def __init__(self) -> None:
        self._encoder = Encoder()
        self._decoder = Decoder(max_header_list_size=HEADER_LIST_BYTES)
        # The block that CONTINUATION goes on with
        self._first: Frame | None = None
        self._block = bytearray()

    @property
    def is_unfinished(self) -> bool:
        """Whether only CONTINUATION may come."""
        return self._first is not None

    def limit_table(self, size: int) -> None:
        """The peer's HEADER_TABLE_SIZE."""
        if self._encoder.header_table_size != min(size, TABLE_BYTES):
            self._encoder.header_table_size = min(size, TABLE_BYTES)

    def encode(self, stream_id: int, headers: Headers, *, ends: bool) -> list[bytes]:
        """The frames of a head or of trailers."""
        block = self._encoder.encode(headers, huffman=False)
        # The least size that every peer takes
        parts = [block[at : at + LEAST_FRAME_BYTES] for at in range(0, len(block), LEAST_FRAME_BYTES)]
        frames = []
        for number, part in enumerate(parts):
            kind = CONTINUATION if number else HEADERS
            flags = END_STREAM if ends and not number else 0
            if number == len(parts) - 1:
                flags |= END_HEADERS
            frames.append(encode_frame(kind, flags, stream_id, part))
        return frames

    def begin(self, frame: Frame) -> Headers | None:
        """A HEADERS frame. None: its block goes on. Raises `Http2Error`."""
        block = header_block(frame)
        if frame.flags & END_HEADERS:
            return self._decode(block)
        self._first = frame
        self._block = bytearray()
        self._add(block)
        return None

    def resume(self, frame: Frame) -> tuple[Frame, Headers] | None:
        """A CONTINUATION frame. At the end: the HEADERS frame, and its headers. Raises `Http2Error`."""
        first = self._first
        if first is None or frame.stream_id != first.stream_id:
            raise Http2Error(ErrorCode.PROTOCOL_ERROR, "CONTINUATION of nothing")
        self._add(frame.payload)
        if not frame.flags & END_HEADERS:
            return None
        self._first = None
        return first, self._decode(bytes(self._block))

    def _add(self, block: bytes) -> None:
        self._block += block
        if len(self._block) > HEADER_LIST_BYTES:
            raise Http2Error(ErrorCode.ENHANCE_YOUR_CALM, "a header block that does not end")

    def _decode(self, block: bytes) -> Headers:
        if len(block) > HEADER_LIST_BYTES:
            raise Http2Error(ErrorCode.ENHANCE_YOUR_CALM, "a header block that is too large")
        try:
            return [(name, value) for name, value in self._decoder.decode(block, raw=True)]
        except OversizedHeaderListError:
            raise Http2Error(ErrorCode.ENHANCE_YOUR_CALM, "headers that are too large") from None
        except HPACKError as error:
            raise Http2Error(ErrorCode.COMPRESSION_ERROR, type(error).__name__) from None
