"""Two replicas of auth on one schema of a real MariaDB."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from palaver.auth.bootstrap import rotate_keys
from tests.harness.auth_service import AuthApi, AuthHome
from tests.harness.mariadb import MariadbSchema
from tests.harness.waiting import eventually

Pair = tuple[AuthApi, AuthApi]
EMAIL = "alice@email.com"


@pytest.fixture
def auth_home(tmp_path: Path, auth_schema: MariadbSchema) -> AuthHome:
    """On the server: a file has one auth."""
    auth_schema.empty("alembic_version", "locks")
    return AuthHome(tmp_path, auth_schema)


@pytest.fixture
async def replicas(auth_home: AuthHome) -> AsyncIterator[Pair]:
    """Both, started at once on an empty schema. A user has 3 sessions at most."""
    async with contextlib.AsyncExitStack() as stack:
        yield await asyncio.gather(
            *(stack.enter_async_context(auth_home.running(sessions_per_user=3)) for _ in range(2))
        )


async def kids(auth: AuthApi) -> list[str]:
    found = (await auth.call("GET", "/.well-known/jwks.json")).json["keys"]
    return [key["kid"] for key in found]


async def test_a_first_start_makes_one_key(replicas: Pair, auth_home: AuthHome) -> None:
    """Half of all tokens would be signed with a key that the next rotation forgets to retire."""
    assert len(auth_home.execute("SELECT kid FROM signing_keys")) == 1
    assert await kids(replicas[0]) == await kids(replicas[1])


async def test_one_of_many_sign_ups_wins(replicas: Pair) -> None:
    """Two people would have one email, or a double click be answered by a crash."""
    for number in range(5):
        email = f"{number}@email.com"
        answers = await asyncio.gather(*(each.sign_up(email) for each in replicas * 4))
        assert sorted(answer.status for answer in answers) == [201] + [409] * 7


async def test_a_token_used_at_both_gives_one_pair(replicas: Pair) -> None:
    """Two tabs of a browser would sign their user out, whenever a load balancer splits them."""
    for number in range(5):
        pair = await replicas[0].signed_in_user(f"{number}@email.com")
        answers = await asyncio.gather(*(each.refresh(pair["refresh_token"]) for each in replicas * 3))
        assert {answer.status for answer in answers} == {200}
        assert all(answer.json == answers[0].json for answer in answers)
        newest = (await replicas[1].refresh(answers[0].json["refresh_token"])).json
        # Used again after its successor: somebody else has a copy
        assert (await replicas[0].refresh(pair["refresh_token"])).refusal[1] == "session_revoked"
        assert (await replicas[1].refresh(newest["refresh_token"])).refusal[1] == "session_revoked"


async def test_sessions_stay_within_the_most(replicas: Pair, auth_home: AuthHome) -> None:
    """A script that signs in everywhere at once would have sessions without end."""
    await replicas[0].sign_up(EMAIL)
    answers = await asyncio.gather(*(each.sign_in(EMAIL) for each in replicas * 8))
    assert {answer.status for answer in answers} == {201}
    [(live,)] = auth_home.execute("SELECT count(*) FROM sessions WHERE ended_at IS NULL")
    assert live == 3
    ended = (await replicas[1].call("GET", "/revocations")).json["session_ids"]
    assert len(ended) == len(set(ended)) == 13


async def test_an_end_is_seen_by_the_other(replicas: Pair) -> None:
    """A stolen session would go on at every replica but one."""
    pair = await replicas[0].signed_in_user(EMAIL)
    token = pair["access_token"]
    assert (await replicas[1].call("GET", "/users/me", token)).status == 200
    assert (await replicas[0].call("DELETE", f"/sessions/{pair['session_id']}", token)).status == 204
    assert (await replicas[1].call("GET", "/users/me", token)).refusal[1] == "session_revoked"
    assert (await replicas[1].call("GET", "/revocations")).json["session_ids"] == [pair["session_id"]]


async def test_a_follower_misses_no_end(replicas: Pair) -> None:
    """Sockets of a session that ended would stay open, because a later end was listed before it."""
    await asyncio.gather(*(replicas[0].sign_up(f"{number}@email.com") for number in range(4)))
    seen: list[str] = []
    done = asyncio.Event()

    async def follow() -> None:
        after = 0
        while True:
            is_last = done.is_set()
            found = (await replicas[0].call("GET", "/revocations", params={"after": str(after)})).json
            seen.extend(found["session_ids"])
            after = found["position"]
            if is_last:
                return

    async def sign_in(number: int) -> None:
        for each in replicas * 5:
            assert (await each.sign_in(f"{number}@email.com")).status == 201

    following = asyncio.create_task(follow())
    await asyncio.gather(*(sign_in(number) for number in range(4)))
    done.set()
    await following
    assert Counter(seen) == dict.fromkeys(seen, 1)
    assert len(seen) == 4 * (10 - 3)


async def test_killed_connections_lose_no_answer(replicas: Pair, auth_home: AuthHome) -> None:
    """A sign-up would be refused as a repeat of itself, or a session be given that does not exist."""
    schema = auth_home.schema
    assert schema is not None
    done = asyncio.Event()

    async def kill() -> int:
        killed = 0
        while not done.is_set():
            killed += await asyncio.to_thread(schema.server.kill_connections, schema.name)
            await asyncio.sleep(0.02)
        return killed

    async def live(number: int) -> None:
        auth, other = replicas if number % 2 else replicas[::-1]
        pair = await auth.signed_in_user(f"{number}@email.com")
        fresh = await other.refresh(pair["refresh_token"])
        assert fresh.status == 200, fresh
        assert (await auth.call("GET", "/users/me", fresh.json["access_token"])).status == 200

    killing = asyncio.create_task(kill())
    try:
        await asyncio.gather(*(live(number) for number in range(20)))
    finally:
        done.set()
    assert await killing > 0


async def test_a_rotation_is_seen_by_both(replicas: Pair, auth_home: AuthHome) -> None:
    """A leaked key would stay good at the replica that nobody told."""
    kid = await asyncio.to_thread(rotate_keys, auth_home.settings(), True)
    for each in replicas:

        async def is_seen(auth: AuthApi = each) -> bool:
            return await kids(auth) == [kid]

        await eventually(is_seen, "the rotation is noticed")


async def test_names_and_emails_are_compared_by_their_bytes(replicas: Pair) -> None:
    """Whoever is called Алёна would be taken for Алена, and a second account be refused."""
    emails = ["елена@пример.рф", "ёлена@пример.рф", "elena@example.org", "élena@example.org"]
    for number, email in enumerate(emails):
        made = await replicas[number % 2].sign_up(email, name=["Елена", "Ёлена", "Elena", "Élena"][number])
        assert (made.status, made.json["email"]) == (201, email)
    token = (await replicas[0].signed_in_user(EMAIL))["access_token"]
    for query, name in (("ёл", "Ёлена"), ("ЕЛ", "Елена"), ("él", "Élena"), ("el", "Elena")):
        found = (await replicas[1].call("GET", "/users/search", token, params={"q": query})).json["users"]
        assert [user["name"] for user in found] == [name]
    for email in emails:
        found = await replicas[1].call("GET", "/users/by-email", token, params={"email": email.upper()})
        assert found.json["email"] == email
