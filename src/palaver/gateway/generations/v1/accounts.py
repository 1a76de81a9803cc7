"""v1 accounts: sign-up, sign-in and refresh. v2 made them resources, dates of birthdays, and ids of users."""

from dataclasses import dataclass
from typing import Annotated, Literal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from palaver.contracts import accounts as contract
from palaver.gateway.generations.legacy import Birthday, refusals
from palaver.gateway.http.authentication import client_of
from palaver.gateway.http.fields import Secret, Text, shown_as
from palaver.gateway.http.responses import answer_json
from palaver.gateway.services import services_of
from palaver.runtime.http.disconnects import until_disconnect

router = APIRouter(prefix="/auth")

_ACCESS = "eyJhbGciOiJFZERTQSIsImtpZCI6IjEifQ.eyJzdWIiOiIwMTk0MGI3ZSJ9.c2lnbmF0dXJl"
_REFRESH = "0GkF2VQm1k7rXb6yqT9wYw"


class NewUser(BaseModel):
    """A new account. Unknown fields are passed over, as the original did."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "email": "bob@email.com",
                "password": "1234567890",
                "name": "Bob",
                "surname": "Tallor",
                "birthday": "1994-04-10T20:21:25+00:00",
                "sex": "male",
                "city": "New Yourk",
                "interests": "programming",
            }
        }
    )

    email: Annotated[Text, Field(max_length=320)]
    password: Annotated[Secret, Field(min_length=1, max_length=10_000)]
    name: Annotated[Text, Field(min_length=1, max_length=100)]
    surname: Annotated[Text, Field(min_length=1, max_length=100)]
    birthday: Birthday
    sex: Literal["male", "female"]
    city: Annotated[Text, Field(max_length=1000)]
    interests: Annotated[Text, Field(max_length=1000)]


class Pair(BaseModel):
    """A pair to sign in with."""

    model_config = shown_as({"email": "bob@email.com", "password": "1234567890"}, "ignore")

    email: Annotated[Text, Field(max_length=320)]
    password: Annotated[Secret, Field(max_length=10_000)]


class OldToken(BaseModel):
    """A refresh token, which is good for one use."""

    model_config = shown_as({"refresh_token": _REFRESH}, "ignore")

    refresh_token: Annotated[Text, Field(max_length=1_000)]


@dataclass(slots=True)
class Nothing:
    """It is done."""

    __pydantic_config__ = shown_as({})


@dataclass(slots=True)
class Tokens:
    """The tokens of a session."""

    __pydantic_config__ = shown_as({"access_token": _ACCESS, "refresh_token": _REFRESH})

    access_token: str
    refresh_token: str


@router.post("/sign-up", summary="Sign up", response_model=Nothing, responses=refusals(400, 409, 413, 429))
async def sign_up(request: Request, account: NewUser) -> Response:
    """Creates an account. Answers 409 where the email is taken; the original answered 500."""
    signup = contract.SignUp(**account.model_dump(), old_rules=True)
    async with until_disconnect(request):
        await services_of(request).auth.sign_up(signup, client_of(request))
    return answer_json({})


@router.post("/sign-in", summary="Sign in", response_model=Tokens, responses=refusals(400, 401, 413, 429))
async def sign_in(request: Request, pair: Pair) -> Response:
    """Starts a session. Other devices stay signed in; the original signed them out."""
    credentials = contract.SignIn(email=pair.email, password=pair.password)
    async with until_disconnect(request):
        tokens = await services_of(request).auth.sign_in(credentials, client_of(request))
    return answer_tokens(tokens)


@router.put("/token", summary="Refresh a session", response_model=Tokens, responses=refusals(400, 401, 413))
async def refresh(request: Request, old: OldToken) -> Response:
    """Changes a refresh token for a new pair of tokens."""
    used = contract.Refresh(refresh_token=old.refresh_token)
    return answer_tokens(await services_of(request).auth.refresh(used, client_of(request)))


def answer_tokens(pair: contract.TokenPair) -> Response:
    """Only what old clients know of a pair."""
    return answer_json(Tokens(pair.access_token, pair.refresh_token))
