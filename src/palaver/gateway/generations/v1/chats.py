"""v1 chats: direct ones by companion, listed by offset. v2 has groups, cursors and unread counts."""

from dataclasses import dataclass

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict
from starlette.requests import Request
from starlette.responses import Response

from palaver.contracts import messenger_pb2 as pb
from palaver.contracts.errors import PalaverError
from palaver.contracts.ids import text_from_id
from palaver.gateway.generations.legacy import Limit, Offset, bad_request_if_unknown, refusals
from palaver.gateway.http.authentication import LegacyCaller
from palaver.gateway.http.fields import Id, Time, Uuid, shown_as
from palaver.gateway.http.responses import answer_json, time_text
from palaver.gateway.services import services_of

router = APIRouter(prefix="/messenger")

_ALICE = "01940b7e-2f63-7c1e-8d5a-3a1f0c9e7b21"
_CHAT = "01940b81-03de-7d44-9a1b-6b0c5e8f2a17"
_LIST = {
    "total": 1,
    "limit": 10,
    "offset": 0,
    "chats": [
        {
            "id": _CHAT,
            "create_time": "2024-12-27T20:24:40.100248Z",
            "participants": [{"id": _ALICE, "name": "Alice", "surname": "Swift"}],
        }
    ],
}


class NewChat(BaseModel):
    """With whom to chat."""

    model_config = shown_as({"companion_id": _ALICE}, "ignore")

    companion_id: Id


@dataclass(slots=True)
class ChatId:
    """The id of a chat."""

    __pydantic_config__ = shown_as({"chat_id": _CHAT})

    chat_id: Uuid


@dataclass(slots=True)
class Participant:
    """A member of a chat."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    id: Uuid
    name: str
    surname: str


@dataclass(slots=True)
class Chat:
    """A chat; `participants` without the caller."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    id: Uuid
    create_time: Time
    participants: list[Participant]


@dataclass(slots=True)
class Chats:
    """A part of the caller's chats; `total` counts all of them."""

    __pydantic_config__ = shown_as(_LIST)

    total: int
    limit: int
    offset: int
    chats: list[Chat]


@router.post(
    "/create-chat", summary="Open a chat", response_model=ChatId, responses=refusals(400, 401, 413, 429)
)
async def create_chat(request: Request, caller: LegacyCaller, chat: NewChat) -> Response:
    """The one chat of the caller and the companion, whoever asks. Answers 400 where that user is unknown."""
    try:
        opened = await services_of(request).messenger.open_direct_chat(caller.token, chat.companion_id)
    except PalaverError as error:
        raise bad_request_if_unknown(error) from error
    return answer_json(ChatId(text_from_id(opened.id)))


@router.get("/chats", summary="List chats", response_model=Chats, responses=refusals(400, 401))
async def list_chats(
    request: Request, caller: LegacyCaller, limit: Limit = 10, offset: Offset = 0
) -> Response:
    """The caller's chats, newest activity first. Groups of newer clients are chats as well."""
    # The messenger takes no limit of 0, which old clients may use to learn the total
    wanted = pb.ListChatsRequest(limit=limit or 1, offset=offset, with_total=True)
    page = await services_of(request).messenger.list_chats(caller.token, wanted)
    chats = [chat_of(chat, caller.user_id) for chat in page.chats[:limit]]
    return answer_json(Chats(page.total, limit, offset, chats))


def chat_of(chat: pb.Chat, caller_id: bytes) -> Chat:
    """v1's chat."""
    others = [
        Participant(text_from_id(member.user_id), member.name, member.surname)
        for member in chat.members
        if member.user_id != caller_id
    ]
    return Chat(text_from_id(chat.id), time_text(chat.created_at), others)
