"""A signing key that leaked: what is forged with it, and what is left of it once it is revoked."""

import asyncio
import contextlib
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from picows import WSInvalidStatusError

from palaver.auth.keys import private_of_pem
from palaver.contracts.ids import id_from_text, new_id
from palaver.runtime.tokens import Claims, sign_token
from tests.harness.palaver_process import PalaverProcess, running_palaver
from tests.harness.users import ApiClient, ApiUser, api_client
from tests.harness.websocket_client import WebSocketClient

REVOKED = 4001
REVOKED_SECONDS = 5.0
CENTURY = 100 * 365 * 86_400
LIVES = 1_800


@pytest.fixture
async def own(tmp_path: Path) -> AsyncIterator[tuple[PalaverProcess, ApiClient]]:
    """A Palaver of the test's own, and the way into it."""
    with running_palaver(tmp_path) as running:
        async with api_client(running) as api:
            yield running, api


def leaked_key(running: PalaverProcess) -> tuple[str, Ed25519PrivateKey]:
    """The id and the key that signs, as a copy of the database has them."""
    database = sqlite3.connect(running.data_dir / "auth.db")
    with contextlib.closing(database):
        row = database.execute(
            "SELECT kid, private_pem FROM signing_keys WHERE retired_at IS NULL"
        ).fetchone()
    return row[0], private_of_pem(row[1])


def forge(running: PalaverProcess, victim: ApiUser, seconds: int, age: int = 0) -> str:
    """A token of the victim, for a session that there never was."""
    key_id, key = leaked_key(running)
    now = int(time.time()) - age
    return sign_token(Claims(id_from_text(victim.user_id, "id"), new_id(), now, now + seconds), key, key_id)


async def status_of(api: ApiClient, token: str, path: str = "/v2/chats") -> int:
    """How a request with the token is answered."""
    return (await api.call("GET", path, token=f"Bearer {token}")).status


async def test_revoked_key_is_out_everywhere_within_seconds(own: tuple[PalaverProcess, ApiClient]) -> None:
    """Whoever copied the key would read and write everybody's chats until the services are restarted."""
    running, api = own
    bob, alice = await api.sign_up("Bob"), await api.sign_up("Alice")
    chat_id = await bob.chat_with(alice)
    history = f"/v2/chats/{chat_id}/messages"
    forged = forge(running, alice, LIVES)
    for path in ("/v2/chats", history):
        assert await status_of(api, forged, path) == 200
    thief = await WebSocketClient.connect(f"{api.ws_url}/v2/ws?token={forged}")
    async with bob.socket_v1() as old:
        done = await asyncio.to_thread(
            subprocess.run,
            [
                sys.executable,
                "-m",
                "palaver",
                "keys",
                "rotate",
                "--revoke",
                "--data-dir",
                str(running.data_dir),
            ],
            capture_output=True,
            text=True,
            check=True,
            timeout=30,
        )
        began = time.monotonic()
        codes = await asyncio.gather(thief.receive_close(10), old.receive_close(10))
        assert codes == [REVOKED, REVOKED]
        for path in ("/v2/chats", history, "/v2/users/me"):
            while await status_of(api, forged, path) != 401:
                assert time.monotonic() - began < REVOKED_SECONDS
                await asyncio.sleep(0.05)
        assert time.monotonic() - began < REVOKED_SECONDS
    with pytest.raises(WSInvalidStatusError) as refused:
        await WebSocketClient.connect(f"{api.ws_url}/v2/ws?token={forged}")
    assert refused.value.response.status == 401
    # Nobody has to sign in again
    pair = (await api.call("POST", "/v2/sessions/refresh", {"refresh_token": bob.refresh_token})).ok()
    assert str(jwt.get_unverified_header(pair["access_token"])["kid"]) == done.stdout.split()[-1].rstrip(".")
    bob.token = pair["access_token"]
    assert [message["seq"] for message in await bob.send(chat_id, "Hello")] == [1]


async def test_forged_lifetimes_are_refused(own: tuple[PalaverProcess, ApiClient]) -> None:
    """A token forged in a minute would be good for a hundred years, or after its key is retired."""
    running, api = own
    alice = await api.sign_up("Alice")
    for seconds, age in ((CENTURY, 0), (CENTURY, -CENTURY), (LIVES, -3_600), (86_400, 80_000)):
        forged = forge(running, alice, seconds, age)
        for path in ("/v2/chats", "/v2/users/me"):
            assert await status_of(api, forged, path) == 401
        with pytest.raises(WSInvalidStatusError) as refused:
            await WebSocketClient.connect(f"{api.ws_url}/v2/ws?token={forged}")
        assert refused.value.response.status == 401
