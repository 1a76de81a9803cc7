"""The head of an HTTP/1.1 request: which are served, and which are the upgrade to a WebSocket."""

import re
from collections.abc import Sequence

from palaver.contracts.errors import HEAD_TOO_LARGE, MALFORMED, METHOD_NOT_ALLOWED, PalaverError

# Names in lower case
Headers = Sequence[tuple[bytes, bytes]]

MOST_HEADERS = 100

# RFC 3986 §3.2.2, less the comma, by which proxies join two headers of one name
_HOST = re.compile(rb"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9\-._~!$&'()*+;=%]*)(:[0-9]*)?")
# What says where a message ends, and what becomes of its connection
_FRAMING = frozenset((b"connection", b"content-length", b"expect", b"host", b"transfer-encoding", b"upgrade"))


def check_head(method: bytes, version: str, headers: Headers) -> None:
    """Raises `PalaverError` for a request that cannot be served, or that others could read otherwise."""
    if version not in ("1.1", "1.0"):
        raise PalaverError(MALFORMED, "this is not HTTP/1.1")
    if method == b"CONNECT":
        raise PalaverError(METHOD_NOT_ALLOWED, "this is no proxy")
    if len(headers) > MOST_HEADERS:
        raise PalaverError(HEAD_TOO_LARGE, f"a request has at most {MOST_HEADERS} headers")
    hosts = 0
    for name, value in headers:
        if name == b"host":
            hosts += 1
            if not _HOST.fullmatch(value):
                raise PalaverError(MALFORMED, "`Host` has no host")
        elif name == b"transfer-encoding" and (version == "1.0" or value.lower() != b"chunked"):
            # Others might see its end elsewhere (RFC 9112 §6.1)
            raise PalaverError(MALFORMED, "the only transfer coding is `chunked`, in HTTP/1.1")
    if hosts > 1 or (hosts == 0 and version == "1.1"):
        raise PalaverError(MALFORMED, "a request has one `Host`")


def asks_for_websocket(method: bytes, version: str, headers: Headers) -> bool:
    """Whether a request that offers an upgrade has no body, and offers exactly a WebSocket."""
    if method != b"GET" or version != "1.1":
        return False
    offered = []
    for name, value in headers:
        if name == b"upgrade":
            offered.append(value.lower())
        elif name == b"transfer-encoding" or (name == b"content-length" and value.strip(b"0")):
            return False
    return offered == [b"websocket"]


def without_framing(headers: Headers) -> list[tuple[bytes, bytes]]:
    """The headers of a request that is refused, as those of one without a body that closes its connection."""
    kept = [one for one in headers[:MOST_HEADERS] if one[0] not in _FRAMING]
    return [*kept, (b"host", b""), (b"connection", b"close")]
