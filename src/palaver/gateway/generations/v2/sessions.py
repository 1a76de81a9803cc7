"""v2 sessions: sign-in, refresh, list, sign-out."""

from typing import Annotated

from fastapi import APIRouter, Path
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from palaver.contracts import accounts as contract
from palaver.contracts.ids import text_from_id
from palaver.gateway.generations.v2.problems import WITH_BODY, problems
from palaver.gateway.http.authentication import BearerCaller, client_of
from palaver.gateway.http.fields import Id, Secret, Text, shown_as
from palaver.gateway.http.responses import answer_model
from palaver.gateway.services import services_of
from palaver.runtime.http.disconnects import until_disconnect

router = APIRouter(prefix="/sessions")

_TOKENS = {
    "access_token": "eyJhbGciOiJFZERTQSIsImtpZCI6IjEifQ.eyJzdWIiOiIwMTk0MGI3ZSJ9.c2lnbmF0dXJl",
    "refresh_token": "0GkF2VQm1k7rXb6yqT9wYw",
    "expires_in": 1800,
    "user_id": "01940b7e-2f63-7c1e-8d5a-3a1f0c9e7b21",
    "session_id": "01940b7f-91c4-7a50-b1c3-5e2f8d1a9c04",
}
_SESSION = {
    "id": "01940b7f-91c4-7a50-b1c3-5e2f8d1a9c04",
    "created_at": "2024-12-27T20:21:25.120331Z",
    "last_used_at": "2024-12-27T21:02:10.004512Z",
    "agent": "curl/8.5.0",
    "address": "203.0.113.7",
    "current": True,
}


class SignIn(contract.Model):
    """A pair to sign in with."""

    model_config = shown_as({"email": "alice@email.com", "password": "correct horse"})

    email: Annotated[Text, Field(max_length=320)]
    password: Annotated[Secret, Field(max_length=10_000)]


class Refresh(contract.Model):
    """A refresh token, which is good for one use."""

    model_config = shown_as({"refresh_token": _TOKENS["refresh_token"]})

    refresh_token: Annotated[Text, Field(max_length=1_000)]


class TokenPair(contract.TokenPair):
    """The tokens of one session. `expires_in`: seconds that the access token lives."""

    model_config = shown_as(_TOKENS)


class Sessions(contract.Sessions):
    """The live sessions of the caller, newest first."""

    model_config = shown_as({"sessions": [_SESSION]})


@router.post(
    "",
    status_code=201,
    summary="Sign in",
    response_model=TokenPair,
    responses=problems(*WITH_BODY, 401, 429),
)
async def sign_in(request: Request, pair: SignIn) -> Response:
    """Starts a session on this device; those on other devices go on."""
    credentials = contract.SignIn(email=pair.email, password=pair.password)
    async with until_disconnect(request):
        tokens = await services_of(request).auth.sign_in(credentials, client_of(request))
    return answer_model(tokens, 201)


@router.post(
    "/refresh",
    summary="Refresh a session",
    response_model=TokenPair,
    responses=problems(*WITH_BODY, 401),
)
async def refresh(request: Request, refresh: Refresh) -> Response:
    """Changes a refresh token for a new pair. Repeated within 10 s it gives the same pair; later reuse of an
    old token ends the session."""
    used = contract.Refresh(refresh_token=refresh.refresh_token)
    return answer_model(await services_of(request).auth.refresh(used, client_of(request)))


@router.get("", summary="List sessions", response_model=Sessions, responses=problems(401))
async def list_sessions(request: Request, caller: BearerCaller) -> Response:
    """The caller's live sessions, newest first."""
    return answer_model(await services_of(request).auth.sessions(caller.token))


@router.delete(
    "/current", status_code=204, summary="Sign out", response_class=Response, responses=problems(401, 404)
)
async def sign_out(request: Request, caller: BearerCaller) -> Response:
    """Ends the session of the request's own token. Its sockets close within seconds."""
    await services_of(request).auth.end_session(caller.token, "current")
    return Response(status_code=204)


@router.delete(
    "/{session_id}",
    status_code=204,
    summary="End a session",
    response_class=Response,
    responses=problems(401, 404, 422),
)
async def end_session(request: Request, caller: BearerCaller, session_id: Annotated[Id, Path()]) -> Response:
    """Signs another device of the caller out. Its sockets close within seconds."""
    await services_of(request).auth.end_session(caller.token, text_from_id(session_id))
    return Response(status_code=204)
