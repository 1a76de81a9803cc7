"""Passwords that wait to be hashed, from a client through the gateway to auth's one thread."""

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from prometheus_client import REGISTRY

from palaver.auth.passwords import Passwords
from tests.harness.http_client import HttpClient
from tests.harness.services import PalaverServices
from tests.harness.waiting import eventually

PASSWORD = "correct horse"
VERSIONS = {"v1": ("/auth/sign-in", 200), "v2": ("/v2/sessions", 201)}


class SignIns:
    """Clients before a gateway, and an auth whose one thread waits for `go_on` before each password.

    `hashed`: the passwords that the thread has begun, in order.
    """

    def __init__(self, http: aiohttp.ClientSession, url: str) -> None:
        self.api = HttpClient(http, url)
        self.go_on = threading.Event()
        self.hashed: list[str] = []

    @property
    def waiting(self) -> float | None:
        """How many passwords are hashed, or wait for it."""
        return REGISTRY.get_sample_value("palaver_auth_passwords_waiting")

    def start(self, password: str, address: str, version: str = "v2") -> asyncio.Task[Any]:
        """Sends a sign-in from an address."""
        body = {"email": "alice@b.test", "password": password}
        path, _ = VERSIONS[version]
        sending = self.api.request("POST", path, body, {"x-forwarded-for": address})
        return asyncio.create_task(sending)


@pytest_asyncio.fixture
async def sign_ins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[SignIns]:
    """One account, `alice@b.test`."""
    services = PalaverServices(tmp_path, trusted_proxies=["127.0.0.1"])
    services.settings.auth.hashing_threads = 1
    await services.start()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
        found = SignIns(http, services.base_url)
        profile = {"name": "Alice", "surname": "L", "birthday": "1990-05-04", "sex": "female"}
        account = {"email": "alice@b.test", "password": PASSWORD, "city": "O", "interests": "c", **profile}
        assert (await found.api.request("POST", "/v2/users", account)).status == 201
        matches = Passwords._matches

        def hold(passwords: Passwords, password: str, known: str) -> bool:
            found.hashed.append(password)
            found.go_on.wait(20)
            return matches(passwords, password, known)

        monkeypatch.setattr(Passwords, "_matches", hold)
        try:
            yield found
        finally:
            found.go_on.set()
            await services.stop()


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_sign_in_that_nobody_waits_for_is_not_hashed_and_makes_no_session(
    sign_ins: SignIns, version: str
) -> None:
    """Whoever hangs up at once would keep the cores busy, and fill accounts with sessions of nobody."""
    first = sign_ins.start("wrong", "192.0.2.1")
    await eventually(lambda: sign_ins.waiting == 1, "the thread is busy")
    gone = [sign_ins.start(PASSWORD, "192.0.2.2", version) for _ in range(10)]
    await eventually(lambda: sign_ins.waiting == 11, "all wait")
    for one in gone:
        one.cancel()
    await asyncio.wait(gone)
    await eventually(lambda: sign_ins.waiting == 1, "nobody waits any more")
    sign_ins.go_on.set()
    assert (await first).status == 401
    pair = (await sign_ins.start(PASSWORD, "192.0.2.3")).ok(201)
    assert sign_ins.hashed == ["wrong", PASSWORD]
    headers = {"authorization": f"Bearer {pair['access_token']}"}
    sessions = (await sign_ins.api.request("GET", "/v2/sessions", None, headers)).ok()["sessions"]
    assert [one["current"] for one in sessions] == [True]


async def test_one_address_that_fills_the_queue_keeps_nobody_else_from_signing_in(sign_ins: SignIns) -> None:
    """One attacker with a few hundred connections would lock everybody out for as long as they like."""
    greedy = [sign_ins.start("wrong", "192.0.2.1") for _ in range(140)]
    await eventually(lambda: sum(one.done() for one in greedy) == 39, "the queue is full of one address")
    refused = [one.result() for one in greedy if one.done()]
    assert {one.status for one in refused} == {429}
    assert all(int(one.headers["retry-after"]) >= 1 for one in refused)
    alice = sign_ins.start(PASSWORD, "192.0.2.2")
    await eventually(lambda: sign_ins.waiting == 102, "alice waits")
    sign_ins.go_on.set()
    assert (await alice).status == 201
    assert sign_ins.hashed.index(PASSWORD) <= 2
    await asyncio.gather(*greedy)
