"""Who users are: auth knows, and is asked by REST."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from uuid import UUID

from pydantic import ValidationError

from palaver.contracts.accounts import UserLookup, UserNames
from palaver.contracts.errors import INVALID, UNAVAILABLE, PalaverError
from palaver.contracts.ids import text_from_id
from palaver.messenger.domain import UNKNOWN, Name, Names
from palaver.runtime.http.repeated_calls import repeated_call
from palaver.runtime.http.rest_client import RestClient
from palaver.runtime.telemetry.configuration import log

# Auth takes so many ids at once
MOST_IDS = 1_000
REMEMBERED_SECONDS = 60.0
# That an id names nobody is believed for a shorter time: the account may be new
NOBODY_SECONDS = 5.0
# While auth is away, lists do without names for so long before they try again
AWAY_SECONDS = 1.0


class UserDirectory:
    """Names of users by id, remembered for a while; the least lately learnt are forgotten first."""

    def __init__(
        self, auth: RestClient, clock: Callable[[], float] = time.monotonic, most: int = 100_000
    ) -> None:
        self._auth = auth
        self._clock = clock
        self._most = most
        # user id -> (name, when to ask again); a name of None: nobody has this id
        self._known: OrderedDict[bytes, tuple[Name | None, float]] = OrderedDict()
        self._away_until = 0.0

    async def check_users(self, user_ids: Sequence[bytes], field: str) -> None:
        """Raises `invalid`, naming `field` and the first user who does not exist, and `unavailable`."""
        now = self._clock()
        unsure = [user for user in user_ids if self._name_of(user, now) is None]
        if not unsure:
            return
        await self._learn(unsure)
        for user in unsure:
            if self._known[user][0] is None:
                raise PalaverError(INVALID, f"{field}: there is no user {text_from_id(user)}", field=field)

    async def names_of(self, user_ids: Iterable[bytes]) -> Names:
        """Names of those users, as far as they are known. Never fails: a list without names is of use."""
        now = self._clock()
        wanted = set(user_ids)
        unknown = [user for user in wanted if not self._is_fresh(user, now)]
        if unknown and now >= self._away_until:
            try:
                await self._learn(unknown)
            except PalaverError as error:
                self._away_until = self._clock() + AWAY_SECONDS
                log.warning("names not read", code=error.kind.code, debug=error.debug)
        return {user: self._known.get(user, (None, 0.0))[0] or UNKNOWN for user in wanted}

    def _is_fresh(self, user: bytes, now: float) -> bool:
        known = self._known.get(user)
        return known is not None and now < known[1]

    def _name_of(self, user: bytes, now: float) -> Name | None:
        return self._known[user][0] if self._is_fresh(user, now) else None

    async def _learn(self, user_ids: Sequence[bytes]) -> None:
        """Asks auth. Afterwards each of `user_ids` is known, if only as nobody. Raises `unavailable`."""
        parts = [user_ids[start : start + MOST_IDS] for start in range(0, len(user_ids), MOST_IDS)]
        found: Names = {}
        for answer in await asyncio.gather(*(self._ask(part) for part in parts)):
            found.update(answer)
        now = self._clock()
        for user in user_ids:
            name = found.get(user)
            self._known[user] = (name, now + (NOBODY_SECONDS if name is None else REMEMBERED_SECONDS))
            self._known.move_to_end(user)
        # What was learnt just now stays, however much that is: the caller is about to look it up
        while len(self._known) > max(self._most, len(user_ids)):
            self._known.popitem(last=False)

    async def _ask(self, user_ids: Sequence[bytes]) -> Names:
        body = UserLookup(ids=[UUID(bytes=user) for user in user_ids]).model_dump_json().encode()
        content = await repeated_call(self._auth, "POST", "/users/names", body=body, is_worth_it=is_away)
        return names_from_json(content)


def is_away(error: Exception) -> bool:
    """Whether to ask again: looking up names changes nothing."""
    return isinstance(error, PalaverError) and error.kind is UNAVAILABLE


def names_from_json(content: bytes) -> Names:
    """The names of a `UserNames` document. Raises `unavailable` where it is none."""
    try:
        users = UserNames.model_validate_json(content).users
    except ValidationError as error:
        raise PalaverError(UNAVAILABLE, retry_after=1.0, cause="auth answered something else") from error
    return {user.id.bytes: Name(user.name, user.surname) for user in users}
