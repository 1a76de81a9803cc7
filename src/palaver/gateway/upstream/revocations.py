"""Which sessions have ended while their access tokens still look good."""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable

from palaver.contracts.errors import PalaverError
from palaver.gateway.upstream.auth import AuthClient
from palaver.runtime.telemetry.configuration import log

POLL_SECONDS = 0.5
# How long an auth that has never answered is not worth a warning
START_SECONDS = 30.0


class Revocations:
    """Asks auth for ended sessions and remembers each for as long as an access token may live.

    `close_session` is called with the id of every session that ends, once. When auth is away it goes on with
    what it knows: tokens are then refused a little later, not everybody.
    """

    def __init__(
        self,
        accounts: AuthClient,
        remember_seconds: float,
        close_session: Callable[[bytes], None],
        *,
        poll_seconds: float = POLL_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._accounts = accounts
        self._remember_seconds = remember_seconds
        self._poll_seconds = poll_seconds
        self._clock = clock
        self._ended: set[bytes] = set()
        self._to_forget: deque[tuple[float, bytes]] = deque()
        self._close_session = close_session
        self._position = 0
        self._away = False
        self._is_known = False
        self._quiet_until = clock() + START_SECONDS

    def is_ended(self, session_id: bytes) -> bool:
        """Whether the session is known to have ended."""
        return session_id in self._ended

    async def run(self) -> None:
        """Polls until cancelled."""
        while True:
            if not await self.poll():
                await asyncio.sleep(self._poll_seconds)

    async def catch_up(self, seconds: float) -> None:
        """Learns of all that auth still remembers, or of what can be learned in `seconds`.

        A gateway does so before it takes connections: else a restart would let ended sessions in again.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while await self.poll():
                    pass

    async def poll(self) -> bool:
        """Polls once. Returns whether there may be more already: auth sends many in pieces."""
        try:
            news = await self._accounts.revocations(self._position)
        except PalaverError as error:
            # Services that are started together come up in any order
            is_starting = not self._is_known and self._clock() < self._quiet_until
            if not self._away and not is_starting:
                log.warning("revocations_unknown", code=error.kind.code, debug=error.debug)
            self._away = not is_starting
            return False
        self._away, self._is_known = False, True
        more = bool(news.session_ids) and news.position > self._position
        self._position = news.position
        self._forget_old()
        for session in news.session_ids:
            self._end(session.bytes)
        return more

    def _end(self, session_id: bytes) -> None:
        if session_id in self._ended:
            return
        self._ended.add(session_id)
        self._to_forget.append((self._clock() + self._remember_seconds, session_id))
        self._close_session(session_id)

    def _forget_old(self) -> None:
        now = self._clock()
        while self._to_forget and self._to_forget[0][0] < now:
            self._ended.discard(self._to_forget.popleft()[1])
