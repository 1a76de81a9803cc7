"""Sign-up, profiles and the directory, over private REST."""

import asyncio
from typing import Any

import pytest

from palaver.contracts.accounts import User, UserPage
from tests.harness.auth_service import AuthApi, AuthHome, on_one_engine


async def test_sign_up_makes_a_user(auth_api: AuthApi) -> None:
    """Nobody could join."""
    made = await auth_api.sign_up("  Alice@Email.COM ", name=" Alice ")
    assert made.status == 201
    user = User.model_validate(made.json)
    assert user.id.version == 7
    assert (user.email, user.name, user.surname) == ("alice@email.com", "Alice", "Liddell")
    token = (await auth_api.sign_in("ALICE@email.com")).json["access_token"]
    assert (await auth_api.call("GET", "/users/me", token)).json == made.json


async def test_email_is_taken_in_every_spelling(auth_api: AuthApi) -> None:
    """Two accounts would answer to one email."""
    await auth_api.sign_up("alice@email.com")
    assert (await auth_api.sign_up("ALICE@EMAIL.com")).refusal == (409, "conflict", "email")


async def test_one_of_two_sign_ups_at_once_wins(auth_api: AuthApi) -> None:
    """A double click would make two accounts, or answer with a crash."""
    found = await asyncio.gather(*(auth_api.sign_up("alice@email.com") for _ in range(8)))
    assert sorted(one.status for one in found) == [201] + [409] * 7


@on_one_engine
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("email", "nobody"),
        ("email", "a\0@b.test"),
        ("email", None),
        ("password", "1234567"),
        ("password", "x" * 257),
        ("password", "1234\x005678"),
        ("password", "1234\ud8005678"),
        ("name", ""),
        ("name", " \t "),
        ("name", "x" * 101),
        ("surname", "a\0b"),
        ("surname", "\udfff"),
        ("birthday", "1990-02-30"),
        ("birthday", "9999-12-31"),
        ("sex", "unknown"),
        ("city", "x" * 1001),
        ("city", "\ud800"),
        ("interests", "\0"),
        ("pasword", "x"),
    ],
)
async def test_bad_field_is_named(auth_api: AuthApi, field: str, value: Any) -> None:
    """A user would see that something is wrong, and not what."""
    answer = await auth_api.sign_up(**({"email": "alice@email.com"} | {field: value}))
    assert answer.refusal == (422, "invalid", field)


async def test_old_rules_take_short_passwords(auth_api: AuthApi) -> None:
    """Old clients could not sign up any more."""
    assert (await auth_api.sign_up("a@b.test", password="1", old_rules=True)).status == 201
    assert (await auth_api.sign_in("a@b.test", "1")).status == 201
    assert (await auth_api.sign_up("b@b.test", password="", old_rules=True)).refusal[2] == "password"


async def test_profile_changes_field_by_field(auth_api: AuthApi) -> None:
    """A change of city would lose the birthday."""
    token = (await auth_api.signed_in_user("alice@email.com"))["access_token"]
    before = (await auth_api.call("GET", "/users/me", token)).json
    change = {"name": " Alicia ", "city": "", "birthday": "1991-01-01"}
    changed = await auth_api.call("PATCH", "/users/me", token, json=change)
    assert changed.status == 200
    assert changed.json == before | change | {"name": "Alicia"}
    assert (await auth_api.call("GET", "/users/me", token)).json == changed.json
    bad = await auth_api.call("PATCH", "/users/me", token, json={"surname": " "})
    assert bad.refusal == (422, "invalid", "surname")
    assert (await auth_api.call("PATCH", "/users/me", token, json={"email": "x@y.test"})).refusal[
        2
    ] == "email"


async def test_others_are_found_by_email_and_id(auth_api: AuthApi) -> None:
    """Nobody could start a chat."""
    token = (await auth_api.signed_in_user("alice@email.com"))["access_token"]
    bob = (await auth_api.sign_up("bob@email.com", name="Bob")).json
    found = await auth_api.call("GET", "/users/by-email", token, params={"email": " BOB@email.com"})
    assert (found.status, found.json) == (200, bob)
    assert (await auth_api.call("GET", f"/users/{bob['id'].upper()}", token)).json == bob
    unknown = await auth_api.call("GET", "/users/by-email", token, params={"email": "carol@email.com"})
    assert unknown.refusal[:2] == (404, "not_found")
    nobody = "01a20a41-b88a-715f-b816-a5a5fb134163"
    assert (await auth_api.call("GET", f"/users/{nobody}", token)).refusal[:2] == (404, "not_found")
    assert (await auth_api.call("GET", "/users/bob", token)).refusal == (422, "invalid", "id")


