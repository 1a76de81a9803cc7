"""Auth's private REST. Who may do what is decided here; what happens is the use cases'."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, FastAPI, Header, Query, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from palaver.auth import domain
from palaver.auth.accounts import Accounts
from palaver.auth.domain import Client
from palaver.auth.keys import Keys
from palaver.auth.sessions import Sessions
from palaver.contracts import accounts as wire
from palaver.contracts.errors import INVALID, UNAUTHENTICATED, UNAVAILABLE, PalaverError
from palaver.contracts.ids import id_from_text, text_from_id
from palaver.runtime.http.errors import answer_errors
from palaver.runtime.http.instrumentation import HEALTH_PATHS
from palaver.runtime.sql.database import Database
from palaver.runtime.sql.health import is_usable
from palaver.runtime.telemetry.configuration import log
from palaver.runtime.telemetry.log_context import bind_field
from palaver.runtime.tokens import Claims

MOST_USERS = 1_000
LARGEST_INTEGER = 2**63 - 1
# Every gateway asks for revocations twice a second
QUIET_PATHS = HEALTH_PATHS | {"/revocations"}

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
    database: Database


def build_app(services: Services) -> FastAPI:
    """The private REST as an ASGI app."""
    app = FastAPI(title="Palaver auth", docs_url=None, redoc_url=None)
    app.state.services = services
    answer_errors(app)
    for router in (users, sessions, system):
        app.include_router(router)
    return app


def services_of(request: Request) -> Services:
    """The use cases behind the request's app."""
    found: Services = request.app.state.services
    return found


async def caller_of(request: Request, authorization: Annotated[str, Header()] = "") -> Claims:
    """Who calls. Raises `unauthenticated`."""
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise PalaverError(UNAUTHENTICATED, "an access token is needed")
    claims = await services_of(request).sessions.verify(token.strip())
    bind_field("user_id", text_from_id(claims.user_id))
    return claims


def client_of(
    request: Request,
    x_client_address: Annotated[str, Header()] = "",
    x_client_agent: Annotated[str, Header()] = "",
) -> Client:
    """The device that the gateway tells of; without a gateway, the peer."""
    peer = request.client.host if request.client else ""
    # HTTP headers are bytes; the server hands them out as if they were Latin-1
    agent = x_client_agent.encode("latin-1").decode("utf-8", "replace")
    return Client(x_client_address or peer, "".join(filter(str.isprintable, agent)))


Use = Annotated[Services, Depends(services_of)]
Caller = Annotated[Claims, Depends(caller_of)]
From = Annotated[Client, Depends(client_of)]
Limit = Annotated[int, Query(ge=0, le=MOST_USERS)]
Offset = Annotated[int, Query(ge=0, le=2**31)]


@users.post("", status_code=201)
async def sign_up(use: Use, client: From, form: wire.SignUp) -> wire.User:
    """Makes an account."""
    return told_user(await use.accounts.sign_up(form, client))


@users.get("/me")
async def show_me(use: Use, caller: Caller) -> wire.User:
    """The caller's profile."""
    return told_user(await use.accounts.me(caller))


@users.patch("/me")
async def change_me(use: Use, caller: Caller, form: wire.ProfileChange) -> wire.User:
    """Changes the caller's profile."""
    return told_user(await use.accounts.change(caller, form))


@users.get("/by-email")
async def find_by_email(use: Use, caller: Caller, email: str) -> wire.User:
    """The user with an email."""
    return told_user(await use.accounts.find_by_email(caller, email))


@users.get("/search")
async def search(
    use: Use,
    caller: Caller,
    q: str,
    limit: Limit = 10,
    cursor: str = "",
    offset: Offset = 0,
    with_total: bool = False,
) -> wire.UserPage:
    """Users by the beginnings of their names: by cursor, or by offset with the total."""
    if not with_total and not offset:
        page, next_cursor = await use.accounts.search(caller, q, limit, cursor)
        return wire.UserPage(users=list(map(told_user, page)), next_cursor=next_cursor)
    if cursor:
        raise PalaverError(INVALID, "cursor does not go with offset or with_total", field="cursor")
    page, total = await use.accounts.search_by_offset(caller, q, limit, offset)
    return wire.UserPage(users=list(map(told_user, page)), total=total)


