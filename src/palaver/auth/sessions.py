"""Signing in, staying signed in, and signing out."""

from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar
from uuid import UUID

from prometheus_client import Counter
from sqlalchemy import Connection

from palaver.auth import session_rows
from palaver.auth.credential_rows import Credentials, read_password
from palaver.auth.devices import Familiarity, digest
from palaver.auth.domain import Client, Session, check_hashable, normalise_email
from palaver.auth.keys import Keys
from palaver.auth.login_throttle import LoginThrottle
from palaver.auth.passwords import Passwords
from palaver.auth.refresh_tokens import hash_of, new_refresh_token, new_salt
from palaver.auth.session_rows import Refusal
from palaver.contracts.accounts import Refresh, SignIn, TokenPair
from palaver.contracts.errors import NOT_FOUND, SESSION_REVOKED, UNAUTHENTICATED, PalaverError
from palaver.contracts.ids import new_id, text_from_id
from palaver.contracts.times import now_us
from palaver.runtime.settings.auth import AuthSettings
from palaver.runtime.sql.database import Database
from palaver.runtime.telemetry.configuration import log
from palaver.runtime.telemetry.log_context import bind_field
from palaver.runtime.tokens import Claims, TokenVerifier, sign_token

P = ParamSpec("P")
T = TypeVar("T")

SECOND = 1_000_000
# Ended sessions are listed for so long after their last access token has expired: a gateway that was away
# for a day still learns of them
MARGIN_SECONDS = 86_400

_sign_ins = Counter("palaver_auth_sign_ins", "Sign-ins by how they ended", ["outcome"])
_refreshes = Counter("palaver_auth_refreshes", "Refreshes by how they ended", ["outcome"])


