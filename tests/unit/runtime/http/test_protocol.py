"""Where a request ends, by bytes that are fed to one connection: smuggling, bounds and slow clients."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palaver.runtime.http import protocol
from tests.harness.http_connection import KEEP_ALIVE_SECONDS, HttpConnection

HOST = b"Host: a\r\n"
GET = b"GET /next HTTP/1.1\r\n" + HOST + b"\r\n"
SMUGGLED = b"GET /smuggled HTTP/1.1\r\n" + HOST + b"\r\n"
NEXT = ("GET", "/next", b"")
CHUNKED = b"Transfer-Encoding: chunked\r\n"
OFFERS = [
    b"Connection: Upgrade\r\nUpgrade: foo\r\n",
    b"Connection: Upgrade\r\nUpgrade: websocket\r\n",
    b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQ\r\n",
    b"Connection: Upgrade\r\nConnection: keep-alive\r\nUpgrade: websocket\r\n",
    b"Connection: Upgrade\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n",
    b"Connection: Upgrade\r\nUpgrade: websocket, foo\r\n",
    b"Connection: Upgrade\r\nUpgrade: websocket\r\nUpgrade: foo\r\n",
    b"Connection: Upgrade\r\nUpgrade: foo\r\nUpgrade: websocket\r\n",
    b"Upgrade: websocket\r\n",
    b"Connection: Upgrade\r\n",
    b"Connection: Upgrade\r\nUpgrade:\r\n",
    b"connection: keep-alive , uPGRADE\r\nupgrade: TLS/1.0\r\n",
]
HANDSHAKE = b"GET /ws HTTP/1.1\r\n" + HOST + b"Connection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n\r\n"


def pieces_of(stream: bytes, how: str) -> list[bytes]:
    """A stream in one piece, in bytes, or cut behind its first head."""
    if how == "bytes":
        return [stream[at : at + 1] for at in range(len(stream))]
    end = stream.index(b"\r\n\r\n") + 4
    return [stream] if how == "one" else [stream[:end], stream[end:]]


@pytest.mark.parametrize("how", ["one", "bytes", "two"])
@pytest.mark.parametrize("offer", OFFERS)
async def test_what_follows_an_offer_is_its_body_and_no_request(offer: bytes, how: str) -> None:
    """A stranger's body would be answered as a request, behind a proxy to somebody else."""
    for body, framing in (
        (SMUGGLED, b"Content-Length: %d\r\n" % len(SMUGGLED)),
        (SMUGGLED, CHUNKED),
        (b"", b""),
    ):
        connection = HttpConnection()
        sent = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if framing == CHUNKED else body
        head = b"POST /a HTTP/1.1\r\n" + HOST + offer + framing + b"\r\n"
        await connection.feed(*pieces_of(head + sent + GET, how))
        assert connection.requests == [("POST", "/a", body), NEXT]
        assert connection.statuses == [200, 200]
        assert not connection.is_gone
        assert not connection.upgraded