@users.get("/all")
async def list_all(use: Use, caller: Caller, limit: Limit = 10, offset: Offset = 0) -> wire.UserPage:
    """Everybody but the caller."""
    page, total = await use.accounts.everybody(caller, limit, offset)
    return wire.UserPage(users=list(map(told_user, page)), total=total)


@users.post("/names")
async def look_up(use: Use, form: wire.UserLookup) -> wire.UserNames:
    """Who stands behind ids. Without a token: the messenger asks for itself."""
    found = await use.accounts.names([one.bytes for one in form.ids])
    told = [wire.UserName(id=UUID(bytes=id_), name=name, surname=surname) for id_, name, surname in found]
    return wire.UserNames(users=told)


@users.get("/{user_id}")
async def show_user(use: Use, caller: Caller, user_id: str) -> wire.User:
    """A user's profile."""
    return told_user(await use.accounts.find(caller, id_from_text(user_id, "id")))


@sessions.post("", status_code=201)
async def sign_in(use: Use, client: From, form: wire.SignIn) -> wire.TokenPair:
    """Starts a session."""
    return await use.sessions.sign_in(form, client)


@sessions.post("/refresh")
async def refresh(use: Use, form: wire.Refresh) -> wire.TokenPair:
    """Changes a refresh token for a new pair."""
    return await use.sessions.refresh(form)


@sessions.get("")
async def list_sessions(use: Use, caller: Caller) -> wire.Sessions:
    """The caller's live sessions."""
    found = await use.sessions.live(caller)
    return wire.Sessions(sessions=[told_session(one, caller.session_id) for one in found])


@sessions.delete("/{session_id}", status_code=204)
async def end_session(use: Use, caller: Caller, session_id: str) -> None:
    """Ends one of the caller's sessions."""
    ended = caller.session_id if session_id == "current" else id_from_text(session_id, "id")
    await use.sessions.end(caller, ended)


@system.get("/revocations")
async def list_revocations(
    use: Use, after: Annotated[int, Query(ge=-1, le=LARGEST_INTEGER)] = 0
) -> wire.Revocations:
    """Sessions that ended after a position; -1 asks for the newest position alone."""
    ended, position = await use.sessions.revocations(after)
    return wire.Revocations(session_ids=[UUID(bytes=one) for one in ended], position=position)


@system.get("/.well-known/jwks.json")
async def show_keys(use: Use) -> dict[str, Any]:
    """The public keys of access tokens."""
    return await use.keys.jwks()


@system.get("/healthz")
async def tell_alive() -> dict[str, bool]:
    """Whether the process lives."""
    return {"alive": True}


@system.get("/readyz")
async def tell_readiness(use: Use, response: Response) -> dict[str, Any]:
    """Whether the database can be read and written, and there is a key to sign with; else what is lacking."""
    lacks = await lacks_of(use)
    if not lacks:
        return {"ready": True, "lacks": []}
    response.status_code = UNAVAILABLE.http
    refusal = {"code": UNAVAILABLE.code, "message": f"lacking: {', '.join(lacks)}"}
    return {**refusal, "ready": False, "lacks": lacks}


async def lacks_of(use: Services) -> list[str]:
    """What keeps auth from doing its work."""
    if not await is_usable(use.database):
        return ["database"]
    try:
        await use.keys.load()
    except Exception as error:
        log.warning("not_ready", exc_info=error)
        return ["database"]
    return [] if use.keys.is_signing() else ["signing key"]


@system.get("/metrics")
async def tell_metrics() -> Response:
    """Numbers for Prometheus."""
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)


def told_user(user: domain.User) -> wire.User:
    """A user as REST tells of it."""
    return wire.User(
        id=UUID(bytes=user.id),
        email=user.email,
        name=user.name,
        surname=user.surname,
        birthday=user.birthday,
        sex=user.sex,
        city=user.city,
        interests=user.interests,
        created_at=moment(user.created_at),
    )


def told_session(session: domain.Session, current: bytes) -> wire.Session:
    """A session as REST tells of it."""
    return wire.Session(
        id=UUID(bytes=session.id),
        created_at=moment(session.created_at),
        last_used_at=moment(session.last_used_at),
        agent=session.agent,
        address=session.address,
        current=session.id == current,
    )


def moment(us: int) -> datetime:
    """A time of a database."""
    return _EPOCH + timedelta(microseconds=us)
