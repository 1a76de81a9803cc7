"""What the peer of an HTTP/2 connection has done."""

from typing import NamedTuple

from palaver.runtime.grpc.http2.header_blocks import Headers


class SettingsReceived(NamedTuple):
    """The peer speaks HTTP/2: its first SETTINGS are here."""


class HeadersReceived(NamedTuple):
    """A head, or trailers. `ends`: the peer sends nothing more on the stream."""

    stream_id: int
    headers: Headers
    ends: bool


class DataReceived(NamedTuple):
    """Bytes of a stream. `size`: what to pass to `consume` once the peer may send as much again."""

    stream_id: int
    data: bytes
    size: int
    ends: bool


class StreamReset(NamedTuple):
    """The peer gave a stream up."""

    stream_id: int
    code: int


class PeerLeaving(NamedTuple):
    """GOAWAY: the peer takes no streams above `last_stream_id`."""

    last_stream_id: int
    code: int


Event = SettingsReceived | HeadersReceived | DataReceived | StreamReset | PeerLeaving