@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"DELETE", b"OPTIONS"])
async def test_only_a_get_without_a_body_is_upgraded(method: bytes) -> None:
    """A body behind a handshake would be read as frames here, and as a body by a proxy."""
    length = b"Content-Length: %d\r\n" % len(SMUGGLED)
    for framing in (length, CHUNKED):
        connection = HttpConnection()
        offer = b"Connection: Upgrade\r\nUpgrade: websocket\r\n"
        body = SMUGGLED if framing == length else b"%x\r\n%b\r\n0\r\n\r\n" % (len(SMUGGLED), SMUGGLED)
        await connection.feed(method + b" /ws HTTP/1.1\r\n" + HOST + offer + framing + b"\r\n", body, GET)
        assert connection.requests == [(method.decode(), "/ws", SMUGGLED), NEXT]
        assert not connection.upgraded
    old = HttpConnection()
    await old.feed(b"GET /ws HTTP/1.0\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
    assert (old.requests, old.upgraded) == ([("GET", "/ws", b"")], [])


async def test_a_handshake_gets_the_connection_and_what_follows() -> None:
    """Sockets could not be opened, or lost the frames of a client that does not wait."""
    for pieces in ([HANDSHAKE + b"frames"], [HANDSHAKE, b"frames"], [HANDSHAKE + b"fra", b"mes"]):
        connection = HttpConnection()
        await connection.feed(GET, *pieces)
        assert connection.requests == [NEXT]
        assert connection.upgraded[0].startswith(b"GET /ws HTTP/1.1\r\n")
        assert b"".join(connection.upgraded[1:]) == b"frames"


async def test_a_handshake_behind_an_unanswered_request_is_a_request() -> None:
    """The first response would be written between the frames of the socket."""
    connection = HttpConnection()
    await connection.feed(GET + HANDSHAKE)
    assert connection.requests == [NEXT, ("GET", "/ws", b"")]
    assert not connection.upgraded


async def test_connect_is_refused_with_what_follows() -> None:
    """A tunnel's bytes would be answered as requests."""
    connection = HttpConnection()
    await connection.feed(b"CONNECT a:443 HTTP/1.1\r\n" + HOST + b"\r\n" + SMUGGLED, SMUGGLED)
    assert (connection.requests, connection.statuses) == ([], [405])
    assert connection.responses()[0].headers["connection"] == "close"


@pytest.mark.parametrize("how", ["one", "bytes", "two"])
@pytest.mark.parametrize(
    "framing",
    [
        b"Content-Length: 5\r\n" + CHUNKED,
        CHUNKED + b"Content-Length: 5\r\n",
        b"Content-Length: 5\r\nContent-Length: 5\r\n",
        b"Content-Length: 5\r\nContent-Length: 6\r\n",
        b"Content-Length: 5, 5\r\n",
        b"Content-Length: +5\r\n",
        b"Content-Length: 0x5\r\n",
        b"Content-Length: -1\r\n",
        b"Content-Length:\r\n",
        b"Content-Length : 5\r\n",
        b"Content-Length: 99999999999999999999\r\n",
        b"Transfer-Encoding: chunked, identity\r\n",
        b"Transfer-Encoding: gzip, chunked\r\n",
        b"Transfer-Encoding: identity\r\n",
        b"Transfer-Encoding: xchunked\r\n",
        b"Transfer-Encoding: \x0bchunked\r\n",
        CHUNKED + CHUNKED,
        b"Transfer-Encoding:\r\n chunked\r\n",
        b"X: a\r\n folded\r\n",
        b"X: a\nContent-Length: 5\r\n",
        b"X: a\rContent-Length: 5\r\n",
        b"X: a\x00b\r\n",
        b"no colon\r\n",
        b"Host: b\r\n",
        b"Connection: Upgrade\r\nUpgrade: foo\r\nContent-Length: 5\r\n" + CHUNKED,
        b"Connection: Upgrade\r\nUpgrade: foo\r\nTransfer-Encoding: gzip\r\n",
    ],
)
async def test_a_head_that_others_may_read_otherwise_ends_its_connection(framing: bytes, how: str) -> None:
    """A proxy and the gateway would not agree where a request ends."""
    connection = HttpConnection()
    await connection.feed(
        *pieces_of(b"POST /a HTTP/1.1\r\n" + HOST + framing + b"\r\n" + SMUGGLED + GET, how)
    )
    assert (connection.requests, connection.statuses) == ([], [400])
    assert connection.responses()[0].headers["connection"] == "close"
    assert connection.is_ended


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a, b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
        b"GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n",
        b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"GET / HTTP/2.0\r\nHost: a\r\n\r\n",
        b"GET /\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"GET http://h HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nHost: h\r\n\r\n",
        b"NONE / HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET / HTTP/1.1\nHost: h\n\n",
    ],
)
async def test_what_is_no_request_is_400(head: bytes) -> None:
    """A client would not learn what is wrong, or one request would be of two hosts."""
    connection = HttpConnection()
    await connection.feed(head, GET)
    assert (connection.requests, connection.statuses) == ([], [400])
    assert connection.is_ended


@pytest.mark.parametrize(
    "body",
    [
        b"5\nhello",
        b"5\r\nhello!\r\n",
        b"x\r\n",
        b"5 \r\nhello",
        b"FFFFFFFFFFFFFFFFF\r\n",
        b"0\r\nContent-Length: 5\r\n\r\n",
    ],
)
async def test_a_broken_body_is_400_and_the_end(body: bytes) -> None:
    """What follows a body whose end is not known would be answered."""
    for offer in (b"", OFFERS[0]):
        connection = HttpConnection()
        await connection.feed(b"POST /a HTTP/1.1\r\n" + HOST + offer + CHUNKED + b"\r\n", body, SMUGGLED, GET)
        assert (connection.requests, connection.statuses) == ([], [400])
        assert connection.is_ended