class Sessions:
    """The sessions of users, and the two tokens that each of them has."""

    def __init__(
        self,
        database: Database,
        passwords: Passwords,
        keys: Keys,
        throttle: LoginThrottle,
        verifier: TokenVerifier,
        settings: AuthSettings,
    ) -> None:
        self._database = database
        self._passwords = passwords
        self._keys = keys
        self._throttle = throttle
        self._verifier = verifier
        self._settings = settings

    async def sign_in(self, form: SignIn, client: Client) -> TokenPair:
        """A new session. The user's others go on.

        Raises `invalid`, `unauthenticated`, `rate_limited`, `overloaded`.
        """
        known = await self._authenticate(form, client)
        new_hash = await self._passwords.rehash(form.password, known.password_hash)
        now = now_us()
        session = Session(
            new_id(), known.user_id, now, now, self._expiry(now), client.agent[:400], client.address[:64]
        )
        refresh_token = new_refresh_token()
        rehashed = (known.password_hash, new_hash) if new_hash else None
        await self._database.write(
            session_rows.add_session,
            session,
            client,
            hash_of(refresh_token),
            self._settings.sessions_per_user,
            rehashed,
        )
        _sign_ins.labels("ok").inc()
        return await self._pair(session, refresh_token, now)

    async def _authenticate(self, form: SignIn, client: Client) -> Credentials:
        """Whose email and password these are."""
        email, known = form.email, None
        try:
            email = normalise_email(form.email)
            check_hashable(form.password)
            known = await self._database.read(read_password, email, client)
            await self._check(email, form.password, known, client)
        except PalaverError as error:
            _sign_ins.labels(error.kind.code).inc()
            log_failure(email, known, client, error)
            raise
        assert known is not None
        return known

    async def _check(self, email: str, password: str, known: Credentials | None, client: Client) -> None:
        familiarity = known.familiarity if known else Familiarity.NOTHING
        async with self._throttle.attempt(email, client, familiarity) as attempt:
            attempt.wrong = not await self._passwords.verify(password, known.password_hash if known else None)
        if attempt.wrong:
            raise PalaverError(UNAUTHENTICATED, "the email or the password is wrong")

    async def refresh(self, form: Refresh) -> TokenPair:
        """The session's next pair of tokens; the same again where a client repeats itself.

        Raises `unauthenticated`, `session_revoked`.
        """
        now = now_us()
        found = await self._database.write(
            session_rows.use_refresh_token,
            form.refresh_token,
            new_salt(),
            now,
            self._expiry(now),
            int(self._settings.refresh_repeat_seconds * SECOND),
        )
        _refreshes.labels(found.value if isinstance(found, Refusal) else "ok").inc()
        if found is Refusal.UNKNOWN:
            raise PalaverError(UNAUTHENTICATED, "the refresh token is not valid")
        if isinstance(found, Refusal):
            raise PalaverError(SESSION_REVOKED, "the session has ended: sign in again")
        return await self._pair(found.session, found.token, found.issued_at)

    async def verify(self, access_token: str) -> Claims:
        """The claims of a good token; that its session lives is checked by `read` and `write`.

        Raises `unauthenticated`.
        """
        return await self._verifier.verify(access_token)

    async def read(
        self, claims: Claims, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """`Database.read` for a caller whose session lives. Raises `session_revoked`."""

        def read_in_session(connection: Connection) -> T:
            session_rows.require_session(connection, claims.session_id, now_us())
            return work(connection, *args, **kwargs)

        read_in_session.__name__ = work.__name__
        return await self._database.read(read_in_session)

    async def write(
        self, claims: Claims, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """`Database.write` for a caller whose session lives. Raises `session_revoked`."""

        def write_in_session(connection: Connection) -> T:
            session_rows.require_session(connection, claims.session_id, now_us(), kept=True)
            return work(connection, *args, **kwargs)

        write_in_session.__name__ = work.__name__
        return await self._database.write(write_in_session)

    async def live(self, claims: Claims) -> list[Session]:
        """The caller's live sessions, newest first."""
        return await self.read(claims, session_rows.list_sessions, claims.user_id, now_us())

    async def end(self, claims: Claims, session_id: bytes) -> None:
        """Ends one of the caller's sessions. Raises `not_found`."""
        if not await self.write(claims, session_rows.end_session, claims.user_id, session_id, now_us()):
            raise PalaverError(NOT_FOUND, "you have no such session")

    async def revocations(self, after: int) -> tuple[list[bytes], int]:
        """The sessions that ended after a position, and the position to go on from."""
        return await self._database.read_short(session_rows.read_revocations, after)

    async def end_expired(self) -> None:
        """Ends the sessions that were not refreshed in time."""
        while await self._database.read_short(session_rows.has_expired, now_us()):
            await self._database.write(session_rows.end_expired, now_us())

    async def prune(self) -> None:
        """Deletes tokens and sessions that cannot be used or read any more."""
        access = self._settings.access_token_seconds + MARGIN_SECONDS
        refresh = self._settings.refresh_token_seconds + MARGIN_SECONDS
        more = True
        while more:
            now = now_us()
            before = now - access * SECOND
            more = await self._database.write(session_rows.prune, now - refresh * SECOND, before, before)

    def _expiry(self, now: int) -> int:
        return now + self._settings.refresh_token_seconds * SECOND

    async def _pair(self, session: Session, refresh_token: str, issued_at: int) -> TokenPair:
        """The pair as it was issued then: of a repeat, each is the one that was given first."""
        user_id = UUID(bytes=session.user_id)
        bind_field("user_id", str(user_id))
        key = await self._keys.signing()
        begins = issued_at // SECOND
        # An access token does not outlive its session
        ends = min(begins + self._settings.access_token_seconds, session.expires_at // SECOND)
        claims = Claims(session.user_id, session.id, begins, ends)
        return TokenPair(
            access_token=sign_token(claims, key.private, key.kid),
            refresh_token=refresh_token,
            expires_in=ends - begins,
            user_id=user_id,
            session_id=UUID(bytes=session.id),
        )


def log_failure(email: str, known: Credentials | None, client: Client, error: PalaverError) -> None:
    """One security event a failed sign-in. Neither email nor password is in it."""
    reason = error.kind.code
    if error.kind is UNAUTHENTICATED:
        reason = "wrong_password" if known else "unknown_email"
    who = {"user_id": text_from_id(known.user_id)} if known else {"email_hash": digest(email).hex()}
    log.warning("sign_in_failed", **who, address=client.address[:64], reason=reason)
