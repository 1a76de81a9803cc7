"""Who may open a socket."""

import asyncio
import json
from typing import Any

import pytest

from palaver.contracts.ids import new_id, text_from_id
from palaver.gateway.bootstrap import gateway_rates
from palaver.gateway.generations.served import served_generations
from palaver.gateway.sockets.handshake import Handshakes
from palaver.gateway.sockets.registry import SocketRegistry
from palaver.gateway.sockets.upgrade import HandshakeRequest, read_request
from palaver.gateway.sockets.websocket import WebSocket
from palaver.runtime.http.instrumentation import REQUESTS
from palaver.runtime.settings.gateway import GatewaySettings
from palaver.runtime.tokens import TokenVerifier
from tests.harness.keys import TOKEN_SECONDS, Keys
from tests.harness.memory_transport import HANDSHAKE
from tests.harness.realtime import RevokedSessions
from tests.harness.tracing import recording_spans

SETTINGS = GatewaySettings(sockets_per_user=1)
USER = new_id()
PROBLEM_KEYS = ["code", "detail", "status", "title", "type"]


class Door:
    """Upgrades, and what stands behind them."""

    def __init__(self, verifier: TokenVerifier | None = None, **settings: Any) -> None:
        self.keys = Keys()
        self.ended = RevokedSessions()
        own = GatewaySettings(**{"sockets_per_user": 1, **settings})
        self.registry = SocketRegistry(own)
        self.upgrades = Handshakes(
            served_generations(SETTINGS),
            verifier or self.keys.verifier(),
            self.ended,
            self.registry,
            gateway_rates(own),
            None,  # type: ignore[arg-type] # nothing happens to these sockets
            access_log=True,
        )

    async def decide(
        self,
        path: str,
        authorization: str,
        more: dict[str, str] | None = None,
        address: str = "192.0.2.1",
        **query: str,
    ) -> WebSocket | bytes:
        """What is decided. `more`: headers."""
        headers = {**HANDSHAKE, **({"authorization": authorization} if authorization else {}), **(more or {})}
        return await self.upgrades.decide(HandshakeRequest(path, query, headers, address))


def refusal(answer: WebSocket | bytes) -> tuple[int, dict[str, object]]:
    """Status and body."""
    assert isinstance(answer, bytes)
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)


@pytest.mark.parametrize("path", ["/messenger/ws", "/v2/ws"])
async def test_a_good_token_opens_a_socket(path: str) -> None:
    """Nobody could connect, or not as their generation does: by a header, or by the query."""
    door = Door()
    assert isinstance(await door.decide(path, door.keys.token(USER)), WebSocket)
    assert isinstance(await door.decide(path, f"Bearer {door.keys.token(USER)}"), WebSocket)
    assert isinstance(await door.decide(path, "", token=door.keys.token(USER)), WebSocket)


async def test_a_refusal_has_the_shape_of_its_generation() -> None:
    """A client would take a bad token for a missing path, nor an old one read the answer at all."""
    door = Door()
    session = new_id()
    ended = door.keys.token(USER, session)
    door.ended.sessions.add(session)
    codes = []
    for path, token in (("/v2/ws", ""), ("/v2/ws", "bad"), ("/v2/ws", ended), ("/nowhere", ended)):
        status, body = refusal(await door.decide(path, token))
        codes.append((status, body["code"]))
    assert codes == [
        (401, "unauthenticated"),
        (401, "unauthenticated"),
        (401, "session_revoked"),
        (404, "not_found"),
    ]
    status, old = refusal(await door.decide("/messenger/ws", "bad"))
    assert (status, sorted(old)) == (401, ["code", "message"])


async def test_the_most_sockets_of_a_user_and_the_stop_are_refused_for_a_while() -> None:
    """One user could hold all sockets; or clients of a stopping gateway would wait for it."""
    door = Door()
    door.registry.of_user[USER] = 1
    assert refusal(await door.decide("/v2/ws", door.keys.token(USER)))[0] == 429
    door.upgrades.is_open = False
    assert refusal(await door.decide("/v2/ws", door.keys.token(USER)))[0] == 503


