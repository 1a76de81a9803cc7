"""The private REST between services."""

import ssl
from collections import Counter
from urllib.parse import urlsplit

import aiohttp
import msgspec

from palaver.contracts.errors import INTERNAL, UNAVAILABLE, PalaverError, WireError, error_from_wire
from palaver.runtime.deployment_secret import HEADER
from palaver.runtime.fair_turns import too_many_at_once
from palaver.runtime.http.secret import CHALLENGE
from palaver.runtime.open_files import MOST_CONNECTIONS, inside_connections, open_files
from palaver.runtime.rate_limits import Key
from palaver.runtime.requester import SERVICE, requester
from palaver.runtime.telemetry.error_texts import error_text
from palaver.runtime.telemetry.spans import Attributes
from palaver.runtime.telemetry.tracing import trace_headers, tracer
from palaver.runtime.unix_sockets import SCHEME

# What part of the connections the calls of one user or address may hold at once. Those that hash a password
# hold one long
SHARE_OF_ONE = 4
IDLE_SECONDS = 30


class RestClient:
    """JSON calls to one private service. Errors come back as the `PalaverError` that was raised there.

    Made while an event loop runs. `base_url`: a URL, or `unix:` and the path of a socket. `timeout`: seconds
    for a whole call. `secret`: the deployment's, for all but health. `connections`: most of them, where the
    process may have so many. One requester cannot have all: calls beyond a quarter of them are
    `rate_limited`.
    """

    def __init__(
        self, base_url: str, timeout: float = 10.0, secret: str = "", connections: int = MOST_CONNECTIONS
    ) -> None:
        most = min(connections, inside_connections(open_files()))
        self._most_of_one = max(1, most // SHARE_OF_ONE)
        connector, self._base_url = connector_to(base_url, most)
        self._server = server_attributes(base_url)
        self._secret = {HEADER: secret} if secret else {}
        self._calls: Counter[Key] = Counter()
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=timeout), connector=connector
        )

    async def call(
        self,
        method: str,
        path: str,
        *,
        body: bytes | None = None,
        query: dict[str, str] | None = None,
        headers: dict[str, str] | None = None,
        route: str = "",
    ) -> bytes:
        """The body of a 2xx response. `route`: the template of a path that has ids in it.

        Raises the `PalaverError` in the response, and `unavailable` where there is none.
        """
        status, content = await self.request(
            method, path, body=body, query=query, headers=headers, route=route
        )
        if 200 <= status < 300:
            return content
        raise error_of_response(status, content)

    async def request(
        self,
        method: str,
        path: str,
        *,
        body: bytes | None = None,
        query: dict[str, str] | None = None,
        headers: dict[str, str] | None = None,
        route: str = "",
    ) -> tuple[int, bytes]:
        """Status and body of any response. Raises `unavailable` where there is none."""
        attributes: Attributes = {
            "http.request.method": method,
            "url.path": route or path,
            **self._server,
        }
        with tracer.span(f"{method} {route or path}", "client", attributes) as work:
            status, content = await self._exchange(
                method, self._base_url + path, body, query, {**trace_headers(), **(headers or {})}
            )
            attributes["http.response.status_code"] = status
            if status >= 500:
                work.error = attributes["error.type"] = str(status)
        return status, content

    async def _exchange(
        self,
        method: str,
        url: str,
        body: bytes | None,
        query: dict[str, str] | None,
        headers: dict[str, str],
    ) -> tuple[int, bytes]:
        key = requester()
        if self._calls[key] >= self._most_of_one and key != SERVICE:
            raise too_many_at_once()
        self._calls[key] += 1
        sent = {"content-type": "application/json", **headers, **self._secret}
        try:
            async with self._session.request(method, url, data=body, params=query, headers=sent) as response:
                if response.headers.get("www-authenticate") == CHALLENGE:
                    # Of ours, not of the user's, who would sign in again for nothing
                    raise away(url, "it does not accept our secret")
                return response.status, await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise away(url, error_text(error)) from error
        finally:
            self._calls[key] -= 1
            if not self._calls[key]:
                del self._calls[key]

    async def close(self) -> None:
        """Closes the connections."""
        await self._session.close()


def away(url: str, cause: str) -> PalaverError:
    """The error where the other service did not answer."""
    return PalaverError(UNAVAILABLE, "a part of the service is away", retry_after=1.0, url=url, cause=cause)


def connector_to(url: str, most: int) -> tuple[aiohttp.BaseConnector, str]:
    """What connects to a service, `most` times at once, and the base of the URLs of its requests."""
    if url.startswith(SCHEME):
        path = url.removeprefix(SCHEME)
        # The host is of no meaning there
        return (
            aiohttp.UnixConnector(path, limit=most, keepalive_timeout=IDLE_SECONDS),
            "http://localhost",
        )
    # Its own, since aiohttp was imported without the machine's certificates (see `lean_imports`)
    tls = ssl.create_default_context() if url.startswith("https:") else True
    return aiohttp.TCPConnector(limit=most, keepalive_timeout=IDLE_SECONDS, ssl=tls), url.rstrip("/")


def server_attributes(url: str) -> Attributes:
    """The server's address, as spans have it (OpenTelemetry's conventions)."""
    if url.startswith(SCHEME):
        return {"server.address": url.removeprefix(SCHEME)}
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return {"server.address": parts.hostname or "", "server.port": port}


def error_of_response(status: int, content: bytes) -> PalaverError:
    """The error in a private service's response."""
    try:
        return error_from_wire(msgspec.json.decode(content, type=WireError))
    except msgspec.DecodeError:
        return PalaverError(INTERNAL, status=status, bytes=len(content))
