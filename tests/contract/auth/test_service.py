"""Auth as a process: start, health, keys, stop."""

import asyncio
import sqlite3
import time
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from palaver.auth.bootstrap import migrate_database, rotate_keys, serve
from palaver.auth.schema import metadata
from palaver.runtime.sql.migrations import SchemaTooNewError
from palaver.runtime.sql.sqlite import sqlite_engine
from palaver.runtime.startup import StartError
from tests.harness.auth_service import PASSWORD, AuthApi, AuthHome, on_one_engine, running_auth, settings_of
from tests.harness.mariadb import MariadbSchema

NOTICED_SECONDS = 1.0
REVOKED_SECONDS = 5.0


async def test_health_and_numbers(auth_api: AuthApi) -> None:
    """Operators would not see that auth is down, or how many sign-ins fail."""
    await auth_api.signed_in_user("alice@email.com")
    await auth_api.sign_in("alice@email.com", "wrong password")
    assert (await auth_api.call("GET", "/healthz")).status == 200
    assert (await auth_api.call("GET", "/readyz")).json == {"ready": True, "failing": []}
    numbers = (await auth_api.call("GET", "/metrics")).text
    assert 'palaver_auth_sign_ins_total{outcome="ok"}' in numbers
    assert 'palaver_auth_sign_ins_total{outcome="unauthenticated"}' in numbers
    assert "palaver_auth_hashing_seconds_count" in numbers
    assert "process_cpu_seconds_total" in numbers


async def test_not_ready_without_a_key(tmp_path: Path) -> None:
    """Requests would be sent to an auth that cannot sign anybody in."""
    async with running_auth(tmp_path) as auth_api:
        database = sqlite3.connect(tmp_path / "auth.db", isolation_level=None)
        database.execute("DELETE FROM signing_keys")
        answer = await auth_api.call("GET", "/readyz")
        assert answer.refusal[:2] == (503, "unavailable")
        assert (answer.json["ready"], answer.json["failing"]) == (False, ["signing key"])
        database.execute("DROP TABLE signing_keys")
        database.close()
        with capture_logs() as logs:
            answer = await auth_api.call("GET", "/readyz")
        assert (answer.status, answer.json["failing"]) == (503, ["database"])
        assert "not_ready" in [line["event"] for line in logs]
        assert (await auth_api.call("GET", "/healthz")).status == 200