async def test_a_fault_of_ours_is_internal_and_kept() -> None:
    """What went wrong would reach the client, or nobody."""

    async def fetch() -> dict[str, object]:
        raise ValueError("secret")

    door = Door(TokenVerifier(fetch, TOKEN_SECONDS))
    with recording_spans() as recorded:
        status, body = refusal(await door.decide("/v2/ws", door.keys.token(USER)))
    assert (status, body["code"]) == (500, "internal")
    assert "secret" not in json.dumps(body)
    assert [span.error for span in recorded.named("GET /v2/ws")] == ["internal"]


async def test_an_upgrade_is_a_request_like_any_other(capsys: pytest.CaptureFixture[str]) -> None:
    """Operators would not see who connects, from what, and how often that fails."""
    door = Door()
    before = REQUESTS.labels("/v2/ws", "GET", 101, "v2")._value.get()
    with recording_spans(per_second=1) as recorded:
        await door.decide("/v2/ws", door.keys.token(USER))
    assert REQUESTS.labels("/v2/ws", "GET", 101, "v2")._value.get() == before + 1
    (span,) = recorded.named("GET /v2/ws")
    assert span.attributes["user.id"] == text_from_id(USER)
    assert span.attributes["client.address"] == "192.0.2.1"
    line = capsys.readouterr().out
    assert "/v2/ws" in line
    assert text_from_id(USER) in line


@pytest.mark.parametrize("path", ["/messenger/ws", "/v2/ws"])
async def test_new_sockets_of_a_user_are_limited(path: str) -> None:
    """One user who connects again and again would have all companions informed of it, again and again."""
    door = Door(sockets_per_minute=0.01, sockets_burst=2)
    answers = [await door.decide(path, door.keys.token(USER)) for _ in range(3)]
    assert [isinstance(one, WebSocket) for one in answers] == [True, True, False]
    assert refusal(answers[2])[0] == 429
    assert b"retry-after: " in answers[2].lower()
    assert isinstance(await door.decide(path, door.keys.token(new_id())), WebSocket)


async def test_new_sockets_of_an_address_are_limited() -> None:
    """One address with any number of bad tokens would keep the gateway busy with checking them."""
    door = Door(requests_per_second=0.01, requests_burst=2)
    statuses = [refusal(await door.decide("/v2/ws", "bad.to.ken"))[0] for _ in range(3)]
    assert statuses == [401, 401, 429]
    assert refusal(await door.decide("/v2/ws", "bad.to.ken", address="192.0.2.2"))[0] == 401


