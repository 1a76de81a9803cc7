"""Auth's private REST: which caller may do what. What happens then is up to the use cases."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, FastAPI, Header, Query, Request
from starlette.middleware import Middleware

from palaver.auth import domain
from palaver.auth.accounts import Accounts
from palaver.auth.domain import Client
from palaver.auth.keys import Keys
from palaver.auth.sessions import Sessions
from palaver.contracts import accounts as contract
from palaver.contracts.errors import INVALID, UNAUTHENTICATED, PalaverError
from palaver.contracts.ids import id_from_text, text_from_id
from palaver.contracts.seqs import LAST_SEQ
from palaver.runtime.addresses import address_key
from palaver.runtime.deployment_secret import DeploymentSecret
from palaver.runtime.http.disconnects import until_disconnect
from palaver.runtime.http.errors import render_wire_error
from palaver.runtime.http.exception_handlers import exception_handlers
from palaver.runtime.http.health import NO_CHECKS, Check, health_routes
from palaver.runtime.http.instrumentation import HEALTH_PATHS
from palaver.runtime.http.json_bounds import JsonBounds
from palaver.runtime.http.middleware import BodyLimit, ErrorBoundary
from palaver.runtime.http.secret import SecretRequired
from palaver.runtime.printable import printable
from palaver.runtime.requester import SERVICE, requester, work_for
from palaver.runtime.sql.database import Database
from palaver.runtime.sql.health import is_usable
from palaver.runtime.telemetry.configuration import log
from palaver.runtime.telemetry.log_context import bind_field
from palaver.runtime.tokens import Claims

# The largest honest body looks up 1,000 names
BODY_BYTES = 131_072
MOST_FIELDS = 100
MOST_USERS = 1_000
KEYS_PATH = "/.well-known/jwks.json"
# Every gateway polls revocations twice a second; all services that verify tokens poll keys every second
QUIET_PATHS = HEALTH_PATHS | {"/revocations", KEYS_PATH}

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

users = APIRouter(prefix="/users")
sessions = APIRouter(prefix="/sessions")
system = APIRouter()


@dataclass(frozen=True, slots=True)
class Services:
    """The use cases that requests are handed to."""

    accounts: Accounts
    sessions: Sessions
    keys: Keys


def build_app(
    services: Services,
    checks: Mapping[str, Check],
    secret: DeploymentSecret,
    dispensable: Mapping[str, Check] = NO_CHECKS,
) -> FastAPI:
    """The private REST as an ASGI app. Only health and metrics need no secret."""
    app = FastAPI(
        title="Palaver auth",
        routes=health_routes(checks, dispensable),
        middleware=[
            Middleware(SecretRequired, secret=secret),
            Middleware(ErrorBoundary, render=render_wire_error),
            Middleware(BodyLimit, most=BODY_BYTES),
            Middleware(JsonBounds, most_fields=MOST_FIELDS, most_values=2 * MOST_USERS),
        ],
        exception_handlers=exception_handlers(render_wire_error),
        docs_url=None,
        redoc_url=None,
        # FastAPI's own records of validation errors hold the input: passwords
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    app.state.services = services
    for router in (users, sessions, system):
        app.include_router(router)
    return app


def health_checks(database: Database, keys: Keys) -> dict[str, Check]:
    """What auth needs: a database that can be read and written, and a key to sign with."""

    async def can_read_keys() -> bool:
        try:
            await keys.load()
        except Exception as error:
            log.warning("not_ready", cause=type(error).__name__, debug=getattr(error, "debug", {}))
            return False
        return True

    async def has_database() -> bool:
        return await is_usable(database) and await can_read_keys()

    async def has_signing_key() -> bool:
        # Keys that cannot be read are the database's failure
        return not await can_read_keys() or keys.is_signing()

    return {"database": has_database, "signing key": has_signing_key}


# All of these are coroutines: FastAPI runs other functions in a thread, and back, for each request
async def services_of(request: Request) -> Services:
    """The use cases behind the request's app."""
    found: Services = request.app.state.services
    return found


ServicesDep = Annotated[Services, Depends(services_of)]


async def caller_of(services: ServicesDep, authorization: Annotated[str, Header()] = "") -> Claims:
    """The claims of the request's token. Raises `unauthenticated`."""
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise PalaverError(UNAUTHENTICATED, "an access token is needed")
    claims = await services.sessions.verify(token.strip())
    work_for(claims.user_id)
    bind_field("user_id", text_from_id(claims.user_id))
    return claims


async def client_of(
    request: Request,
    x_client_address: Annotated[str, Header()] = "",
    x_client_agent: Annotated[str, Header()] = "",
) -> Client:
    """The device that the gateway names; without a gateway, the peer. What no user asks for is done for its
    address."""
    peer = request.client.host if request.client else ""
    # HTTP headers are bytes; the server hands them out as if they were Latin-1
    agent = x_client_agent.encode("latin-1").decode("utf-8", "replace")
    address = x_client_address or peer
    if requester() == SERVICE:
        work_for(address_key(address))
    return Client(address, printable(agent))


CallerDep = Annotated[Claims, Depends(caller_of)]
ClientDep = Annotated[Client, Depends(client_of)]
Limit = Annotated[int, Query(ge=0, le=MOST_USERS)]
Offset = Annotated[int, Query(ge=0, le=2**31)]


