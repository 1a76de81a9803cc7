"""Builds auth's parts and hands them to each other; nothing else does."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

from sqlalchemy import Connection
from starlette.types import ASGIApp

from palaver.auth import keys
from palaver.auth.accounts import AccountRates, Accounts
from palaver.auth.database import KIND, location_of
from palaver.auth.keys import Keys
from palaver.auth.login_throttle import Budgets, LoginThrottle
from palaver.auth.passwords import Passwords
from palaver.auth.rest import QUIET_PATHS, Services, build_app, health_checks
from palaver.auth.sessions import Sessions
from palaver.contracts.times import now_us
from palaver.runtime.background import running
from palaver.runtime.deployment_secret import secret_of
from palaver.runtime.http.health import health_app
from palaver.runtime.http.instrumentation import RequestInstrumentation
from palaver.runtime.http.server import Server, serving_http
from palaver.runtime.rate_limits import RateLimiter, Unlimited
from palaver.runtime.redis.opening import open_redis, rate_limiter
from palaver.runtime.settings import Settings
from palaver.runtime.settings.auth import AuthSettings
from palaver.runtime.sql import locations
from palaver.runtime.sql.database import Database
from palaver.runtime.telemetry.configuration import log
from palaver.runtime.tokens import TokenVerifier

if TYPE_CHECKING:
    from palaver.runtime.redis.client import RedisClient

P = ParamSpec("P")
T = TypeVar("T")

# How long a stopping auth waits for requests in flight
GRACE_SECONDS = 5
PRUNE_SECONDS = 600.0
# Sockets of a session that nobody refreshed stay open for no longer than this, and a gateway's poll
EXPIRY_SECONDS = 1.0
MINUTE = 60.0
# Wrong passwords of one address for an account that many addresses attack
ATTACKED_A_MINUTE = 1
# One for reads, one for writes
ONCE_CONNECTIONS = 2
# Longer than callers keep idle connections (30 s): a request on one that is being closed gets no response
KEEP_ALIVE_SECONDS = 75


async def serve(
    settings: Settings, stopping: asyncio.Event, ready: Callable[[int], None] | None = None
) -> None:
    """Serves until `stopping` is set, then drains. Calls `ready` with the port once it takes connections.

    Raises `OSError` where the port is taken, and `StartError`.
    """
    own = settings.auth
    secret = secret_of(settings)
    async with contextlib.AsyncExitStack() as stack:
        location = location_of(settings)
        await locations.migrate_database(location, KIND)
        with locations.starting_with(location):
            database = locations.open_database(location, own.database_connections)
            stack.push_async_callback(database.close)
            await database.write(keys.ensure_key, now_us())
        redis = await open_redis(own.redis_url, "auth.redis_url", stack)
        services = await build_services(own, database, stack, redis)
        sessions = services.sessions
        await stack.enter_async_context(running(regularly(sessions.prune, PRUNE_SECONDS)))
        await stack.enter_async_context(running(regularly(sessions.end_expired, EXPIRY_SECONDS)))
        await stack.enter_async_context(locations.upkeep(location))
        checks = health_checks(database, services.keys) | locations.disk_checks(location)
        dispensable = {"redis": redis.is_usable} if redis is not None else {}
        app: ASGIApp = build_app(services, checks, secret, dispensable)
        if own.socket:
            await stack.enter_async_context(serving(app, settings, path=own.socket))
            app = health_app(checks, dispensable)
        server = await stack.enter_async_context(serving(app, settings))
        log.info("listening", host=own.host, port=server.port, socket=own.socket)
        if ready is not None:
            ready(server.port)
        await stopping.wait()
        log.info("stopping")
    log.info("stopped")


def serving(
    app: ASGIApp, settings: Settings, **options: Any
) -> contextlib.AbstractAsyncContextManager[Server]:
    """Serves an app on auth's port, or, with a `path`, on a Unix socket."""
    instrumented = RequestInstrumentation(
        app, is_edge=False, access_log=settings.telemetry.access_log, quiet_paths=QUIET_PATHS
    )
    return serving_http(
        instrumented,
        settings.auth.host,
        settings.auth.port,
        timeout_graceful_shutdown=GRACE_SECONDS,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        **options,
    )


async def build_services(
    settings: AuthSettings,
    database: Database,
    stack: contextlib.AsyncExitStack,
    redis: "RedisClient | None" = None,
) -> Services:
    """The use cases, and what they need. `stack` ends what has to be ended."""
    clock = time.monotonic

    async def limiter(name: str, per_minute: int) -> RateLimiter:
        """A limiter of so many a minute, all of which may come at once."""
        started: RateLimiter = Unlimited()
        if settings.rates:
            started = rate_limiter(redis, name, per_minute / MINUTE, per_minute, clock)
        await started.start()
        stack.push_async_callback(started.stop)
        return started

    passwords = Passwords(settings)
    stack.callback(passwords.close)
    signing_keys = Keys(database, settings.access_token_seconds, clock)
    await signing_keys.load()
    rates = AccountRates(
        sign_ups=await limiter("sign_ups", settings.sign_ups_per_address),
        searches=await limiter("searches", settings.searches_per_user),
        searches_of_address=await limiter("searches_of_address", settings.searches_per_address),
        changes=await limiter("changes", settings.profile_changes_per_user),
    )
    # The keys are at hand: looking for a new one costs nothing that a forger could multiply
    verifier = TokenVerifier(signing_keys.jwks, settings.access_token_seconds, keys_seconds=0)
    await stack.enter_async_context(running(verifier.follow_keys()))
    budgets = Budgets(
        origins=await limiter("origins", settings.wrong_passwords_per_account),
        addresses=await limiter("addresses", settings.wrong_passwords_per_address),
        accounts=await limiter("accounts", settings.wrong_passwords_before_slowing),
        attacked=await limiter("attacked", ATTACKED_A_MINUTE),
    )
    throttle = LoginThrottle(budgets, clock)
    sessions = Sessions(database, passwords, signing_keys, throttle, verifier, settings)
    accounts = Accounts(database, passwords, sessions, rates, clock)
    return Services(accounts, sessions, signing_keys)


async def regularly(work: Callable[[], Awaitable[None]], seconds: float) -> None:
    """Does `work` again and again, until cancelled."""
    while True:
        try:
            await work()
        except Exception:
            # What is left is done the next time
            log.exception("upkeep_failed", work=work.__name__)
        await asyncio.sleep(seconds)


def migrate_database(settings: Settings) -> bool:
    """Brings the database to the newest schema, making it where there is none. False: it was there already.

    Raises `StartError`. Not from a running event loop.
    """
    return asyncio.run(locations.migrate_database(location_of(settings), KIND))


def rotate_keys(settings: Settings, revoke: bool = False) -> str:
    """Makes the key that signs from now on, and returns its id. A running auth notices within a second.

    Tokens of earlier ones stay good until they expire, or, with `revoke`, are refused from then on. Raises
    `StartError`. Not from a running event loop.
    """
    migrate_database(settings)
    return asyncio.run(write_once(settings, keys.rotate, now_us(), revoke))


async def write_once(
    settings: Settings, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
) -> T:
    """One transaction on the database, without serving it."""
    location = location_of(settings)
    with locations.starting_with(location):
        database = locations.open_database(location, ONCE_CONNECTIONS)
        try:
            return await database.write(work, *args, **kwargs)
        finally:
            await database.close()