@pytest.mark.parametrize(
    ("changed", "status", "code"),
    [
        ({"sec-websocket-version": "8"}, 426, "upgrade_required"),
        ({"sec-websocket-version": "13, 8"}, 426, "upgrade_required"),
        ({"sec-websocket-version": ""}, 426, "upgrade_required"),
        ({"sec-websocket-key": ""}, 400, "malformed"),
        ({"sec-websocket-key": "AAAA"}, 400, "malformed"),
        ({"sec-websocket-key": "AAAAAAAAAAAAAAAAAAAAAAAA"}, 400, "malformed"),
        ({"sec-websocket-key": "AAAAAAAAAAAAAAAAAAAAA!=="}, 400, "malformed"),
        ({"sec-websocket-key": "AAAAAAAAAAAAAAAAAAAAAA==, AAAAAAAAAAAAAAAAAAAAAA=="}, 400, "malformed"),
        ({"sec-websocket-key": "ÄAAAAAAAAAAAAAAAAAAAAA=="}, 400, "malformed"),
    ],
)
async def test_what_is_no_handshake_is_refused_counted_and_traced_as_such(
    changed: dict[str, str], status: int, code: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Operators would see a 101 where a client got a refusal, whose reason it could not read."""
    door = Door()
    headers = {**HANDSHAKE, "authorization": door.keys.token(USER), **changed}
    for path, name, keys in (("/v2/ws", "v2", PROBLEM_KEYS), ("/messenger/ws", "v1", ["code", "message"])):
        before = REQUESTS.labels(path, "GET", status, name)._value.get()
        with recording_spans(per_second=1) as recorded:
            answer = await door.upgrades.decide(HandshakeRequest(path, {}, headers, "192.0.2.1"))
        assert refusal(answer)[0] == status
        assert sorted(set(refusal(answer)[1]) - {"trace_id"}) == keys
        assert REQUESTS.labels(path, "GET", status, name)._value.get() == before + 1
        (span,) = recorded.named(f"GET {path}")
        assert span.attributes["http.response.status_code"] == status
        assert f"status={status}" in capsys.readouterr().out
        assert isinstance(answer, bytes)
        if status == 426:
            assert b"sec-websocket-version: 13\r\n" in answer
            assert b"upgrade: websocket\r\n" in answer
        if name == "v2":
            assert refusal(answer)[1]["code"] == code


@pytest.mark.parametrize("path", ["/messenger/ws", "/v2/ws"])
async def test_pages_of_other_origins_open_no_socket_where_origins_are_set(path: str) -> None:
    """A page of anybody, opened beside the application, could talk as its user."""
    app = "https://app.example"
    door = Door(cors_origins=[app])
    token = door.keys.token(USER)
    assert isinstance(await door.decide(path, token), WebSocket)
    assert isinstance(await door.decide(path, token, {"origin": app}), WebSocket)
    for other in ("https://other.example", "http://app.example", "https://app.example.evil", "null", ""):
        status, body = refusal(await door.decide(path, token, {"origin": other}))
        assert status == 403
        assert body.get("code") == ("forbidden" if path == "/v2/ws" else 0)
    for origins in ([], ["*"]):
        door = Door(cors_origins=origins)
        token = door.keys.token(USER)
        assert isinstance(await door.decide(path, token, {"origin": "https://other.example"}), WebSocket)


async def test_a_socket_has_the_address_that_a_request_has() -> None:
    """Operators would see the proxy as every socket's client, or what a client made up."""
    for trusted, address in (([], "192.0.2.1"), (["192.0.2.1"], "203.0.113.7")):
        door = Door(trusted_proxies=trusted)
        with recording_spans(per_second=1) as recorded:
            await door.decide("/v2/ws", door.keys.token(USER), {"x-forwarded-for": "<b>, 203.0.113.7:5"})
        (span,) = recorded.named("GET /v2/ws")
        assert span.attributes["client.address"] == address


async def test_a_refusal_keeps_browsers_and_caches_off_it() -> None:
    """A refused upgrade is a response like any other, and could be framed or kept."""
    answer = await Door().decide("/v2/ws", "bad")
    assert isinstance(answer, bytes)
    for header in (b"cache-control: no-store", b"x-content-type-options: nosniff", b"frame-ancestors 'none'"):
        assert header in answer


async def test_a_refusal_names_its_trace() -> None:
    """Whoever is refused a socket could not say which request of all in the logs it was."""
    with recording_spans(per_second=1) as recorded:
        _, body = refusal(await Door().decide("/v2/ws", "bad"))
    (span,) = recorded.named("GET /v2/ws")
    assert body["trace_id"] == span.trace_id


async def test_a_program_that_opens_sockets_is_shown_without_commands(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A stranger could command the terminal of whoever reads the log."""
    door = Door()
    with recording_spans(per_second=1) as recorded:
        await door.decide("/v2/ws", door.keys.token(USER), {"user-agent": "browser\x9b2J\x85"})
    (span,) = recorded.named("GET /v2/ws")
    assert span.attributes["user_agent.original"] == "browser2J"
    line = capsys.readouterr().out
    assert "browser2J" in line
    assert "\x9b" not in line


@pytest.mark.parametrize(
    "target",
    ["http://a/v2/ws?token=t", "HTTPS://a:8/v2/ws?token=t", "/v2/ws?token=t", "/v2/%77s?token=t"],
)
def test_a_target_has_several_forms(target: str) -> None:
    """Clients that send a whole address, or a letter encoded, which servers must take (RFC 9112 §3.2.2,
    RFC 3986 §6.2.2.2), would find no sockets here."""
    head = f"GET {target} HTTP/1.1\r\nhost: a\r\n\r\n".encode()
    request = read_request(head, asyncio.Transport())
    assert (request.path, request.query) == ("/v2/ws", {"token": "t"})
