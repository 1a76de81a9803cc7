"""v1 users: by email, by token, by name. v2 pages them by cursor, and writes days as dates."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from palaver.contracts import accounts as contract
from palaver.contracts.errors import PalaverError
from palaver.gateway.generations.legacy import Limit, Offset, bad_request_if_unknown, refusals, time_of_day
from palaver.gateway.http.authentication import Caller, LegacyCaller, client_of
from palaver.gateway.http.fields import Text, Time, Uuid, shown_as
from palaver.gateway.http.responses import answer_json
from palaver.gateway.services import services_of

router = APIRouter()

# Behind the last user of any Palaver; auth takes no larger one
LAST_OFFSET = 2**31

_ID = "01940b7e-5a02-7f11-a6c3-91d2b47f0e58"
_EXAMPLE = {
    "id": _ID,
    "email": "bob@email.com",
    "name": "Bob",
    "surname": "Tallor",
    "birthday": "1994-04-10T00:00:00Z",
    "sex": "male",
    "city": "New Yourk",
    "interests": "programming",
}


@dataclass(slots=True)
class UserId:
    """The id of a user."""

    __pydantic_config__ = shown_as({"user_id": _ID})

    user_id: Uuid


@dataclass(slots=True)
class User:
    """An account."""

    __pydantic_config__ = shown_as(_EXAMPLE)

    id: Uuid
    email: str
    name: str
    surname: str
    birthday: Time
    sex: str
    city: str
    interests: str


@dataclass(slots=True)
class FoundUsers:
    """A part of the users found; `count` tells how many there are."""

    __pydantic_config__ = shown_as({"count": 1, "users": [_EXAMPLE]})

    count: int
    users: list[User]


@router.get(
    "/auth/user/get-by-email",
    summary="Find a user's id",
    response_model=UserId,
    responses=refusals(400, 401),
)
async def find_user_id(
    request: Request, caller: LegacyCaller, email: Annotated[Text, Query(max_length=320)]
) -> Response:
    """The id of the user with that email. Answers 400 where there is none."""
    return await answer_user_id(request, caller, email)


@router.get(
    "/auth/user/get-by-token", summary="The caller", response_model=User, responses=refusals(401, 404)
)
async def show_caller(request: Request, caller: LegacyCaller) -> Response:
    """The account of the token's user."""
    return answer_json(user_of(await services_of(request).auth.me(caller.token)))


@router.get(
    "/social/profile/search-by-anthroponym",
    summary="Find users by name",
    response_model=FoundUsers,
    responses=refusals(400, 401),
)
async def find_users(
    request: Request,
    caller: LegacyCaller,
    anthroponym: Annotated[Text, Query(max_length=200, description="Beginnings of name and/or surname.")],
    limit: Limit = 10,
    offset: Offset = 0,
) -> Response:
    """Users whose name or surname starts with the word, or with the two words, without the caller."""
    accounts = services_of(request).auth
    client = client_of(request)
    page = await accounts.search_by_offset(caller.token, client, anthroponym, limit, min(offset, LAST_OFFSET))
    users = [user_of(user) for user in page.users]
    return answer_json(FoundUsers(len(users) if page.total is None else page.total, users))


async def answer_user_id(request: Request, caller: Caller, email: str) -> Response:
    """The id of the user with that email, which v0 has too, by another path."""
    try:
        user = await services_of(request).auth.find_by_email(caller.token, client_of(request), email)
    except PalaverError as error:
        raise bad_request_if_unknown(error) from error
    return answer_json(UserId(str(user.id)))


def user_of(user: contract.User) -> User:
    """v1's user."""
    return User(
        str(user.id),
        user.email,
        user.name,
        user.surname,
        time_of_day(user.birthday),
        user.sex,
        user.city,
        user.interests,
    )
