"""v2's REST: one call, with a token that is refreshed in time, and refusals as errors of the catalogue."""

import asyncio
import random
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import aiohttp
import msgspec

import palaver
from palaver.client.backoff import Backoff
from palaver.client.models import Problem, Tokens
from palaver.contracts.errors import (
    CATALOGUE,
    FORBIDDEN,
    INTERNAL,
    MALFORMED,
    NOT_FOUND,
    RATE_LIMITED,
    TOO_LARGE,
    UNAUTHENTICATED,
    UNAVAILABLE,
    ErrorKind,
    PalaverError,
)

ANSWER_SECONDS = 30.0
# Of a refresh: one whose answer was lost is repeated while the server still gives the same pair, for 10 s
REFRESH_ANSWER_SECONDS = 3.0
# A call that may be repeated is repeated for so long: a server that restarts is back by then.
REPEAT_SECONDS = 15.0
LONGEST_PAUSE_SECONDS = 2.0
# An access token is changed for a new one when this part of its life is left.
REFRESH_PART = 0.1

Answer = TypeVar("Answer")
Query = Mapping[str, str | int | None]

# For answers of proxies before the gateway, which know no catalogue
_KINDS_OF_STATUS = {
    kind.http: kind for kind in (MALFORMED, UNAUTHENTICATED, FORBIDDEN, NOT_FOUND, TOO_LARGE, RATE_LIMITED)
}
_AWAY = (502, 503, 504)


class SignedOut(PalaverError):  # noqa: N818 - it is no error to have signed out
    """There is no session any more: sign in again."""

    def __init__(self, message: str = "the session has ended: sign in again") -> None:
        super().__init__(UNAUTHENTICATED, message)


