"""Asking a real HTTP server who users are."""

from collections.abc import AsyncIterator

import pytest

from palaver.contracts.errors import INVALID, UNAVAILABLE, PalaverError
from palaver.contracts.ids import new_id, text_from_id
from palaver.messenger.user_directory import Name, UserDirectory
from palaver.runtime.http.rest_client import RestClient
from tests.harness.stub_auth import SmallAuth, running_small_auth


class Clock:
    """Time as the test says."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def auth() -> AsyncIterator[SmallAuth]:
    async with running_small_auth() as auth:
        yield auth


@pytest.fixture
async def client(auth: SmallAuth) -> AsyncIterator[RestClient]:
    client = RestClient(auth.url, 2.0)
    yield client
    await client.close()


async def test_names_of_many_users_come_in_one_call(auth: SmallAuth, client: RestClient) -> None:
    """Without it each list of chats would cost auth one call a member."""
    alice, bob = auth.sign_up("Alice"), auth.sign_up("Bob", "Jones")
    names = await UserDirectory(client).names_of([alice, bob, alice])
    assert names == {alice: Name("Alice", "Smith"), bob: Name("Bob", "Jones")}
    assert [sorted(ids) for ids in auth.lookups] == [sorted([alice, bob])]


async def test_names_are_remembered_for_a_minute(auth: SmallAuth, client: RestClient) -> None:
    """Without it auth would be asked for each list, or a changed name would never be seen."""
    alice = auth.sign_up("Alice")
    clock = Clock()
    directory = UserDirectory(client, clock)
    await directory.names_of([alice])
    auth.users[alice] = ("Alicia", "Smith")
    clock.now = 59.0
    assert (await directory.names_of([alice]))[alice].name == "Alice"
    await directory.check_users([alice], "user_ids")
    assert len(auth.lookups) == 1
    clock.now = 60.0
    assert (await directory.names_of([alice]))[alice].name == "Alicia"


async def test_a_long_list_is_asked_in_parts(auth: SmallAuth, client: RestClient) -> None:
    """Without it a list that is longer than auth takes would have no names at all."""
    users = [auth.sign_up(str(number)) for number in range(2_001)]
    names = await UserDirectory(client).names_of(users)
    assert [names[user].name for user in users] == [str(number) for number in range(2_001)]
    assert sorted(map(len, auth.lookups)) == [1, 1_000, 1_000]


async def test_an_unknown_user_is_named_with_the_field(auth: SmallAuth, client: RestClient) -> None:
    """Without it chats could be made with nobody, and the caller would not learn which id is wrong."""
    alice, nobody = auth.sign_up("Alice"), new_id()
    with pytest.raises(PalaverError) as caught:
        await UserDirectory(client).check_users([alice, nobody], "member_ids")
    assert caught.value.kind is INVALID
    assert caught.value.field == "member_ids"
    assert text_from_id(nobody) in caught.value.message


async def test_a_new_account_exists_at_once(auth: SmallAuth, client: RestClient) -> None:
    """Without it somebody who signs up after being looked for could not be written to for a while."""
    directory = UserDirectory(client, Clock())
    late = new_id()
    assert await directory.names_of([late]) == {late: Name("", "")}
    await directory.names_of([late])
    assert len(auth.lookups) == 1
    auth.users[late] = ("Late", "Comer")
    await directory.check_users([late], "companion_id")
    assert (await directory.names_of([late]))[late].name == "Late"


async def test_lists_do_without_names_while_auth_is_away(auth: SmallAuth, client: RestClient) -> None:
    """Without it nobody could read their chats while accounts are down, or each list would wait for them."""
    alice, bob = auth.sign_up("Alice"), auth.sign_up("Bob")
    clock = Clock()
    directory = UserDirectory(client, clock)
    await directory.names_of([alice])
    auth.away = True
    assert await directory.names_of([alice, bob]) == {alice: Name("Alice", "Smith"), bob: Name("", "")}
    asked = len(auth.lookups)
    await directory.names_of([bob])
    assert len(auth.lookups) == asked
    auth.away = False
    clock.now = 1.0
    assert (await directory.names_of([bob]))[bob].name == "Bob"


async def test_old_names_serve_while_auth_is_away(auth: SmallAuth, client: RestClient) -> None:
    """Without it names would vanish from lists a minute after auth went away."""
    alice = auth.sign_up("Alice")
    clock = Clock()
    directory = UserDirectory(client, clock)
    await directory.names_of([alice])
    auth.away = True
    clock.now = 600.0
    assert (await directory.names_of([alice]))[alice].name == "Alice"


async def test_whether_users_exist_is_not_guessed(auth: SmallAuth, client: RestClient) -> None:
    """Without it a chat could be made with nobody while auth is away."""
    auth.away = True
    with pytest.raises(PalaverError) as caught:
        await UserDirectory(client).check_users([auth.sign_up("Alice")], "companion_id")
    assert caught.value.kind is UNAVAILABLE
    # It was tried more than once: a restart of auth is short
    assert len(auth.lookups) == 3


async def test_nobody_listening_is_away_too() -> None:
    """Without it a stopped auth would be an error on our side, and not a reason to come back later."""
    client = RestClient("http://127.0.0.1:9", 2.0)
    try:
        directory = UserDirectory(client)
        user = new_id()
        assert await directory.names_of([user]) == {user: Name("", "")}
        with pytest.raises(PalaverError) as caught:
            await directory.check_users([user], "companion_id")
        assert caught.value.kind is UNAVAILABLE
    finally:
        await client.close()


async def test_memory_is_bounded(auth: SmallAuth, client: RestClient) -> None:
    """Without it the messenger would grow with every user that was ever shown."""
    users = [auth.sign_up(str(number)) for number in range(30)]
    directory = UserDirectory(client, Clock(), most=10)
    for user in users:
        await directory.names_of([user])
    await directory.names_of(users[-10:])
    assert len(auth.lookups) == 30
    await directory.names_of(users[:1])
    assert len(auth.lookups) == 31
