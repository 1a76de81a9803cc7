"""v1 messages: a history by offset, with statuses. v2 pages by seq, and has receipts beside messages."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import ConfigDict
from starlette.requests import Request
from starlette.responses import Response

from palaver.contracts import messenger_pb2 as pb
from palaver.contracts.ids import text_from_id
from palaver.gateway.generations.legacy import Limit, Offset, refusals
from palaver.gateway.generations.v1.statuses import Status, Statuses
from palaver.gateway.http.authentication import LegacyCaller
from palaver.gateway.http.fields import Id, Time, Uuid, shown_as
from palaver.gateway.http.responses import answer_body, encode_json, time_text
from palaver.gateway.services import services_of
from palaver.gateway.upstream.messenger import MessengerClient

router = APIRouter(prefix="/messenger")

_EXAMPLE = {
    "total": 1,
    "limit": 10,
    "offset": 0,
    "messages": [
        {
            "id": "01940b82-77aa-7b90-8e55-0f4d1c2b3a69",
            "text": "Hello, Alice!",
            "status": "created",
            "create_time": "2024-12-27T20:25:01.331207Z",
            "user_id": "01940b7e-5a02-7f11-a6c3-91d2b47f0e58",
            "chat_id": "01940b81-03de-7d44-9a1b-6b0c5e8f2a17",
        }
    ],
}


@dataclass(slots=True)
class Message:
    """A message; `user_id` is its sender's."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    id: Uuid
    text: str
    status: Status
    create_time: Time
    user_id: Uuid
    chat_id: Uuid


@dataclass(slots=True)
class Messages:
    """A part of a chat's messages, oldest first. `total` counts all of them; `limit` those of this part,
    where it does not reach the end."""

    __pydantic_config__ = shown_as(_EXAMPLE)

    total: int
    limit: int
    offset: int
    messages: list[Message]


@router.get("/messages", summary="Page messages", response_model=Messages, responses=refusals(400, 401, 404))
async def list_messages(
    request: Request,
    caller: LegacyCaller,
    chat_id: Annotated[Id, Query(description="The chat.")],
    limit: Limit = 10,
    offset: Offset = 0,
) -> Response:
    """The chat's messages from the first on. What is answered counts as read by the caller."""
    return await answer_page(services_of(request).messenger, caller.token, chat_id, limit, offset)


async def answer_page(
    messenger: MessengerClient, token: str, chat_id: bytes, limit: int, offset: int
) -> Response:
    """A page of a chat's messages, as `list_messages` answers it."""
    # Seqs have no holes, so that passing over `offset` messages is starting behind that seq
    wanted = pb.ListMessagesRequest(
        chat_id=chat_id, limit=limit or 1, after_seq=offset, from_start=True, mark_read=limit > 0
    )
    page = await messenger.list_messages(token, wanted)
    return answer_body(page.rendered(page_body, limit, offset))


def page_body(page: pb.MessagePage, limit: int, offset: int) -> bytes:
    """The JSON of a page."""
    messages = messages_of(page)[:limit]
    if messages and offset + len(messages) < page.last_seq:
        # Long texts end a page early: whoever goes on at offset + limit misses nothing
        limit = len(messages)
    return encode_json(Messages(page.last_seq, limit, offset, messages))


def messages_of(page: pb.MessagePage) -> list[Message]:
    """v1's messages."""
    statuses = Statuses(page.receipts)
    chat_id = text_from_id(page.chat_id) if page.chat_id else ""
    # Few senders have written all messages of a page
    senders = {sender: text_from_id(sender) for sender in set(page.sender_ids)}
    return [
        Message(
            text_from_id(message_id),
            text,
            statuses.status_of(seq, sender, deleted_at),
            time_text(created_at),
            senders[sender],
            chat_id,
        )
        for message_id, text, seq, sender, deleted_at, created_at in zip(
            page.ids, page.texts, page.seqs, page.sender_ids, page.deleted_at, page.created_at, strict=True
        )
    ]
