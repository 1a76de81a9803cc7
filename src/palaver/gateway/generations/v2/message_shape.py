"""A message as v2 shows it, in REST and in frames: the one mapping from what the messenger sends.

The fields stand in one order everywhere: in protobuf, in REST and in the frame, which lacks the trace.
"""

from dataclasses import dataclass
from functools import lru_cache
from operator import attrgetter
from typing import Annotated

from pydantic import Field

from palaver.contracts import frames
from palaver.contracts import messenger_pb2 as pb
from palaver.contracts.ids import text_from_id
from palaver.gateway.http.fields import Time, Uuid, shown_as
from palaver.gateway.http.responses import time_text
from palaver.gateway.sockets.commands import OutboundMessages

MESSAGE_EXAMPLE = {
    "chat_id": "01940b81-03de-7d44-9a1b-6b0c5e8f2a17",
    "seq": 1,
    "id": "01940b82-77aa-7b90-8e55-0f4d1c2b3a69",
    "sender_id": "01940b7e-5a02-7f11-a6c3-91d2b47f0e58",
    "client_id": "5b1f6c2e-94f0-4a6e-9d0c-2f7a8b3c1d4e",
    "text": "Hello, Alice!",
    "created_at": "2024-12-27T20:25:01.331207Z",
    "edited_at": None,
    "deleted_at": None,
    "trace_id": "",
}


@dataclass(slots=True)
class Message:
    """One entry of a chat. A deleted one keeps its seq and has an empty text."""

    __pydantic_config__ = shown_as(MESSAGE_EXAMPLE)

    chat_id: Uuid
    seq: Annotated[int, Field(ge=1, description="Its place in the chat: 1, 2, 3 … without holes.")]
    id: Uuid
    sender_id: Uuid
    client_id: Annotated[
        str, Field(json_schema_extra={"format": "uuid"}, description="The sender's own name for it.")
    ]
    text: str
    created_at: Time
    edited_at: Time | None
    deleted_at: Time | None
    trace_id: Annotated[str, Field(description="Names the request that sent it, where it was traced.")]


_Shown = tuple[str, int, str, str, str, str, str, str | None, str | None, str]

# Few senders have written all messages of a page
_sender_text = lru_cache(1024)(text_from_id)
# All values of a message but the first, in order
_values_of = attrgetter(*(field.name for field in pb.Message.DESCRIPTOR.fields[1:]))


def shown(
    chat_id: str,
    seq: int,
    message_id: bytes,
    sender_id: bytes,
    client_id: bytes,
    text: str,
    created_at: int,
    edited_at: int,
    deleted_at: int,
    trace_id: str,
) -> _Shown:
    """The values of a message as clients see them. The hot path of reading and of fan-out."""
    return (
        chat_id,
        seq,
        text_from_id(message_id),
        _sender_text(sender_id),
        text_from_id(client_id),
        text,
        time_text(created_at),
        time_text(edited_at) if edited_at else None,
        time_text(deleted_at) if deleted_at else None,
        trace_id,
    )


def message_of(message: pb.Message) -> Message:
    """One message."""
    return Message(*values_of(message))


def values_of(message: pb.Message) -> _Shown:
    """The values of one message as clients see them."""
    return shown(text_from_id(message.chat_id), *_values_of(message))


def messages_of(page: pb.MessagePage) -> list[Message]:
    """A page of a chat's history. The messenger names no chat where there are no messages."""
    chat_id = text_from_id(page.chat_id) if page.chat_id else ""
    return [
        Message(
            *shown(chat_id, seq, message_id, sender_id, client_id, text, created, edited, deleted, trace_id)
        )
        for seq, message_id, sender_id, client_id, text, created, edited, deleted, trace_id in zip(
            page.seqs,
            page.ids,
            page.sender_ids,
            page.client_ids,
            page.texts,
            page.created_at,
            page.edited_at,
            page.deleted_at,
            page.trace_ids,
            strict=True,
        )
    ]


def frames_of(outbound: OutboundMessages) -> list[frames.Message]:
    """The frames of messages that were committed together, or of a changed one."""
    chat_id, sender_id, trace_id = outbound.chat_text, outbound.sender_id, outbound.trace.trace_id
    client_ids, texts = outbound.client_ids, outbound.texts
    created, edited, deleted = outbound.created_at, outbound.edited_at, outbound.deleted_at
    return [
        frames.Message(
            *shown(
                chat_id,
                outbound.first_seq + index,
                message_id,
                sender_id,
                # By index: a strict zip takes a sixth of the time of one message, which is the rule
                client_ids[index],
                texts[index],
                created,
                edited,
                deleted,
                trace_id,
            )[:-1]
        )
        for index, message_id in enumerate(outbound.ids)
    ]