async def test_legal_heads_are_served() -> None:
    """Clients that follow the standard would be refused."""
    connection = HttpConnection()
    await connection.feed(
        b"\r\nPOST /a HTTP/1.1\r\nHOST:[::1]:80\r\nContent-Length: 5 \t\r\nX: \xe9 \r\n\r\nhello"
        b"GET http://a/b?c=%20 HTTP/1.1\r\nHost:\r\n\r\n"
        b"GET /c HTTP/1.0\r\n\r\n"
    )
    assert connection.requests == [("POST", "/a", b"hello"), ("GET", "/b", b""), ("GET", "/c", b"")]
    assert dict(connection.scopes[0]["headers"])[b"content-length"] == b"5"
    assert connection.is_gone


async def test_trailers_are_dropped() -> None:
    """A trailer would pass for a header that a proxy had checked."""
    for offer in (b"", OFFERS[0]):
        connection = HttpConnection()
        head = b"POST /a HTTP/1.1\r\n" + HOST + offer + CHUNKED + b"\r\n"
        trailers = b"0\r\nAuthorization: other\r\nX-Forwarded-For: 1.2.3.4\r\nExpect: 100-continue\r\n\r\n"
        await connection.feed(head, b"2\r\nab\r\n" + trailers + GET)
        assert connection.requests == [("POST", "/a", b"ab"), NEXT]
        names = {name for scope in connection.scopes for name, _ in scope["headers"]}
        assert names <= {b"host", b"transfer-encoding", b"connection"}


@pytest.mark.parametrize("size", [16, 1_000, 250_000])
@pytest.mark.parametrize(
    ("start", "endless"),
    [
        (b"GET /", b"a"),
        (b"GET / HTTP/1.1\r\n" + HOST + b"X: ", b"a"),
        (b"GET / HTTP/1.1\r\n" + HOST, b"a"),
        (b"GET / HTTP/1.1\r\n" + HOST, b"a: b\r\n"),
        (b"", b"\r\n"),
        (b"POST / HTTP/1.1\r\n" + HOST + CHUNKED + b"\r\n0\r\nX: ", b"a"),
        (b"POST / HTTP/1.1\r\n" + HOST + CHUNKED + b"\r\n0\r\n", b"a: b\r\n"),
        (b"POST / HTTP/1.1\r\n" + HOST + CHUNKED + b"\r\n5;", b"a"),
    ],
)
async def test_what_has_no_end_is_refused_while_it_comes(start: bytes, endless: bytes, size: int) -> None:
    """One client's headers would fill the memory, and make everybody wait."""
    connection = HttpConnection()
    fed = 0
    connection.protocol.data_received(start)
    while not connection.protocol._refusal:
        piece = (endless * size)[:size]
        fed += len(piece)
        connection.protocol.data_received(piece)
        assert fed <= protocol.HEAD_BYTES + protocol.PIECE_BYTES + size
    await connection.feed(GET)
    assert (connection.requests, connection.statuses) == ([], [431])
    assert connection.is_ended


async def test_the_bounds_of_a_head_are_exact() -> None:
    """A head within the documented bounds would be refused, or one beyond them served."""
    begin = b"GET /a HTTP/1.1\r\n" + HOST + b"X: "
    for more, expected in ((0, 200), (1, 431)):
        filler = b"a" * (protocol.HEAD_BYTES - len(begin) - 4 + more)
        for how in ("one", "bytes"):
            connection = HttpConnection()
            await connection.feed(*pieces_of(begin + filler + b"\r\n\r\n", how))
            assert connection.statuses == [expected]
    for count, expected in ((99, 200), (100, 431)):
        connection = HttpConnection()
        await connection.feed(b"GET /a HTTP/1.1\r\n" + HOST + b"X: a\r\n" * count + b"\r\n")
        assert connection.statuses == [expected]


async def test_a_refusal_waits_for_the_responses_before_it() -> None:
    """A client would take the refusal of its second request for the response to its first."""
    connection = HttpConnection()
    await connection.feed(GET + GET + b"GET / HTTP/9.9\r\n\r\n")
    assert connection.statuses == [200, 200, 400]
    assert connection.is_ended


async def test_the_client_of_a_refusal_may_go_on_writing_for_a_while() -> None:
    """A reset would take the response away from a client that still writes."""
    connection = HttpConnection()
    await connection.feed(b"GET / HTTP/1.1\r\n\r\n", b"a" * 100_000)
    await connection.pass_seconds(protocol.LINGER_SECONDS, b"a" * 1_000)
    assert connection.is_ended
    assert not connection.is_gone
    await connection.pass_seconds(1)
    assert connection.is_gone


