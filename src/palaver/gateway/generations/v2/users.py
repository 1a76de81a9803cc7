"""v2 users: sign-up, the caller's profile, finding others."""

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from palaver.contracts import accounts as contract
from palaver.contracts.errors import INVALID, NOT_FOUND, PalaverError
from palaver.gateway.generations.v2.problems import WITH_BODY, problems
from palaver.gateway.http.authentication import BearerCaller, client_of
from palaver.gateway.http.fields import Day, QueryNumber, Secret, Text, shown_as
from palaver.gateway.http.responses import answer_json, answer_model
from palaver.gateway.services import services_of
from palaver.runtime.http.disconnects import until_disconnect

router = APIRouter(prefix="/users")

EXAMPLE = {
    "id": "01940b7e-2f63-7c1e-8d5a-3a1f0c9e7b21",
    "email": "alice@email.com",
    "name": "Alice",
    "surname": "Swift",
    "birthday": "1995-10-10",
    "sex": "female",
    "city": "California",
    "interests": "running",
    "created_at": "2024-12-27T20:21:25.120331Z",
}
_PROFILE = {key: value for key, value in EXAMPLE.items() if key not in ("id", "created_at")}


class NewUser(contract.Model):
    """A new account."""

    model_config = shown_as({**_PROFILE, "password": "correct horse"})

    email: Annotated[Text, Field(max_length=320, description="Compared without regard to case.")]
    password: Annotated[Secret, Field(min_length=8, max_length=256)]
    name: Annotated[Text, Field(min_length=1, max_length=100)]
    surname: Annotated[Text, Field(min_length=1, max_length=100)]
    birthday: Day
    sex: contract.Sex
    city: Annotated[Text, Field(max_length=1000)]
    interests: Annotated[Text, Field(max_length=1000)]


class ProfileChange(contract.Model):
    """The fields to change; those that are absent stay."""

    model_config = shown_as({"city": "Nashville"})

    name: Annotated[Text, Field(min_length=1, max_length=100)] = ""
    surname: Annotated[Text, Field(min_length=1, max_length=100)] = ""
    birthday: Day | None = None
    sex: contract.Sex | None = None
    city: Annotated[Text, Field(max_length=1000)] = ""
    interests: Annotated[Text, Field(max_length=1000)] = ""


class User(contract.User):
    """An account as others see it."""

    model_config = shown_as(EXAMPLE)


class UserPage(contract.Model):
    """Users by surname, name and id. `next_cursor` is null on the last page."""

    model_config = shown_as({"users": [EXAMPLE], "next_cursor": None, "has_more": False})

    users: list[User]
    next_cursor: str | None
    has_more: bool


@router.post(
    "",
    status_code=201,
    summary="Sign up",
    response_model=User,
    responses=problems(*WITH_BODY, 409, 429),
)
async def sign_up(request: Request, account: NewUser) -> Response:
    """Creates an account. Answers 409 where the email is taken."""
    signup = contract.SignUp(**account.model_dump())
    async with until_disconnect(request):
        user = await services_of(request).auth.sign_up(signup, client_of(request))
    return answer_model(user, 201)


@router.get("/me", summary="The caller", response_model=User, responses=problems(401, 404))
async def show_me(request: Request, caller: BearerCaller) -> Response:
    """The caller's own account."""
    return answer_model(await services_of(request).auth.me(caller.token))


@router.patch(
    "/me",
    summary="Change the caller's profile",
    response_model=User,
    responses=problems(*WITH_BODY, 401, 404),
)
async def change_me(request: Request, caller: BearerCaller, change: ProfileChange) -> Response:
    """Changes the fields that are given. Email and password stay."""
    changed = contract.ProfileChange(**change.model_dump(exclude_unset=True))
    return answer_model(await services_of(request).auth.change_profile(caller.token, changed))


@router.get("", summary="Find users", response_model=UserPage, responses=problems(401, 422))
async def find_users(
    request: Request,
    caller: BearerCaller,
    email: Annotated[Text, Query(max_length=320, description="Exactly this email.")] = "",
    q: Annotated[Text, Query(max_length=200, description="One or two words that names start with.")] = "",
    limit: Annotated[QueryNumber, Query(ge=1, le=100, description="Most users of a page.")] = 20,
    cursor: Annotated[Text, Query(max_length=2000, description="`next_cursor` of the last page.")] = "",
) -> Response:
    """By `email`, one user or none; or by `q`, without the caller, in pages. One of the two is needed.

    One word finds those whose name or surname starts with it; of two words, one starts the name and the
    other the surname.
    """
    accounts = services_of(request).auth
    if email:
        try:
            user = await accounts.find_by_email(caller.token, client_of(request), email)
            page = contract.UserPage(users=[user])
        except PalaverError as error:
            if error.kind is not NOT_FOUND:
                raise
            page = contract.UserPage(users=[])
    elif q:
        page = await accounts.search(caller.token, client_of(request), q, limit, cursor)
    else:
        raise PalaverError(INVALID, "one of email and q is needed", field="q")
    found = page.model_dump(mode="json", exclude={"total"})
    return answer_json({**found, "has_more": page.next_cursor is not None})
