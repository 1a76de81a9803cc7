"""Use cases of accounts: sign-up, profiles, the directory of users."""

from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from typing import Any

from palaver.auth import user_rows
from palaver.auth.devices import address_key
from palaver.auth.domain import (
    Client,
    User,
    check_birthday,
    check_password,
    clean_name,
    clean_profile_text,
    normalise_email,
)
from palaver.auth.login_throttle import readable_wait
from palaver.auth.names import cursor_of_place, place_of_cursor, words_of_query
from palaver.auth.passwords import Passwords
from palaver.auth.sessions import Sessions
from palaver.contracts.accounts import ProfileChange, SignUp
from palaver.contracts.errors import CONFLICT, RATE_LIMITED, PalaverError
from palaver.contracts.ids import new_id
from palaver.contracts.times import now_us
from palaver.runtime.rate_limits import RateLimiter
from palaver.runtime.sql.database import Database
from palaver.runtime.tokens import Claims


class Accounts:
    """Sign-up, profiles and the directory of users."""

    def __init__(
        self,
        database: Database,
        passwords: Passwords,
        sessions: Sessions,
        sign_ups: RateLimiter,
        clock: Callable[[], float],
    ) -> None:
        self._database = database
        self._passwords = passwords
        self._sessions = sessions
        self._sign_ups = sign_ups
        self._clock = clock

    async def sign_up(self, form: SignUp, client: Client) -> User:
        """A new account. Raises `invalid`, `rate_limited`, `conflict`, `overloaded`."""
        check_password(form.password, form.old_rules)
        profile = clean_profile(form.model_dump(exclude={"email", "password", "old_rules"}), today())
        user = User(id=new_id(), email=normalise_email(form.email), created_at=now_us(), **profile)
        self._count_sign_up(client)
        # Looked up before hashing, which is dear; the index decides
        if await self._database.read(user_rows.has_email, user.email):
            raise PalaverError(CONFLICT, "there is an account with this email", field="email")
        password_hash = await self._passwords.hash(form.password)
        await self._database.write(user_rows.add_user, user, password_hash)
        return user

    def _count_sign_up(self, client: Client) -> None:
        wait = self._sign_ups.take(address_key(client.address), self._clock())
        if wait > 0:
            raise PalaverError(RATE_LIMITED, "too many sign-ups", retry_after=readable_wait(wait))

    async def me(self, claims: Claims) -> User:
        """The caller's account."""
        return await self._sessions.read(claims, user_rows.read_user, claims.user_id)

    async def change(self, claims: Claims, form: ProfileChange) -> User:
        """Changes the fields that the form has; returns the caller's account. Raises `invalid`."""
        changes = clean_profile(form.model_dump(exclude_none=True), today())
        return await self._sessions.write(claims, user_rows.change_user, claims.user_id, changes)

    async def find(self, claims: Claims, user_id: bytes) -> User:
        """The user with an id. Raises `not_found`."""
        return await self._sessions.read(claims, user_rows.read_user, user_id)

    async def find_by_email(self, claims: Claims, email: str) -> User:
        """The user with an email. Raises `invalid`, `not_found`."""
        return await self._sessions.read(claims, user_rows.read_user_by_email, normalise_email(email))

    async def search(
        self, claims: Claims, query: str, limit: int, cursor: str
    ) -> tuple[list[User], str | None]:
        """Users whose names start with the query's words, and the cursor of the next page."""
        words = words_of_query(query)
        after = place_of_cursor(cursor) if cursor else None
        page, last = await self._sessions.read(
            claims, user_rows.find_users, words, claims.user_id, after, limit, 0
        )
        return page, None if last is None else cursor_of_place(last)

    async def search_by_offset(
        self, claims: Claims, query: str, limit: int, offset: int
    ) -> tuple[list[User], int]:
        """The same by offset, and how many users all pages have."""
        words = words_of_query(query)
        page, _ = await self._sessions.read(
            claims, user_rows.find_users, words, claims.user_id, None, limit, offset
        )
        return page, await self._database.read(user_rows.count_found, words, claims.user_id)

    async def everybody(self, claims: Claims, limit: int, offset: int) -> tuple[list[User], int]:
        """A page of all users but the caller, and how many they are."""
        return await self._sessions.read(claims, user_rows.list_users, claims.user_id, limit, offset)

    async def names(self, ids: Sequence[bytes]) -> list[tuple[bytes, str, str]]:
        """Id, name and surname of those that exist."""
        return await self._database.read(user_rows.read_names, ids)


def clean_profile(fields: dict[str, Any], today: date) -> dict[str, Any]:
    """The fields of a profile as they are stored. Raises `invalid`, naming the wrong one."""
    cleaned = dict(fields)
    for field in ("name", "surname"):
        if field in cleaned:
            cleaned[field] = clean_name(cleaned[field], field)
    for field in ("city", "interests"):
        if field in cleaned:
            cleaned[field] = clean_profile_text(cleaned[field], field)
    if "birthday" in cleaned:
        check_birthday(cleaned["birthday"], today)
    return cleaned


def today() -> date:
    """The day in UTC."""
    return datetime.now(UTC).date()