async def test_a_head_comes_in_time() -> None:
    """Silent connections would hold the door until it is full."""
    silent, begun, dripping = HttpConnection(), HttpConnection(), HttpConnection()
    await silent.pass_seconds(protocol.HEAD_SECONDS)
    assert not silent.is_gone
    await silent.pass_seconds(1)
    assert (silent.is_gone, silent.written) == (True, b"")
    await begun.feed(GET, b"GET /")
    await begun.pass_seconds(protocol.HEAD_SECONDS)
    assert begun.statuses == [200]
    await begun.pass_seconds(1)
    assert begun.statuses == [200, 408]
    await dripping.feed(b"GET /")
    await dripping.pass_seconds(protocol.HEAD_SECONDS + 1, b"a")
    assert dripping.statuses == [408]


async def test_an_idle_connection_is_kept_as_long_as_promised() -> None:
    """A proxy's next request would meet a connection that is just closed."""
    connection = HttpConnection()
    await connection.feed(GET)
    await connection.pass_seconds(KEEP_ALIVE_SECONDS - 1, b"\r\n")
    await connection.feed(GET)
    assert connection.statuses == [200, 200]
    await connection.pass_seconds(KEEP_ALIVE_SECONDS, b"\r\n")
    assert not connection.is_gone
    await connection.pass_seconds(1)
    assert connection.is_gone


async def test_a_body_may_be_slow_and_not_slower() -> None:
    """Dripping bodies would hold the door; or a mobile phone could not upload."""
    head = b"POST /a HTTP/1.1\r\n" + HOST + b"Content-Length: 100000\r\n\r\n"
    steady, dripping = HttpConnection(), HttpConnection()
    await steady.feed(head)
    await steady.pass_seconds(300, b"a" * 300)
    assert not steady.written
    await steady.feed(b"a" * 10_000)
    assert steady.statuses == [200]
    await dripping.feed(head)
    await dripping.pass_seconds(protocol.BODY_SECONDS + 1, b"a" * 200)
    assert dripping.statuses == [408]
    assert dripping.is_ended


async def test_a_body_that_nobody_reads_ends() -> None:
    """A client whose request was answered early could send for ever."""
    connection = HttpConnection(answers_early=True)
    await connection.feed(b"POST /a HTTP/1.1\r\n" + HOST + CHUNKED + b"\r\n")
    assert connection.statuses == [200]
    await connection.pass_seconds(protocol.DRAIN_SECONDS + 1, b"400\r\n" + b"a" * 1_024 + b"\r\n")
    assert connection.is_gone


async def test_a_client_that_reads_nothing_loses_its_connection() -> None:
    """Responses that nobody reads would stay in memory."""
    connection = HttpConnection()
    await connection.feed(GET)
    connection.unread = 1_000_000
    await connection.pass_seconds(protocol.STALLED_SECONDS)
    assert not connection.is_gone
    await connection.pass_seconds(1)
    assert connection.is_gone


def plain(offer: bytes, kind: str, body: bytes) -> bytes:
    """A request with a body that is framed in one of the ways."""
    if kind == "none":
        return b"DELETE /none HTTP/1.1\r\n" + HOST + offer + b"\r\n"
    if kind == "length":
        length = b"Content-Length: %d\r\n\r\n" % len(body)
        return b"POST /length HTTP/1.1\r\n" + offer + HOST + length + body
    chunks = b"".join(
        b"%x;x=y\r\n%b\r\n" % (len(body[at : at + 7]), body[at : at + 7]) for at in range(0, len(body), 7)
    )
    return b"PUT /chunked HTTP/1.1\r\n" + HOST + CHUNKED + offer + b"\r\n" + chunks + b"0\r\nT: x\r\n\r\n"


REQUESTS = st.builds(
    lambda offer, kind, body: (plain(offer, kind, body), kind, body if kind != "none" else b""),
    st.sampled_from([b"", *OFFERS]),
    st.sampled_from(["none", "length", "chunked"]),
    st.sampled_from([b"", b"\r\n" * 20, SMUGGLED, b"0\r\n\r\n" + SMUGGLED]),
)


@given(st.lists(REQUESTS, min_size=1, max_size=5), st.lists(st.integers(0, 2_000), max_size=12))
async def test_any_split_of_a_stream_gives_the_same_requests(
    requests: list[tuple[bytes, str, bytes]], cuts: list[int]
) -> None:
    """Where the network cuts would decide what a client has asked for."""
    stream = b"".join(request for request, _, _ in requests)
    ends = sorted({min(cut, len(stream)) for cut in cuts} | {0, len(stream)})
    connection = HttpConnection()
    await connection.feed(*(stream[a:b] for a, b in itertools.pairwise(ends)))
    assert [(path, body) for _, path, body in connection.requests] == [
        (f"/{kind}", body) for _, kind, body in requests
    ]
    assert connection.statuses == [200] * len(requests)
