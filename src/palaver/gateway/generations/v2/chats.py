"""v2 chats: open a direct one, create a group, list, show, receipts."""

from typing import Annotated

from fastapi import APIRouter, Body, Path, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from palaver.contracts import messenger_pb2 as pb
from palaver.contracts.errors import INVALID, PalaverError
from palaver.contracts.ids import new_id
from palaver.gateway.generations.v2.keys import IdempotencyKey
from palaver.gateway.generations.v2.problems import WITH_BODY, problems
from palaver.gateway.generations.v2.shapes import CHAT_EXAMPLE, Chat, ChatPage, Receipt, chat_of, receipt_of
from palaver.gateway.http.authentication import BearerCaller
from palaver.gateway.http.fields import Id, QueryNumber, Seq, Text, shown_as
from palaver.gateway.http.responses import answer_json
from palaver.gateway.services import services_of

router = APIRouter(prefix="/chats")

ChatId = Annotated[Id, Path(description="The chat.")]
_COMPANION = {"companion_id": "01940b7e-2f63-7c1e-8d5a-3a1f0c9e7b21"}
_GROUP = {"title": "Tour", "member_ids": [_COMPANION["companion_id"]]}


class NewChat(BaseModel):
    """Either `companion_id`, for the direct chat with that user; or `title` and `member_ids`, for a group."""

    model_config = ConfigDict(extra="forbid")

    companion_id: Id | None = None
    title: (
        Annotated[Text, Field(min_length=1, description="At most 200 characters and 1,024 bytes.")] | None
    ) = None
    member_ids: (
        Annotated[
            list[Id],
            Field(min_length=1, fail_fast=True, description="The caller is a member without being named."),
        ]
        | None
    ) = None


class ReceiptChange(BaseModel):
    """How far the caller has come; 0, or absent: no news."""

    model_config = shown_as({"read_seq": 1})

    received_seq: Seq = 0
    read_seq: Seq = 0


@router.post(
    "",
    status_code=201,
    summary="Open a chat",
    response_model=Chat,
    responses={
        200: {"model": Chat, "description": "It existed: the pair's chat, or the same key's group"},
        **problems(*WITH_BODY, 401, 404, 429),
    },
)
async def open_chat(
    request: Request,
    caller: BearerCaller,
    chat: Annotated[
        NewChat,
        Body(
            openapi_examples={
                "direct": {"summary": "A direct chat", "value": _COMPANION},
                "group": {"summary": "A group", "value": _GROUP},
            }
        ),
    ],
    key: IdempotencyKey = None,
) -> Response:
    """Opens the one direct chat of a pair, or creates a group.

    A pair has the same chat whoever asks. A group is created once per `Idempotency-Key`, and anew each time
    without one.
    """
    messenger = services_of(request).messenger
    if chat.companion_id is not None and chat.title is None and chat.member_ids is None:
        opened = await messenger.open_direct_chat(caller.token, chat.companion_id)
    elif chat.companion_id is None and chat.title is not None and chat.member_ids is not None:
        # A key of our own lets the gateway repeat the call to a messenger that restarts
        key = key or new_id().hex()
        opened = await messenger.create_group(caller.token, chat.title, chat.member_ids, key)
    else:
        text = "give either companion_id, or title and member_ids"
        raise PalaverError(INVALID, text, field="companion_id")
    return answer_json(chat_of(opened), 200 if opened.existed else 201)


@router.get(
    "",
    summary="List chats",
    response_model=ChatPage,
    responses=problems(401, 422),
)
async def list_chats(
    request: Request,
    caller: BearerCaller,
    limit: Annotated[QueryNumber, Query(ge=1, le=200, description="Most chats of a page.")] = 50,
    cursor: Annotated[Text, Query(max_length=2000, description="`next_cursor` of the last page.")] = "",
) -> Response:
    """The caller's chats, newest activity first, each with the beginning of its last message, how much is
    unread, and some of its members."""
    wanted = pb.ListChatsRequest(limit=limit, cursor=cursor)
    page = await services_of(request).messenger.list_chats(caller.token, wanted)
    return answer_json(
        ChatPage([chat_of(chat) for chat in page.chats], page.next_cursor or None, bool(page.next_cursor))
    )


@router.get(
    "/{chat_id}",
    summary="Show a chat",
    response_model=Chat,
    responses={200: {"content": {"application/json": {"example": CHAT_EXAMPLE}}}, **problems(401, 404, 422)},
)
async def show_chat(request: Request, caller: BearerCaller, chat_id: ChatId) -> Response:
    """One chat of the caller. A chat of others is 404, as one that does not exist."""
    return answer_json(chat_of(await services_of(request).messenger.get_chat(caller.token, chat_id)))


@router.put(
    "/{chat_id}/receipt",
    summary="Tell what was received and read",
    response_model=Receipt,
    responses=problems(*WITH_BODY, 401, 404),
)
async def set_receipt(
    request: Request, caller: BearerCaller, chat_id: ChatId, change: ReceiptChange
) -> Response:
    """Moves the caller's receipt forward. Seqs that are behind do nothing; read counts as received."""
    receipt = await services_of(request).messenger.set_receipt(
        caller.token, chat_id, change.received_seq, change.read_seq
    )
    return answer_json(receipt_of(receipt))
