"""Chats, members, receipts and pages as v2 answers them. One definition for the encoder and for OpenAPI."""

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from palaver.contracts import messenger_pb2 as pb
from palaver.contracts.ids import text_from_id
from palaver.gateway.generations.v2.message_shape import MESSAGE_EXAMPLE, Message, values_of
from palaver.gateway.http.fields import Time, Uuid, shown_as
from palaver.gateway.http.responses import optional_time, time_text

_ALICE = "01940b7e-2f63-7c1e-8d5a-3a1f0c9e7b21"
_BOB = "01940b7e-5a02-7f11-a6c3-91d2b47f0e58"
_CHAT = "01940b81-03de-7d44-9a1b-6b0c5e8f2a17"
_RECEIPT = {"user_id": _ALICE, "received_seq": 1, "read_seq": 0}
CHAT_EXAMPLE = {
    "id": _CHAT,
    "kind": "direct",
    "title": "",
    "created_at": "2024-12-27T20:24:40.100248Z",
    "created_by": _BOB,
    "last_seq": 1,
    "unread": 1,
    "active_at": "2024-12-27T20:25:01.331207Z",
    "last_message": {**MESSAGE_EXAMPLE, "text_cut": False},
    "members": [
        {**_RECEIPT, "name": "Alice", "surname": "Swift", "online": False, "last_seen_at": None},
        {
            "user_id": _BOB,
            "name": "Bob",
            "surname": "Tallor",
            "online": True,
            "last_seen_at": "2024-12-27T20:25:01.331207Z",
            "received_seq": 1,
            "read_seq": 1,
        },
    ],
    "member_count": 2,
    "left": False,
}

Count = Annotated[int, Field(ge=0)]


@dataclass(slots=True)
class MessagePage:
    """Messages by seq, ascending. `last_seq`: the last of the chat that the caller may read."""

    __pydantic_config__ = shown_as({"messages": [MESSAGE_EXAMPLE], "last_seq": 1, "has_more": False})

    messages: list[Message]
    last_seq: Count
    has_more: Annotated[
        bool,
        Field(
            description="More follow in the direction of paging, which is backwards without `after_seq`. "
            "A page of long texts has fewer than `limit` messages."
        ),
    ]


@dataclass(slots=True)
class SentMessages:
    """The messages as stored, in the order of the request."""

    __pydantic_config__ = shown_as({"messages": [MESSAGE_EXAMPLE]})

    messages: list[Message]


@dataclass(slots=True)
class Receipt:
    """How far a member has received and read a chat."""

    __pydantic_config__ = shown_as(_RECEIPT)

    user_id: Uuid
    received_seq: Count
    read_seq: Count


@dataclass(slots=True)
class Member:
    """A member, whether they are there, and how far they have received and read."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    user_id: Uuid
    name: str
    surname: str
    online: bool
    last_seen_at: Time | None
    received_seq: Count
    read_seq: Count


@dataclass(slots=True)
class LastMessage(Message):
    """The newest message that the caller may read. In a list of chats its text may be cut."""

    __pydantic_config__ = shown_as({**MESSAGE_EXAMPLE, "text_cut": False})

    text_cut: Annotated[
        bool, Field(description="`text` is only a beginning: of 256 characters and 1,024 bytes at most.")
    ]


@dataclass(slots=True)
class Chat:
    """A chat as the caller sees it."""

    __pydantic_config__ = shown_as(CHAT_EXAMPLE)

    id: Uuid
    kind: Literal["direct", "group"]
    title: Annotated[str, Field(description="Of a group; a direct chat has none.")]
    created_at: Time
    created_by: Uuid
    last_seq: Annotated[int, Field(ge=0, description="The last seq that the caller may read.")]
    unread: Annotated[int, Field(ge=0, description="Messages behind the caller's read receipt.")]
    active_at: Annotated[
        str,
        Field(
            json_schema_extra={"format": "date-time"}, description="The newest message's or the creation's."
        ),
    ]
    last_message: LastMessage | None
    members: Annotated[
        list[Member],
        Field(description="In a list of chats at most 10 of them, the caller included; else all."),
    ]
    member_count: Annotated[int, Field(ge=0, description="How many members there are.")]
    left: Annotated[bool, Field(description="The caller is no longer a member, and reads up to `last_seq`.")]


@dataclass(slots=True)
class ChatPage:
    """Chats, newest activity first. `next_cursor` is null on the last page."""

    __pydantic_config__ = shown_as({"chats": [CHAT_EXAMPLE], "next_cursor": None, "has_more": False})

    chats: list[Chat]
    next_cursor: str | None
    has_more: bool


def receipt_of(receipt: pb.Receipt) -> Receipt:
    """v2's receipt."""
    return Receipt(text_from_id(receipt.user_id), receipt.received_seq, receipt.read_seq)


def member_of(member: pb.Member) -> Member:
    """v2's member."""
    return Member(
        text_from_id(member.user_id),
        member.name,
        member.surname,
        member.online,
        optional_time(member.last_seen_at),
        member.received_seq,
        member.read_seq,
    )


def last_message_of(chat: pb.Chat) -> LastMessage:
    """A chat's last message, or its beginning."""
    return LastMessage(*values_of(chat.last_message), text_cut=chat.last_text_cut)


def chat_of(chat: pb.Chat) -> Chat:
    """v2's chat."""
    return Chat(
        id=text_from_id(chat.id),
        kind="group" if chat.group else "direct",
        title=chat.title,
        created_at=time_text(chat.created_at),
        created_by=text_from_id(chat.created_by),
        last_seq=chat.last_seq,
        unread=chat.unread,
        active_at=time_text(chat.active_at),
        last_message=last_message_of(chat) if chat.HasField("last_message") else None,
        members=[member_of(member) for member in chat.members],
        member_count=chat.member_count,
        left=chat.left,
    )