async def test_not_ready_where_nothing_can_be_written(tmp_path: Path) -> None:
    """Sign-ins would be sent to an auth that fails to store each of them."""
    async with running_auth(tmp_path) as auth_api:
        other = sqlite3.connect(tmp_path / "auth.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with capture_logs() as logs:
            answer = await auth_api.call("GET", "/readyz")
        assert (answer.status, answer.json["failing"]) == (503, ["database"])
        assert "database_not_usable" in [line["event"] for line in logs]
        other.close()
        assert (await auth_api.call("GET", "/readyz")).status == 200


async def test_running_auth_notices_a_rotation(auth_home: AuthHome) -> None:
    """A key that was taken out of use would go on signing; or tokens of the old one would be refused."""
    async with auth_home.running() as auth_api:
        pair = await auth_api.signed_in_user("alice@email.com")
        kid = await asyncio.to_thread(rotate_keys, auth_home.settings())
        end = time.monotonic() + NOTICED_SECONDS
        while kid not in [
            one["kid"] for one in (await auth_api.call("GET", "/.well-known/jwks.json")).json["keys"]
        ]:
            assert time.monotonic() < end, "the rotation was not noticed"
        new = (await auth_api.sign_in("alice@email.com")).json
        for token in (pair["access_token"], new["access_token"]):
            assert (await auth_api.call("GET", "/users/me", token)).status == 200
        assert len((await auth_api.call("GET", "/.well-known/jwks.json")).json["keys"]) == 2


async def test_running_auth_refuses_a_revoked_key(auth_home: AuthHome) -> None:
    """Whoever has a leaked key could go on changing profiles and ending sessions of anybody."""
    async with auth_home.running() as auth_api:
        pair = await auth_api.signed_in_user("alice@email.com")
        assert (await auth_api.call("GET", "/users/me", pair["access_token"])).status == 200
        kid = await asyncio.to_thread(rotate_keys, auth_home.settings(), True)
        end = time.monotonic() + REVOKED_SECONDS
        while (answer := await auth_api.call("GET", "/users/me", pair["access_token"])).status == 200:
            assert time.monotonic() < end, "the revocation was not noticed"
            await asyncio.sleep(0.02)
        assert answer.refusal[:2] == (401, "unauthenticated")
        listed = (await auth_api.call("GET", "/.well-known/jwks.json")).json
        assert [key["kid"] for key in listed["keys"]] == [kid]
        # The session itself has not ended
        fresh = await auth_api.refresh(pair["refresh_token"])
        assert (await auth_api.call("GET", "/users/me", fresh.json["access_token"])).status == 200


async def test_files_belong_to_the_owner_alone(tmp_path: Path) -> None:
    """Other users of the machine could read the signing keys."""
    data_dir = tmp_path / "data"
    async with running_auth(data_dir):
        assert modes_of(data_dir) == (0o700, {0o600})


def modes_of(path: Path) -> tuple[int, set[int]]:
    """The mode of a directory and of what is in it."""
    return path.stat().st_mode & 0o777, {file.stat().st_mode & 0o777 for file in path.iterdir()}


async def test_nothing_secret_is_logged(tmp_path: Path) -> None:
    """Whoever reads the logs could sign in as anybody."""
    with capture_logs() as logs:
        async with running_auth(tmp_path, wrong_passwords_per_account=1) as auth_api:
            pair = await auth_api.signed_in_user("alice@email.com")
            await auth_api.refresh(pair["refresh_token"])
            await auth_api.refresh(pair["refresh_token"])
            for _ in range(3):
                await auth_api.sign_in("alice@email.com", PASSWORD + "!")
            await auth_api.sign_up("bob@email.com", name=PASSWORD * 50)
            database = sqlite3.connect(tmp_path / "auth.db", isolation_level=None)
            database.execute("DROP TABLE revocations")
            database.execute("ALTER TABLE refresh_tokens RENAME TO gone")
            database.close()
            assert (await auth_api.refresh(pair["refresh_token"])).refusal[:2] == (500, "internal")
    assert "request_failed" in [line["event"] for line in logs]
    for secret in (PASSWORD, pair["refresh_token"], pair["access_token"]):
        assert secret not in str(logs)


@on_one_engine
async def test_body_is_bounded(auth_api: AuthApi) -> None:
    """One request could fill the memory."""
    answer = await auth_api.sign_up("alice@email.com", interests="x" * 200_000)
    assert answer.refusal[:2] == (413, "too_large")
    broken = await auth_api.call("POST", "/users", data=b"{", headers={"content-type": "application/json"})
    assert broken.refusal[:2] == (400, "malformed")


async def test_taken_port_is_an_error_of_the_system(tmp_path: Path) -> None:
    """The operator would be shown a stack trace, or auth would hang."""
    async with running_auth(tmp_path / "one") as auth_api:
        with pytest.raises(OSError, match="in use"):
            await serve(settings_of(tmp_path / "two", port=auth_api.port), asyncio.Event())


@on_one_engine
async def test_requests_in_flight_are_answered_before_the_stop(auth_home: AuthHome) -> None:
    """Whoever signs in while auth is restarted would see an error."""
    async with auth_home.running(argon2_time_cost=20, argon2_memory_kib=65_536) as auth_api:
        signing_in = asyncio.create_task(auth_api.sign_in("nobody@email.com"))
        numbers = ""
        while "palaver_auth_passwords_waiting 1.0" not in numbers:
            numbers = (await auth_api.call("GET", "/metrics")).text
            assert not signing_in.done(), "the hash is too quick for this test"
        auth_api.stopping.set()
        assert (await signing_in).status == 401


def test_migrated_schema_is_what_the_code_says(tmp_path: Path) -> None:
    """Statements would name columns and indexes that a migrated database does not have."""
    settings = settings_of(tmp_path / "migrated")
    assert migrate_database(settings) is True
    assert migrate_database(settings) is False
    engine = sqlite_engine(tmp_path / "made.db")
    metadata.create_all(engine)
    engine.dispose()
    assert schema_of(tmp_path / "migrated" / "auth.db") == schema_of(tmp_path / "made.db")


async def test_migrated_schema_on_a_server_is_what_the_code_says(
    auth_schema: MariadbSchema, mariadb_schema: MariadbSchema
) -> None:
    """Statements would name columns that a migrated schema does not have, or scan tables for want of an
    index."""
    with mariadb_schema.connection() as connection:
        metadata.create_all(connection)
    migrated = [row for row in auth_schema.description() if row[0] != "alembic_version"]
    assert mariadb_schema.description() == migrated


def schema_of(path: Path) -> dict[str, object]:
    """Each table's and index's columns."""
    database = sqlite3.connect(path)
    names = database.execute(
        "SELECT type, name FROM sqlite_master WHERE name NOT LIKE 'alembic%' AND sql != ''"
    )
    found: dict[str, object] = {}
    for kind, name in names.fetchall():
        found[name] = sorted(database.execute(f"PRAGMA {kind}_xinfo({name})").fetchall())
        found[f"{name} refers"] = database.execute(f"PRAGMA foreign_key_list({name})").fetchall()
    for [name] in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
        found[f"{name} indexes"] = sorted(row[1:] for row in database.execute(f"PRAGMA index_list({name})"))
    found.pop("alembic_version indexes", None)
    database.close()
    return found


async def test_newer_database_is_refused(tmp_path: Path) -> None:
    """An older Palaver would damage a newer one's accounts."""
    settings = settings_of(tmp_path)
    await asyncio.to_thread(migrate_database, settings)
    database = sqlite3.connect(tmp_path / "auth.db", isolation_level=None)
    database.execute("UPDATE alembic_version SET version_num = '9999'")
    database.close()
    with pytest.raises(SchemaTooNewError, match="9999"):
        await serve(settings, asyncio.Event())


async def test_unknown_database_is_refused(tmp_path: Path) -> None:
    """A misspelt address would silently make an empty database."""
    settings = settings_of(tmp_path, database_url="postgres://localhost/x")
    with pytest.raises(StartError, match=r"auth\.database_url"):
        await serve(settings, asyncio.Event())
    assert names_in(tmp_path) == set()


async def test_own_address_of_the_database(tmp_path: Path) -> None:
    """The setting would be ignored, and accounts be where no backup is."""
    async with running_auth(tmp_path, database_url=f"sqlite:///{tmp_path}/elsewhere/accounts.db") as auth_api:
        assert (await auth_api.sign_up("alice@email.com")).status == 201
    assert names_in(tmp_path) == {"elsewhere"}


def names_in(path: Path) -> set[str]:
    """What is in a directory."""
    return {found.name for found in path.iterdir()}


async def test_many_connections(auth_api: AuthApi) -> None:
    """A burst of requests would be answered with errors."""
    token = (await auth_api.signed_in_user("alice@email.com"))["access_token"]
    answers = await asyncio.gather(*(auth_api.call("GET", "/users/me", token) for _ in range(200)))
    assert {answer.status for answer in answers} == {200}
