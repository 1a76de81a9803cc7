"""The nginx that the operators' page configures, before a real Palaver."""

import asyncio
import contextlib
import json
import re
import secrets
from collections.abc import AsyncIterator, Iterator

import pytest

from palaver.gateway.generations.served import served_generations
from palaver.runtime.settings.gateway import GatewaySettings
from tests.harness.nginx import DEPLOYED, Nginx, running_nginx
from tests.harness.palaver_process import PalaverProcess, running_palaver
from tests.harness.users import ApiClient, api_client

PAGE = DEPLOYED.parents[2] / "docs" / "how-to" / "operate.md"
TRUSTED = {"PALAVER_GATEWAY__TRUSTED_PROXIES": "127.0.0.1"}
PADDING = b"\r\n" * 150_000
OFFERS = [
    b"Connection: Upgrade\r\nUpgrade: foo\r\n",
    b"Connection: Upgrade\r\nUpgrade: websocket\r\n",
    b"Connection: Upgrade\r\nUpgrade: websocket, foo\r\n",
    b"Connection: Upgrade\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nUpgrade: foo\r\n",
    b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQ\r\n",
]


@pytest.fixture(scope="module")
def proxied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[PalaverProcess, Nginx]]:
    """A Palaver, and the nginx before it."""
    directory = tmp_path_factory.mktemp("nginx")
    with (
        running_palaver(directory, env=TRUSTED) as running,
        running_nginx(directory / "proxy", int(running.base_url.rpartition(":")[2])) as nginx,
    ):
        yield running, nginx


@pytest.fixture
async def api(proxied: tuple[PalaverProcess, Nginx]) -> AsyncIterator[ApiClient]:
    """The way in through nginx."""
    async with api_client(proxied[1]) as found:
        yield found


def test_the_page_shows_the_file() -> None:
    """An operator would copy another configuration than the one that is tested."""
    (shown,) = re.findall(r"```nginx\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert shown == DEPLOYED.read_text(encoding="utf-8")


def test_upgrades_are_passed_on_where_sockets_are_and_nowhere_else() -> None:
    """Sockets of one generation could not be opened behind nginx, or any path would be offered upgrades."""
    config = DEPLOYED.read_text(encoding="utf-8")
    (pattern,) = re.findall(r"location ~ (\S+) \{", config)
    registry = served_generations(GatewaySettings())
    assert all(re.search(pattern, path) for path in registry.socket_paths())
    assert not any(re.search(pattern, path) for path in ("/", "/v2/ws/", "/v2/users", "/v1/ws", "/x/v2/ws"))
    blocks = re.findall(r"location (.*?) \{(.*?)\n    \}", config, re.DOTALL)
    assert {name for name, block in blocks if "$palaver_upgrade" in block} == {f"~ {pattern}"}


async def test_requests_and_sockets_pass(api: ApiClient) -> None:
    """Nobody could use a Palaver behind the proxy that its page recommends."""
    bob, alice = await api.sign_up("Bob"), await api.sign_up("Alice")
    chat = await bob.chat_with(alice)
    async with alice.socket_v2() as new, alice.socket_v1() as old:
        await bob.send(chat, "Hello!")
        assert (await new.receive_type("message"))["text"] == "Hello!"
        assert "Hello!" in json.dumps(await old.receive())
    assert [message["text"] for message in await bob.history(chat)] == ["Hello!"]
    assert (await api.call("GET", "/metrics")).status == 404


async def attack(nginx: Nginx, target: bytes, offer: bytes, smuggled: bytes, *, chunked: bool) -> bytes:
    """Sends a request whose body is a request, in two segments. Returns all that comes back."""
    reader, writer = await asyncio.open_connection("127.0.0.1", nginx.port)
    body = PADDING + smuggled
    framing = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % len(body)
    writer.write(target + b" HTTP/1.1\r\nHost: a\r\n" + offer + framing + b"\r\n\r\n")
    await writer.drain()
    await asyncio.sleep(0.05)
    found = b""
    with contextlib.suppress(ConnectionError, TimeoutError):
        writer.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if chunked else body)
        await writer.drain()
        async with asyncio.timeout(0.5):
            while piece := await reader.read(65_536):
                found += piece
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()
    return found


@pytest.mark.parametrize("target", [b"POST /healthz", b"POST /v2/ws", b"GET /v2/ws", b"POST /messenger/ws"])
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
async def test_smuggled_requests_reach_nobody(
    proxied: tuple[PalaverProcess, Nginx], api: ApiClient, target: bytes, chunked: bool
) -> None:
    """A stranger would get the answers to other users' requests, their tokens with them."""
    running, nginx = proxied
    smuggled_trace = secrets.token_hex(16)
    smuggled = (
        b"GET /v2/users/me HTTP/1.1\r\nHost: a\r\ntraceparent: 00-%b-0123456789abcdef-01\r\n\r\n"
        % smuggled_trace.encode()
    )
    for offer in OFFERS:
        answer = await attack(nginx, target, offer, smuggled, chunked=chunked)
        assert answer.count(b"HTTP/1.1 ") == 1, answer
        for _ in range(5):
            # Each answer names the trace of its own request
            trace = secrets.token_hex(16)
            headers = {"traceparent": f"00-{trace}-0123456789abcdef-00"}
            found = await api.call("GET", "/v2/users/me", headers=headers)
            assert found.status == 401
            assert found.headers["traceresponse"].split("-")[1] == trace
    assert smuggled_trace not in running.log("gateway")