class Rest:
    """The gateway's REST as one session uses it.

    `on_tokens` is called with every new pair: a refresh token is good for one use, so who comes back later
    must keep the newest.
    """

    def __init__(
        self, base_url: str, tokens: Tokens | None, on_tokens: Callable[[Tokens | None], None] | None
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self._tokens = tokens
        self._on_tokens = on_tokens
        # How old given tokens are is not known: they are used until they are refused
        self._refresh_at = float("inf")
        self._refreshing: asyncio.Task[str] | None = None
        self._session: aiohttp.ClientSession | None = None

    @property
    def session(self) -> aiohttp.ClientSession:
        """The HTTP connections, opened on first use."""
        if self._session is None or self._session.closed:
            agent = f"palaver-client/{palaver.__version__}"
            self._session = aiohttp.ClientSession(headers={"User-Agent": agent})
        return self._session

    async def close(self) -> None:
        """Closes the HTTP connections."""
        if self._session is not None:
            await self._session.close()

    # ---- tokens ----

    @property
    def tokens(self) -> Tokens | None:
        """The newest pair, or None when signed out."""
        return self._tokens

    def keep_tokens(self, tokens: Tokens | None) -> None:
        """Uses these from now on."""
        self._tokens = tokens
        if tokens is not None:
            self._refresh_at = time.monotonic() + tokens.expires_in * (1 - REFRESH_PART)
        if self._on_tokens is not None:
            self._on_tokens(tokens)

    async def token(self) -> str:
        """An access token that is not about to expire. Raises `SignedOut`."""
        if self._tokens is None:
            raise SignedOut("sign in first")
        if time.monotonic() >= self._refresh_at:
            return await self.refresh(self._tokens.access_token)
        return self._tokens.access_token

    async def refresh(self, refused: str) -> str:
        """A newer access token than `refused`. Concurrent callers share one refresh. Raises `SignedOut`."""
        if self._tokens is None:
            raise SignedOut
        if self._refreshing is None:
            if self._tokens.access_token != refused:
                return self._tokens.access_token
            self._refreshing = asyncio.create_task(self._refresh(self._tokens))
            self._refreshing.add_done_callback(self._refreshed)
        # Shielded: one caller's cancellation must not lose the pair that all others, and the future, need
        return await asyncio.shield(self._refreshing)

    async def _refresh(self, old: Tokens) -> str:
        body = {"refresh_token": old.refresh_token}
        try:
            new = await self.call(
                "POST",
                "/v2/sessions/refresh",
                Tokens,
                body=body,
                signed=False,
                repeat=True,
                answer_seconds=REFRESH_ANSWER_SECONDS,
            )
        except PalaverError as error:
            if error.kind.http != UNAUTHENTICATED.http:
                raise
            self.keep_tokens(None)
            raise SignedOut from error
        self.keep_tokens(new)
        return new.access_token

    def _refreshed(self, task: asyncio.Task[str]) -> None:
        self._refreshing = None
        # Retrieved, so that asyncio does not warn of an error that no caller waits for any more
        if not task.cancelled():
            task.exception()

    # ---- calls ----

    async def call(
        self,
        method: str,
        path: str,
        answer: type[Answer],
        *,
        body: object = None,
        query: Query | None = None,
        headers: Mapping[str, str] | None = None,
        signed: bool = True,
        repeat: bool = False,
        answer_seconds: float = ANSWER_SECONDS,
    ) -> Answer:
        """One request and its answer's body. `repeat`: doing it twice has the effect of once.

        Raises the refusal as `PalaverError`; `unavailable` where there is no answer; `SignedOut`.
        """
        backoff = Backoff(random.random, longest=LONGEST_PAUSE_SECONDS)
        end = time.monotonic() + (REPEAT_SECONDS if repeat else 0.0)
        while True:
            try:
                return await self._call_signed(
                    method, path, answer, body, query, headers, answer_seconds, signed=signed
                )
            except PalaverError as error:
                pause = backoff.pause_after(retry_after=error.retry_after)
                if error.kind.http not in _AWAY or time.monotonic() + pause > end:
                    raise
            await asyncio.sleep(pause)

    async def _call_signed(
        self,
        method: str,
        path: str,
        answer: type[Answer],
        body: object,
        query: Query | None,
        headers: Mapping[str, str] | None,
        seconds: float,
        *,
        signed: bool,
    ) -> Answer:
        given = {key: value for key, value in (query or {}).items() if value is not None}
        data = None if body is None else msgspec.json.encode(body)
        sent = dict(headers or {})
        if data is not None:
            sent["Content-Type"] = "application/json"
        if not signed:
            return await self._exchange(method, path, answer, data, given, sent, seconds)
        token = await self.token()
        try:
            return await self._exchange(method, path, answer, data, given, sent | bearer(token), seconds)
        except PalaverError as error:
            if error.kind.http != UNAUTHENTICATED.http:
                raise
        # Refused before anything was done: whatever it is, it may be sent again with a newer token
        token = await self.refresh(token)
        return await self._exchange(method, path, answer, data, given, sent | bearer(token), seconds)

    async def _exchange(
        self,
        method: str,
        path: str,
        answer: type[Answer],
        data: bytes | None,
        query: Mapping[str, str | int],
        headers: Mapping[str, str],
        seconds: float,
    ) -> Answer:
        try:
            async with self.session.request(
                method,
                self.base_url + path,
                data=data,
                params=query,
                headers=headers,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=seconds),
            ) as got:
                text = await got.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise PalaverError(UNAVAILABLE, f"no answer from {self.base_url}: {cause_of(error)}") from error
        if got.status >= 300:
            raise refusal_of(got.status, text, got.headers.get("retry-after", ""))
        try:
            return msgspec.json.decode(text or b"null", type=answer)
        except msgspec.DecodeError as error:
            raise PalaverError(
                INTERNAL, f"{method} {path} gave an answer of another shape: {error}"
            ) from error


def bearer(token: str) -> dict[str, Any]:
    """The header with the caller's token (RFC 6750)."""
    return {"Authorization": f"Bearer {token}"}


def refusal_of(status: int, text: bytes, retry_after: str) -> PalaverError:
    """The error of an answer with problem details; else the one of its status."""
    try:
        problem = msgspec.json.decode(text, type=Problem)
    except msgspec.DecodeError:
        problem = Problem()
    kind = CATALOGUE.get(problem.code) or kind_of_status(status)
    field = problem.errors[0].field if problem.errors else ""
    seconds = float(retry_after) if retry_after.isdecimal() else 0.0
    return PalaverError(kind, problem.detail or problem.title or kind.title, field=field, retry_after=seconds)


def kind_of_status(status: int) -> ErrorKind:
    """The row of the catalogue that comes closest to an HTTP status."""
    if status in _AWAY:
        return UNAVAILABLE
    return _KINDS_OF_STATUS.get(status, INTERNAL if status >= 500 else MALFORMED)


def cause_of(error: Exception) -> str:
    """Why there was no answer, in a few words."""
    return str(error) or type(error).__name__
