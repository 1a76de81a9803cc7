"""Refresh tokens and their successors."""

import asyncio

import pytest

from palaver.auth.domain import Client, Session
from palaver.auth.refresh_tokens import hash_of, new_refresh_token, new_salt, successor_of
from palaver.auth.session_rows import Successor, add_session, use_refresh_token
from palaver.contracts.ids import new_id
from palaver.contracts.times import now_us
from palaver.runtime.sql.database import Database
from palaver.runtime.sql.locations import open_database
from tests.harness.auth_service import AuthHome
from tests.unit.auth.test_user_rows import add

SECOND = 1_000_000


def test_tokens_cannot_be_guessed() -> None:
    """A token that is short, or follows from the last one alone, would be found by whoever tries."""
    token = new_refresh_token()
    others = [new_refresh_token(), successor_of(token, new_salt()), successor_of(token, new_salt())]
    assert len({token, *others}) == 4
    assert {len(each) for each in (token, *others)} == {43}
    assert {len(hash_of(each)) for each in others} == {32}


@pytest.mark.parametrize("token", ["", "\ud800", "x" * 10_000])
def test_any_text_may_come_as_a_token(token: str) -> None:
    """A made-up token would crash the request."""
    assert hash_of(token) != hash_of(successor_of(token, new_salt()))


async def test_two_processes_give_one_successor(database: Database, auth_home: AuthHome) -> None:
    """Where two replicas of auth serve one database, a client that asks both would be signed out."""
    other = open_database(auth_home.location, 8)
    [user] = await database.write(add, ("Alice", "Bee"))
    now = now_us()
    for number in range(5):
        session = Session(new_id(), user.id, now, now, now + 60 * SECOND, "", "")
        await database.write(add_session, session, Client("", ""), hash_of(str(number)), 100)
        found = await asyncio.gather(
            *(
                each.write(
                    use_refresh_token, str(number), new_salt(), now_us(), now + 90 * SECOND, 10 * SECOND
                )
                for each in (database, other) * 4
            )
        )
        assert all(isinstance(one, Successor) for one in found)
        assert all(one == found[0] for one in found)
    await other.close()
