"""v2 messages: send, page, edit, delete."""

from typing import Annotated

from fastapi import APIRouter, Body, Path, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from palaver.contracts import messenger_pb2 as pb
from palaver.contracts.errors import INVALID, PalaverError
from palaver.contracts.ids import new_id
from palaver.contracts.seqs import LAST_SEQ
from palaver.gateway.generations.v2.chats import ChatId
from palaver.gateway.generations.v2.keys import IdempotencyKey, client_id_from_key
from palaver.gateway.generations.v2.message_shape import Message, message_of, messages_of
from palaver.gateway.generations.v2.problems import WITH_BODY, problems
from palaver.gateway.generations.v2.shapes import MessagePage, SentMessages
from palaver.gateway.http.authentication import BearerCaller
from palaver.gateway.http.fields import Id, QueryNumber, Text, shown_as
from palaver.gateway.http.responses import answer_body, answer_json, encode_json
from palaver.gateway.services import services_of
from palaver.gateway.upstream.messenger import MessengerClient
from palaver.runtime.texts import check_text

router = APIRouter(prefix="/chats/{chat_id}/messages")

PathSeq = Annotated[QueryNumber, Path(ge=1, le=LAST_SEQ, description="The message's place in the chat.")]
MOST_MESSAGES = 200
_CLIENT_ID = "5b1f6c2e-94f0-4a6e-9d0c-2f7a8b3c1d4e"


class NewMessage(BaseModel):
    """A message. Repeating a `client_id` writes nothing and answers what was written first."""

    model_config = ConfigDict(extra="forbid")

    text: Text
    client_id: Id | None = None


class NewMessages(BaseModel):
    """Either `messages`, stored next to each other or not at all; or one message's `text` and `client_id`."""

    model_config = ConfigDict(extra="forbid")

    messages: Annotated[list[NewMessage], Field(fail_fast=True)] | None = None
    text: Text | None = None
    client_id: Id | None = None


class NewText(BaseModel):
    """What a message shall say instead."""

    model_config = shown_as({"text": "Hello, Alice Swift!"})

    text: Text


@router.get("", summary="Page messages", response_model=MessagePage, responses=problems(401, 404, 422))
async def list_messages(
    request: Request,
    caller: BearerCaller,
    chat_id: ChatId,
    limit: Annotated[QueryNumber, Query(ge=1, le=MOST_MESSAGES, description="Most messages of a page.")] = 50,
    before_seq: Annotated[
        QueryNumber | None, Query(ge=1, le=LAST_SEQ, description="Only messages before this seq.")
    ] = None,
    after_seq: Annotated[
        QueryNumber | None, Query(ge=0, le=LAST_SEQ, description="Only messages behind this seq.")
    ] = None,
) -> Response:
    """The newest messages; with `before_seq`, the newest before it; with `after_seq`, the first behind it.

    Ascending by seq always. A page has fewer messages than `limit` where their texts are long; `has_more`
    says whether more follow. Reading moves no receipt.
    """
    return await answer_page(
        services_of(request).messenger, caller.token, chat_id, limit, before_seq, after_seq
    )


async def answer_page(
    messenger: MessengerClient,
    token: str,
    chat_id: bytes,
    limit: int,
    before_seq: int | None,
    after_seq: int | None,
) -> Response:
    """A page of a chat's messages, as `list_messages` answers it."""
    wanted = pb.ListMessagesRequest(chat_id=chat_id, limit=limit)
    if after_seq is not None:
        wanted.after_seq = after_seq
        wanted.from_start = True
    elif before_seq is not None:
        wanted.before_seq = before_seq
    page = await messenger.list_messages(token, wanted)
    return answer_body(page.rendered(page_body, before_seq, after_seq))


def page_body(page: pb.MessagePage, before_seq: int | None, after_seq: int | None) -> bytes:
    """The JSON of a page."""
    messages = messages_of(page)
    end = page.last_seq
    if before_seq is not None:
        messages = [message for message in messages if message.seq < before_seq]
        end = min(end, before_seq - 1)
    # Seqs have no holes
    if not messages:
        has_more = False
    elif after_seq is not None:
        has_more = messages[-1].seq < end
    else:
        has_more = messages[0].seq > 1
    return encode_json(MessagePage(messages, page.last_seq, has_more))


@router.post(
    "",
    status_code=201,
    summary="Send messages",
    response_model=SentMessages,
    responses=problems(*WITH_BODY, 401, 404, 429),
)
async def send_messages(
    request: Request,
    caller: BearerCaller,
    chat_id: ChatId,
    body: Annotated[
        NewMessages,
        Body(
            openapi_examples={
                "one": {"summary": "One", "value": {"text": "Hello, Alice!", "client_id": _CLIENT_ID}},
                "many": {
                    "summary": "Many",
                    "value": {"messages": [{"text": "Hello, Alice!"}, {"text": "What is up?"}]},
                },
            }
        ),
    ],
    key: IdempotencyKey = None,
) -> Response:
    """Sends one or many; answers once all of them are on disk.

    To repeat safely, give each message a `client_id`, or the request an `Idempotency-Key`.
    """
    settings = services_of(request).settings
    messages = messages_of_body(body, settings.messages_per_request)
    for index, message in enumerate(messages):
        check_text(message.text, name_text(body, index), settings.text_characters, settings.text_bytes)
    # A request that the client can repeat may be a repetition: look before writing
    retry = key is not None or any(message.client_id is not None for message in messages)
    client_ids = [
        message.client_id or (client_id_from_key(caller.user_id, key, index) if key else new_id())
        for index, message in enumerate(messages)
    ]
    sent = await services_of(request).messenger.send_messages(
        caller.token, chat_id, client_ids, [message.text for message in messages], retry=retry
    )
    return answer_json(SentMessages([message_of(message) for message in sent.messages]), 201)


def messages_of_body(body: NewMessages, most: int) -> list[NewMessage]:
    """The messages of either form. Raises `invalid`."""
    if body.messages is None:
        if body.text is None:
            raise PalaverError(INVALID, "give either text or messages", field="text")
        return [NewMessage.model_construct(text=body.text, client_id=body.client_id)]
    if body.text is not None or body.client_id is not None:
        raise PalaverError(INVALID, "give either text or messages", field="messages")
    if not 1 <= len(body.messages) <= most:
        raise PalaverError(INVALID, f"messages must be 1 to {most}", field="messages")
    return body.messages


def name_text(body: NewMessages, index: int) -> str:
    """Where in the body the text of a message lies."""
    return "text" if body.messages is None else f"messages.{index}.text"


@router.patch(
    "/{seq}",
    summary="Edit a message",
    response_model=Message,
    responses=problems(*WITH_BODY, 401, 403, 404, 409),
)
async def edit_message(
    request: Request, caller: BearerCaller, chat_id: ChatId, seq: PathSeq, new: NewText
) -> Response:
    """Changes the text of a message of the caller's own. It keeps its seq; members' sockets are told."""
    services = services_of(request)
    settings = services.settings
    check_text(new.text, "text", settings.text_characters, settings.text_bytes)
    return answer_json(
        message_of(await services.messenger.edit_message(caller.token, chat_id, seq, new.text))
    )


@router.delete(
    "/{seq}",
    summary="Delete a message",
    response_model=Message,
    responses=problems(401, 403, 404, 422),
)
async def delete_message(request: Request, caller: BearerCaller, chat_id: ChatId, seq: PathSeq) -> Response:
    """Deletes the text of a message of the caller's own. Its seq stays; members' sockets are told."""
    message = await services_of(request).messenger.delete_message(caller.token, chat_id, seq)
    return answer_json(message_of(message))
