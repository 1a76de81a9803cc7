"""Accepts connections, within bounds: in all, by address, and by the descriptors that the process has.

uvloop's own server ends for good, and in silence, when it accepts while no descriptor is left.
"""

import asyncio
import socket
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import prometheus_client

from palaver.runtime.addresses import address_key
from palaver.runtime.http.protocol import HttpProtocol
from palaver.runtime.open_files import open_files, reserved_files
from palaver.runtime.telemetry.configuration import log

OPEN = prometheus_client.Gauge("palaver_http_connections", "Open connections of clients, sockets included.")
REFUSED = prometheus_client.Counter(
    "palaver_http_connections_refused",
    "Connections closed as soon as they were accepted, by what had reached its bound.",
    ["bound"],
)
# From the start: an alert on a rate sees no first step
for _bound in ("files", "address", "total"):
    REFUSED.labels(_bound)

BACKLOG = 2_048
# Clients that come in one turn of the event loop; the others wait in the backlog
ACCEPTS_PER_TURN = 16
PAUSE_SECONDS = 1.0
# Refusals are counted; one in so many seconds is a line
LOG_SECONDS = 10.0


def exempts_nobody(_host: str) -> bool:
    """See `Bounds.is_exempt`."""
    return False


@dataclass(frozen=True, slots=True)
class Bounds:
    """Most connections in all and of one address. `is_exempt`: whether many clients come from an address."""

    total: int = 20_000
    per_address: int = 20_000
    is_exempt: Callable[[str], bool] = exempts_nobody


class ClientSocket(socket.socket):
    """An accepted connection. Calls `on_gone` when its descriptor goes: uvloop detaches it then, and asyncio
    closes it."""

    key = ""
    on_gone: Callable[["ClientSocket"], None] | None = None

    def detach(self) -> int:
        """See `socket.socket`."""
        self._notify()
        return super().detach()

    def close(self) -> None:
        """See `socket.socket`."""
        self._notify()
        super().close()

    def _notify(self) -> None:
        on_gone, self.on_gone = self.on_gone, None
        if on_gone is not None:
            on_gone(self)


class Listener:
    """Accepts on `listener` from `start` to `close`, and gives each connection a protocol.

    A client that finds a bound reached takes the place of the oldest connection of that bound that has not
    sent a request yet, so that silent ones do not shut the door. Within a running event loop.
    """

    def __init__(
        self, listener: socket.socket, make_protocol: Callable[[], HttpProtocol], bounds: Bounds
    ) -> None:
        self._listener = listener
        self._make_protocol = make_protocol
        files = open_files()
        reserved = reserved_files(files)
        # Descriptors are given out lowest first: one from here on means that few are left. A quarter of them
        # is for clients whose predecessor is just being closed
        self._first_reserved = files - reserved
        self._first_kept = self._first_reserved + reserved // 4
        self._bounds = bounds
        self._most = min(bounds.total, self._first_reserved)
        self._loop = asyncio.get_running_loop()
        self._count = 0
        self._open: Counter[str] = Counter()
        # By address: those that may not have sent a request yet, oldest first
        self._newcomers: dict[str, dict[ClientSocket, HttpProtocol]] = {}
        self._connecting: set[asyncio.Task[object]] = set()
        self._is_open = False
        self._logged = -LOG_SECONDS

    def start(self) -> None:
        """Listens. Raises `OSError`."""
        self._listener.listen(BACKLOG)
        self._is_open = True
        self._loop.add_reader(self._listener.fileno(), self._accept)

    def close(self) -> None:
        """Accepts no more. See `asyncio.Server`."""
        if self._is_open:
            self._is_open = False
            self._loop.remove_reader(self._listener.fileno())
            self._listener.close()

    async def wait_closed(self) -> None:
        """See `asyncio.Server`."""

    def sweep(self) -> None:
        """Called once a second: forgets who is no newcomer any more."""
        for key, newcomers in list(self._newcomers.items()):
            silent = {client: protocol for client, protocol in newcomers.items() if protocol.is_silent}
            if silent:
                self._newcomers[key] = silent
            else:
                del self._newcomers[key]

    def _accept(self) -> None:
        for _ in range(ACCEPTS_PER_TURN):
            try:
                client, address = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                # Not even the reserve is left: clients wait in the backlog
                self._note_refusal("files", str(error))
                self._loop.remove_reader(self._listener.fileno())
                self._loop.call_later(PAUSE_SECONDS, self._resume)
                return
            key = address_key(host_of(address))
            bound = self._reached_bound(client.fileno(), key, address)
            if bound:
                self._note_refusal(bound)
                client.close()
            else:
                self._connect(client, key)

    def _resume(self) -> None:
        if self._is_open:
            self._loop.add_reader(self._listener.fileno(), self._accept)

    def _reached_bound(self, descriptor: int, key: str, address: object) -> str:
        """The bound that refuses a client; empty where it may come in."""
        if descriptor >= self._first_kept:
            return "files"
        if descriptor >= self._first_reserved and not self._close_silent(self._newcomers):
            return "files"
        is_counted = bool(key) and not self._bounds.is_exempt(host_of(address))
        if is_counted and self._open[key] >= self._bounds.per_address and not self._close_silent((key,)):
            return "address"
        if self._count >= self._most and not self._close_silent(self._newcomers):
            return "total"
        return ""

    def _close_silent(self, keys: Iterable[str]) -> bool:
        """Closes the oldest silent connection of an address. False: there is none."""
        for key in keys:
            for client, protocol in self._newcomers.get(key, {}).items():
                # Without a transport it is of this turn
                if protocol.is_silent and protocol.transport is not None:
                    del self._newcomers[key][client]
                    protocol.transport.abort()
                    return True
        return False

    def _connect(self, client: socket.socket, key: str) -> None:
        accepted = ClientSocket(client.family, client.type, client.proto, client.detach())
        accepted.setblocking(False)
        accepted.key, accepted.on_gone = key, self._forget
        self._count += 1
        self._open[key] += 1
        OPEN.inc()
        protocol = self._make_protocol()
        self._newcomers.setdefault(key, {})[accepted] = protocol
        task = self._loop.create_task(self._loop.connect_accepted_socket(lambda: protocol, accepted))
        self._connecting.add(task)
        task.add_done_callback(self._end_connecting)

    def _end_connecting(self, task: "asyncio.Task[object]") -> None:
        self._connecting.discard(task)
        if not task.cancelled():
            # A client that has gone again is no error
            task.exception()

    def _forget(self, client: ClientSocket) -> None:
        OPEN.dec()
        self._count -= 1
        self._newcomers.get(client.key, {}).pop(client, None)
        self._open[client.key] -= 1
        if not self._open[client.key]:
            del self._open[client.key]

    def _note_refusal(self, bound: str, reason: str = "") -> None:
        REFUSED.labels(bound).inc()
        now = self._loop.time()
        if now - self._logged >= LOG_SECONDS:
            self._logged = now
            log.warning("connections_refused", bound=bound, open=self._count, reason=reason)


def host_of(address: object) -> str:
    """The host of a peer's address; empty for a Unix socket."""
    return str(address[0]) if isinstance(address, tuple) and address else ""
