"""v2 members of a group."""

from typing import Annotated

from fastapi import APIRouter, Path
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response

from palaver.gateway.generations.v2.chats import ChatId
from palaver.gateway.generations.v2.problems import WITH_BODY, problems
from palaver.gateway.generations.v2.shapes import Chat, chat_of
from palaver.gateway.http.authentication import BearerCaller
from palaver.gateway.http.fields import Id, shown_as
from palaver.gateway.http.responses import answer_json
from palaver.gateway.services import services_of

router = APIRouter(prefix="/chats/{chat_id}/members")


class NewMembers(BaseModel):
    """Users to add."""

    model_config = shown_as({"user_ids": ["01940b7e-2f63-7c1e-8d5a-3a1f0c9e7b21"]})

    user_ids: Annotated[list[Id], Field(fail_fast=True, min_length=1)]


@router.post(
    "",
    summary="Add members",
    response_model=Chat,
    responses=problems(*WITH_BODY, 401, 403, 404, 409),
)
async def add_members(
    request: Request, caller: BearerCaller, chat_id: ChatId, members: NewMembers
) -> Response:
    """Adds users to a group. They read its whole history, none of which counts as unread."""
    chat = await services_of(request).messenger.add_members(caller.token, chat_id, members.user_ids)
    return answer_json(chat_of(chat))


@router.delete(
    "/{user_id}",
    status_code=204,
    summary="Remove a member",
    response_class=Response,
    responses=problems(401, 403, 404, 409, 422),
)
async def remove_member(
    request: Request, caller: BearerCaller, chat_id: ChatId, user_id: Annotated[Id, Path()]
) -> Response:
    """Removes a member of a group; with the caller's own id, leaves it.

    Who has left reads the group up to their leaving.
    """
    await services_of(request).messenger.remove_member(caller.token, chat_id, user_id)
    return Response(status_code=204)
