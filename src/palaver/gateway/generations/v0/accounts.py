"""v0 named one path differently: v1 calls it `/auth/user/get-by-email`."""

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from palaver.gateway.generations.legacy import refusals
from palaver.gateway.generations.v1.users import UserId, answer_user_id
from palaver.gateway.http.authentication import LegacyCaller
from palaver.gateway.http.fields import Text

router = APIRouter()


@router.get("/auth/user", summary="Find a user's id", response_model=UserId, responses=refusals(400, 401))
async def find_user_id(
    request: Request, caller: LegacyCaller, email: Annotated[Text, Query(max_length=320)]
) -> Response:
    """The id of the user with that email. Answers 400 where there is none."""
    return await answer_user_id(request, caller, email)
