"""The private REST between services."""

import contextlib
import ssl
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import aiohttp
import msgspec

from palaver.contracts.errors import INTERNAL, UNAVAILABLE, PalaverError, WireError, error_from_wire
from palaver.runtime.deployment_secret import HEADER
from palaver.runtime.fair_turns import too_many_at_once
from palaver.runtime.http.secret import CHALLENGE
from palaver.runtime.open_files import MOST_CONNECTIONS, inside_connections, open_files
from palaver.runtime.rate_limits import Key
from palaver.runtime.replicas.addresses import Address
from palaver.runtime.replicas.replicas import Replicas
from palaver.runtime.requester import SERVICE, requester
from palaver.runtime.telemetry.error_texts import error_text
from palaver.runtime.telemetry.spans import Attributes
from palaver.runtime.telemetry.tracing import trace_headers, tracer

# What part of the connections the calls of one user or address may hold at once. Those that hash a password
# hold one long
SHARE_OF_ONE = 4
IDLE_SECONDS = 30
# A replica takes a connection within it, also on a busy machine
CONNECT_SECONDS = 1.5
AWAY = "a part of the service is away"


class RestClient:
    """JSON calls to one private service. Errors come back as the `PalaverError` that was raised there.

    Made while an event loop runs. `base_urls`: a URL, or `unix:` and the path of a socket; several with
    commas. `timeout`: seconds for a whole call; `first_timeout`: the same where the call will be repeated,
    and another replica may be quicker. `secret`: the deployment's, for all but health. `connections`: most of
    them, where the process may have so many. One requester cannot have all: calls beyond a quarter of them
    are `rate_limited`. `name`: the service's, for metrics; empty: none.

    Calls spread over the replicas. One that cannot be connected to is passed over within the call. A call
    whose response does not come is not made again here: it may have been executed.
    """

    def __init__(
        self,
        base_urls: str,
        timeout: float = 10.0,
        secret: str = "",
        connections: int = MOST_CONNECTIONS,
        name: str = "",
        first_timeout: float = 1.5,
    ) -> None:
        self.timeout = timeout
        self._first_timeout = first_timeout
        self.replicas = Replicas(base_urls, name)
        self._connections = min(connections, inside_connections(open_files()))
        self._most_of_one = max(1, self._connections // SHARE_OF_ONE)
        self._secret = {HEADER: secret} if secret else {}
        self._calls: Counter[Key] = Counter()
        # Its own, since aiohttp was imported without the machine's certificates (see `lean_imports`)
        self._tls = ssl.create_default_context() if "https:" in base_urls else True
        # By the path of a Unix socket; all others share one
        self._sessions: dict[str, aiohttp.ClientSession] = {}

    async def call(
        self,
        method: str,
        path: str,
        *,
        body: bytes | None = None,
        query: dict[str, str] | None = None,
        headers: dict[str, str] | None = None,
        route: str = "",
        will_repeat: bool = False,
    ) -> bytes:
        """The body of a 2xx response. `route`: the template of a path that has ids in it. `will_repeat`: who
        calls makes the call again where there is no response.

        Raises the `PalaverError` in the response, and `NoResponseError` where there is none.
        """
        status, content = await self.request(
            method, path, body=body, query=query, headers=headers, route=route, will_repeat=will_repeat
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
        will_repeat: bool = False,
        at: Address | None = None,
    ) -> tuple[int, bytes]:
        """Status and body of any response. `at`: the one replica to ask. Raises `NoResponseError`."""
        attributes: Attributes = {"http.request.method": method, "url.path": route or path}
        with (
            tracer.span(f"{method} {route or path}", "client", attributes) as work,
            self._counted(),
        ):
            given = Exchange(method, path, body, query, {**trace_headers(), **(headers or {})})
            order = [at] if at is not None else await self.replicas.in_order()
            seconds = self._first_timeout if will_repeat and len(order) > 1 else self.timeout
            status, content = await self._first_exchange(order, given, seconds, attributes)
            attributes["http.response.status_code"] = status
            if status >= 500:
                work.error = attributes["error.type"] = str(status)
        return status, content

    async def close(self) -> None:
        """Closes the connections."""
        for session in self._sessions.values():
            await session.close()

    @contextlib.contextmanager
    def _counted(self) -> Iterator[None]:
        """Raises `rate_limited` where the requester has too many calls."""
        key = requester()
        if self._calls[key] >= self._most_of_one and key != SERVICE:
            raise too_many_at_once()
        self._calls[key] += 1
        try:
            yield
        finally:
            self._calls[key] -= 1
            if not self._calls[key]:
                del self._calls[key]

    async def _first_exchange(
        self, order: Sequence[Address], given: "Exchange", seconds: float, attributes: Attributes
    ) -> tuple[int, bytes]:
        """The response of the first replica that can be connected to."""
        # Where there is another one, a replica that lets connections hang is not waited for
        connect = CONNECT_SECONDS if len(order) > 1 else None
        limits = aiohttp.ClientTimeout(total=seconds, sock_connect=connect)
        failure: Exception = OSError("no address is known")
        for address in order:
            attributes.update(server_attributes(address))
            try:
                response = await self._exchange(address, given, limits)
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                self.replicas.note_failure(address)
                failure = error
                if not isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError):
                    break
            else:
                self.replicas.note_success(address)
                return response
        place = order[-1].text if len(order) == 1 else self.replicas.setting
        raise NoResponseError(place, error_text(failure)) from failure

    async def _exchange(
        self, address: Address, given: "Exchange", limits: aiohttp.ClientTimeout
    ) -> tuple[int, bytes]:
        headers = {"content-type": "application/json", **given.headers, **self._secret}
        if address.entry.is_name:
            # A proxy in between knows the replica by its name
            headers["host"] = address.authority
        async with self._session_to(address).request(
            given.method,
            address.base_url + given.path,
            data=given.body,
            params=given.query,
            headers=headers,
            timeout=limits,
            server_hostname=address.entry.host if address.entry.is_name else None,
        ) as response:
            if response.headers.get("www-authenticate") == CHALLENGE:
                # Of ours, not of the user's, who would sign in again for nothing
                raise PalaverError(
                    UNAVAILABLE,
                    AWAY,
                    retry_after=1.0,
                    url=address.text,
                    cause="it does not accept our secret",
                )
            return response.status, await response.read()

    def _session_to(self, address: Address) -> aiohttp.ClientSession:
        path = "" if address.entry.host else address.entry.path
        session = self._sessions.get(path)
        if session is None:
            most = self._connections
            connector: aiohttp.BaseConnector = (
                aiohttp.UnixConnector(path, limit=most, keepalive_timeout=IDLE_SECONDS)
                if path
                else aiohttp.TCPConnector(limit=most, keepalive_timeout=IDLE_SECONDS, ssl=self._tls)
            )
            session = self._sessions[path] = aiohttp.ClientSession(connector=connector)
        return session


class Exchange(NamedTuple):
    """A request, wherever it goes."""

    method: str
    path: str
    body: bytes | None
    query: dict[str, str] | None
    headers: dict[str, str]


class NoResponseError(PalaverError):
    """Nobody responded: `unavailable`. Whether the call was executed is not known."""

    def __init__(self, place: str, cause: str) -> None:
        super().__init__(UNAVAILABLE, AWAY, retry_after=1.0, url=place, cause=cause)


def server_attributes(address: Address) -> Attributes:
    """The server's address, as spans have it (OpenTelemetry's conventions)."""
    if not address.entry.host:
        return {"server.address": address.entry.path}
    return {"server.address": address.host, "server.port": address.entry.port}


def error_of_response(status: int, content: bytes) -> PalaverError:
    """The error in a private service's response."""
    try:
        return error_from_wire(msgspec.json.decode(content, type=WireError))
    except msgspec.DecodeError:
        return PalaverError(INTERNAL, status=status, bytes=len(content))