@users.post("", status_code=201)
async def sign_up(
    request: Request, services: ServicesDep, client: ClientDep, form: contract.SignUp
) -> contract.User:
    """Makes an account."""
    async with until_disconnect(request):
        return user_to_contract(await services.accounts.sign_up(form, client))


@users.get("/me")
async def show_me(services: ServicesDep, caller: CallerDep) -> contract.User:
    """The caller's profile."""
    return user_to_contract(await services.accounts.me(caller))


@users.patch("/me")
async def change_me(services: ServicesDep, caller: CallerDep, form: contract.ProfileChange) -> contract.User:
    """Changes the caller's profile."""
    return user_to_contract(await services.accounts.change(caller, form))


@users.get("/by-email")
async def find_by_email(
    services: ServicesDep, caller: CallerDep, client: ClientDep, email: str
) -> contract.User:
    """The user with an email."""
    return user_to_contract(await services.accounts.find_by_email(caller, client, email))


@users.get("/search")
async def search(
    services: ServicesDep,
    caller: CallerDep,
    client: ClientDep,
    q: str,
    limit: Limit = 10,
    cursor: str = "",
    offset: Offset = 0,
    with_total: bool = False,
) -> contract.UserPage:
    """Users by the beginnings of their names: by cursor, or by offset with the total."""
    if not with_total and not offset:
        page, next_cursor = await services.accounts.search(caller, client, q, limit, cursor)
        return contract.UserPage(users=list(map(user_to_contract, page)), next_cursor=next_cursor)
    if cursor:
        raise PalaverError(INVALID, "cursor does not go with offset or with_total", field="cursor")
    page, total = await services.accounts.search_by_offset(caller, client, q, limit, offset)
    return contract.UserPage(users=list(map(user_to_contract, page)), total=total)


@users.get("/all")
async def list_all(
    services: ServicesDep, caller: CallerDep, client: ClientDep, limit: Limit = 10, offset: Offset = 0
) -> contract.UserPage:
    """Everybody but the caller."""
    page, total = await services.accounts.everybody(caller, client, limit, offset)
    return contract.UserPage(users=list(map(user_to_contract, page)), total=total)


@users.post("/names")
async def look_up(services: ServicesDep, form: contract.UserLookup) -> contract.UserNames:
    """Names by id. Needs no token: the messenger looks names up for itself."""
    found = await services.accounts.names([one.bytes for one in form.ids])
    names = [
        contract.UserName(id=UUID(bytes=id_), name=name, surname=surname) for id_, name, surname in found
    ]
    return contract.UserNames(users=names)


@users.get("/{user_id}")
async def show_user(services: ServicesDep, caller: CallerDep, user_id: str) -> contract.User:
    """A user's profile."""
    return user_to_contract(await services.accounts.find(caller, id_from_text(user_id, "id")))


@sessions.post("", status_code=201)
async def sign_in(
    request: Request, services: ServicesDep, client: ClientDep, form: contract.SignIn
) -> contract.TokenPair:
    """Starts a session."""
    async with until_disconnect(request):
        return await services.sessions.sign_in(form, client)


@sessions.post("/refresh", dependencies=[Depends(client_of)])
async def refresh(services: ServicesDep, form: contract.Refresh) -> contract.TokenPair:
    """Changes a refresh token for a new pair."""
    return await services.sessions.refresh(form)


@sessions.get("")
async def list_sessions(services: ServicesDep, caller: CallerDep) -> contract.Sessions:
    """The caller's live sessions."""
    found = await services.sessions.live(caller)
    return contract.Sessions(sessions=[session_to_contract(one, caller.session_id) for one in found])


@sessions.delete("/{session_id}", status_code=204)
async def end_session(services: ServicesDep, caller: CallerDep, session_id: str) -> None:
    """Ends one of the caller's sessions."""
    ended = caller.session_id if session_id == "current" else id_from_text(session_id, "id")
    await services.sessions.end(caller, ended)


@system.get("/revocations")
async def list_revocations(
    services: ServicesDep, after: Annotated[int, Query(ge=-1, le=LAST_SEQ)] = 0
) -> contract.Revocations:
    """Sessions that ended after a position; -1 gives the newest position alone."""
    ended, position = await services.sessions.revocations(after)
    return contract.Revocations(session_ids=[UUID(bytes=one) for one in ended], position=position)


@system.get(KEYS_PATH)
async def show_keys(services: ServicesDep) -> dict[str, Any]:
    """The public keys of access tokens."""
    return await services.keys.jwks()


def user_to_contract(user: domain.User) -> contract.User:
    """A user in auth's contract."""
    return contract.User(
        id=UUID(bytes=user.id),
        email=user.email,
        name=user.name,
        surname=user.surname,
        birthday=user.birthday,
        sex=user.sex,
        city=user.city,
        interests=user.interests,
        created_at=time_of(user.created_at),
    )


def user_name(user_id: bytes, name: str, surname: str) -> contract.UserName:
    """A user's id and names in auth's contract."""
    return contract.UserName(id=UUID(bytes=user_id), name=name, surname=surname)


def session_to_contract(session: domain.Session, current: bytes) -> contract.Session:
    """A session in auth's contract."""
    return contract.Session(
        id=UUID(bytes=session.id),
        created_at=time_of(session.created_at),
        last_used_at=time_of(session.last_used_at),
        agent=session.agent,
        address=session.address,
        current=session.id == current,
    )


def time_of(us: int) -> datetime:
    """A time of the database, in microseconds since the epoch, as a `datetime`."""
    return _EPOCH + timedelta(microseconds=us)