async def test_search_pages_by_cursor(auth_api: AuthApi) -> None:
    """Of many users with one name only the first page would be found."""
    token = (await auth_api.signed_in_user("me@email.com", name="Anna"))["access_token"]
    for number, surname in enumerate(["Zeta", "Émile", "alpha", "Beta", "alpha"]):
        await auth_api.sign_up(f"{number}@email.com", name="Ann", surname=surname)
    found: list[str] = []
    query = {"q": "ANN", "limit": "2"}
    for _ in range(3):
        page = UserPage.model_validate(
            (await auth_api.call("GET", "/users/search", token, params=query)).json
        )
        found += [user.surname for user in page.users]
        query["cursor"] = page.next_cursor or ""
    assert page.next_cursor is None
    assert found == ["alpha", "alpha", "Beta", "Zeta", "Émile"]
    bad = await auth_api.call("GET", "/users/search", token, params={"q": "ann", "cursor": "made up"})
    assert bad.refusal == (422, "invalid", "cursor")


async def test_search_by_offset_tells_the_total(auth_api: AuthApi) -> None:
    """Old clients would see neither how many users there are nor the second page."""
    token = (await auth_api.signed_in_user("me@email.com"))["access_token"]
    for number in range(5):
        await auth_api.sign_up(f"{number}@email.com", name="Ann", surname=f"S{number}")
    query = {"q": "ann s", "limit": "2", "offset": "3", "with_total": "true"}
    page = (await auth_api.call("GET", "/users/search", token, params=query)).json
    assert [user["surname"] for user in page["users"]] == ["S3", "S4"]
    assert page["total"] == 5
    everybody = (await auth_api.call("GET", "/users/all", token, params={"limit": "2", "offset": "4"})).json
    assert ([user["surname"] for user in everybody["users"]], everybody["total"]) == (["S4"], 5)


@on_one_engine
@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({}, "q"),
        ({"q": ""}, "q"),
        ({"q": "a b c"}, "q"),
        ({"q": "a", "limit": "-1"}, "limit"),
        ({"q": "a", "limit": "1001"}, "limit"),
        ({"q": "a", "offset": "-1"}, "offset"),
        ({"q": "a", "offset": str(2**70)}, "offset"),
        ({"q": "a", "with_total": "maybe"}, "with_total"),
    ],
)
async def test_bad_query_is_named(auth_api: AuthApi, query: dict[str, str], field: str) -> None:
    """A client would not know which parameter is wrong."""
    token = (await auth_api.signed_in_user("me@email.com"))["access_token"]
    answer = await auth_api.call("GET", "/users/search", token, params=query)
    assert answer.refusal == (422, "invalid", field)


async def test_names_of_those_who_exist(auth_api: AuthApi) -> None:
    """The messenger could not tell members' names, nor refuse unknown ones."""
    alice = (await auth_api.sign_up("alice@email.com")).json
    nobody = "01a20a41-b88a-715f-b816-a5a5fb134163"
    found = await auth_api.call("POST", "/users/names", json={"ids": [alice["id"], nobody, alice["id"]]})
    wanted = {"id": alice["id"], "name": "Alice", "surname": "Liddell"}
    assert (found.status, found.json) == (200, {"users": [wanted]})
    many = await auth_api.call("POST", "/users/names", json={"ids": [nobody] * 1_000})
    assert (many.status, many.json) == (200, {"users": []})
    assert (await auth_api.call("POST", "/users/names", json={"ids": [nobody] * 1_001})).refusal[2] == "ids"


async def test_users_stay_after_a_restart(auth_home: AuthHome) -> None:
    """Everybody would have to sign up again."""
    async with auth_home.running() as auth_api:
        pair = await auth_api.signed_in_user("alice@email.com")
    async with auth_home.running() as auth_api:
        assert (await auth_api.call("GET", "/users/me", pair["access_token"])).status == 200
        assert (await auth_api.refresh(pair["refresh_token"])).status == 200
        assert (await auth_api.sign_in("alice@email.com")).status == 201
