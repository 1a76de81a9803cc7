"""Builds auth's parts and wires them; nothing else does."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

from sqlalchemy import Connection

from palaver.auth import keys
from palaver.auth.accounts import Accounts
from palaver.auth.keys import Keys
from palaver.auth.migrations import MIGRATIONS
from palaver.auth.passwords import Passwords
from palaver.auth.rest import QUIET_PATHS, Services, build_app
from palaver.auth.sessions import Sessions
from palaver.contracts.times import now_us
from palaver.runtime.http.errors import Guarded
from palaver.runtime.http.instrumentation import RequestInstrumentation
from palaver.runtime.http.server import serving_http
from palaver.runtime.settings import Settings
from palaver.runtime.sql.database import SqliteDatabase
from palaver.runtime.sql.migrations import migrate
from palaver.runtime.startup import StartError
from palaver.runtime.telemetry.configuration import log

P = ParamSpec("P")
T = TypeVar("T")

# The largest honest body asks for 1,000 names
BODY_BYTES = 131_072
# How long a stopping auth waits for requests in flight
GRACE_SECONDS = 5
PRUNE_SECONDS = 600.0
# Longer than callers keep idle connections (30 s): who sends on one that is being closed gets no answer
KEEP_ALIVE_SECONDS = 75


async def serve(
    settings: Settings, stopping: asyncio.Event, ready: Callable[[int], None] | None = None
) -> None:
    """Serves until `stopping` is set, then drains. `ready` is told the port once it takes connections.

    Raises `OSError` where the port is taken, and `StartError`.
    """
    own = settings.auth
    async with contextlib.AsyncExitStack() as stack:
        database = SqliteDatabase(database_file(settings))
        stack.push_async_callback(database.close)
        await database.write(migrate, MIGRATIONS)
        await database.write(keys.ensure_key, now_us())
        signing = Keys(database, own.access_token_seconds)
        await signing.load()
        passwords = Passwords(own)
        stack.callback(passwords.close)
        sessions = Sessions(database, passwords, signing, own)
        accounts = Accounts(database, passwords, sessions, own)
        app = RequestInstrumentation(
            Guarded(build_app(Services(accounts, sessions, signing, database)), BODY_BYTES),
            is_edge=False,
            access_log=settings.telemetry.access_log,
            quiet_paths=QUIET_PATHS,
        )
        await stack.enter_async_context(pruning(sessions))
        server = await stack.enter_async_context(
            serving_http(
                app,
                own.host,
                own.port,
                timeout_graceful_shutdown=GRACE_SECONDS,
                timeout_keep_alive=KEEP_ALIVE_SECONDS,
            )
        )
        log.info("listening", host=own.host, port=server.port)
        if ready is not None:
            ready(server.port)
        await stopping.wait()
        log.info("stopping")
    log.info("stopped")


@contextlib.asynccontextmanager
async def pruning(sessions: Sessions) -> AsyncIterator[None]:
    """Forgets old sessions now and then during the block."""
    task = asyncio.create_task(prune_regularly(sessions), name="prune")
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def prune_regularly(sessions: Sessions) -> None:
    """Runs until cancelled."""
    while True:
        try:
            await sessions.prune()
        except Exception:
            # What stays until the next time harms nobody
            log.exception("pruning_failed")
        await asyncio.sleep(PRUNE_SECONDS)


def migrate_database(settings: Settings) -> bool:
    """Brings the database to the newest schema, making it where there is none. False: it was there already.

    Raises `StartError`. Not from a running event loop.
    """
    return asyncio.run(write_once(settings, migrate, MIGRATIONS))


def rotate_keys(settings: Settings) -> str:
    """Makes the key that signs from now on, and returns its id. A running auth notices within a second.

    Tokens of the old one stay good until they expire. Raises `StartError`. Not from a running event loop.
    """
    migrate_database(settings)
    return asyncio.run(write_once(settings, keys.rotate, now_us()))


async def write_once(
    settings: Settings, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
) -> T:
    """One transaction on the database, without serving it."""
    database = SqliteDatabase(database_file(settings))
    try:
        return await database.write(work, *args, **kwargs)
    finally:
        await database.close()


def database_file(settings: Settings) -> Path:
    """Where accounts are. Raises `StartError`."""
    url = settings.auth.database_url
    if not url:
        return settings.data_dir / "auth.db"
    path = url.removeprefix("sqlite:///")
    if path == url or not path:
        raise StartError("setting auth.database_url: only sqlite:///PATH is known")
    return Path(path)
