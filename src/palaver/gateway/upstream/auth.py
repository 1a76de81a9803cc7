"""Auth's private REST, typed."""

from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar
from urllib.parse import quote

import msgspec

from palaver.contracts.accounts import (
    Model,
    ProfileChange,
    Refresh,
    Revocations,
    Sessions,
    SignIn,
    SignUp,
    TokenPair,
    User,
    UserPage,
)
from palaver.runtime.http.repeated_calls import repeated_call
from palaver.runtime.http.rest_client import RestClient
from palaver.runtime.telemetry.log_context import bind_field

M = TypeVar("M", bound=Model)


@dataclass(frozen=True, slots=True)
class Client:
    """The device that a request came from, as its sessions are listed and its rates are counted."""

    address: str
    agent: str


class AuthClient:
    """Calls of auth. Each raises the `PalaverError` that auth meant, or `unavailable`.

    Those that may be made twice are made again where no response came, at another replica where there is one.
    Sign-ups, sign-ins and ends of sessions are not: made twice, they are refused, or begin two sessions.
    """

    def __init__(self, rest: RestClient) -> None:
        self._rest = rest

    async def sign_up(self, account: SignUp, client: Client) -> User:
        """The new account. Raises `conflict`, `invalid`, `rate_limited`."""
        return await self._request(User, "POST", "/users", body=account, client=client)

    async def sign_in(self, pair: SignIn, client: Client) -> TokenPair:
        """A new session. Raises `unauthenticated`, `rate_limited`, `overloaded`."""
        return noted(await self._request(TokenPair, "POST", "/sessions", body=pair, client=client))

    async def refresh(self, refresh: Refresh, client: Client) -> TokenPair:
        """The session's next pair. Raises `unauthenticated`."""
        # Used twice within seconds, a refresh token gives the same pair
        pair = await self._request(
            TokenPair, "POST", "/sessions/refresh", body=refresh, client=client, again=True
        )
        return noted(pair)

    async def sessions(self, token: str) -> Sessions:
        """The caller's live sessions."""
        return await self._request(Sessions, "GET", "/sessions", token=token)

    async def end_session(self, token: str, session: str) -> None:
        """Ends one of the caller's sessions: an id, or `current`. Raises `not_found`."""
        path = f"/sessions/{quote(session, safe='')}"
        await self._call("DELETE", path, token=token, route="/sessions/{session_id}")

    async def me(self, token: str) -> User:
        """The caller."""
        return await self._request(User, "GET", "/users/me", token=token)

    async def change_profile(self, token: str, change: ProfileChange) -> User:
        """The caller, changed. Raises `invalid`."""
        return await self._request(User, "PATCH", "/users/me", token=token, body=change, again=True)

    async def find_by_email(self, token: str, client: Client, email: str) -> User:
        """The user with that email. Raises `not_found`, `rate_limited`."""
        query = {"email": email}
        return await self._request(User, "GET", "/users/by-email", token=token, client=client, query=query)

    async def search(self, token: str, client: Client, words: str, limit: int, cursor: str) -> UserPage:
        """Users whose names start with `words` (one or two), without the caller, by cursor.

        Raises `rate_limited`.
        """
        query = {"q": words, "limit": str(limit)}
        if cursor:
            query["cursor"] = cursor
        return await self._request(UserPage, "GET", "/users/search", token=token, client=client, query=query)

    async def search_by_offset(
        self, token: str, client: Client, words: str, limit: int, offset: int
    ) -> UserPage:
        """The same by offset, with the total, as old generations page."""
        query = {"q": words, "limit": str(limit), "offset": str(offset), "with_total": "true"}
        return await self._request(UserPage, "GET", "/users/search", token=token, client=client, query=query)

    async def revocations(self, after: int) -> Revocations:
        """Sessions that ended after a position."""
        return await self._request(Revocations, "GET", "/revocations", query={"after": str(after)})

    async def keys(self) -> dict[str, Any]:
        """The public keys of access tokens, as a JWKS document (RFC 7517 §5)."""
        answer = await self._call("GET", "/.well-known/jwks.json")
        return msgspec.json.decode(answer, type=dict[str, Any])

    async def _request(
        self,
        model: type[M],
        method: str,
        path: str,
        *,
        body: Model | None = None,
        query: dict[str, str] | None = None,
        token: str = "",
        client: Client | None = None,
        again: bool = False,
    ) -> M:
        answer = await self._call(
            method, path, body=body, query=query, token=token, client=client, again=again
        )
        return model.model_validate_json(answer)

    async def _call(
        self,
        method: str,
        path: str,
        *,
        body: Model | None = None,
        query: dict[str, str] | None = None,
        token: str = "",
        client: Client | None = None,
        route: str = "",
        again: bool = False,
    ) -> bytes:
        """`again`: the call may be made twice; others than GET say so themselves."""
        headers = {}
        if token:
            headers["authorization"] = f"Bearer {token}"
        if client is not None:
            headers |= {"x-client-address": client.address, "x-client-agent": client.agent}
        sent = None
        if body is not None:
            sent = body.model_dump_json(exclude_unset=True).encode()
        call = partial(repeated_call, self._rest) if again or method == "GET" else self._rest.call
        return await call(method, path, body=sent, query=query, headers=headers, route=route)


def noted(pair: TokenPair) -> TokenPair:
    """The pair. Its user is noted for the request's span and lines."""
    bind_field("user_id", str(pair.user_id))
    return pair
