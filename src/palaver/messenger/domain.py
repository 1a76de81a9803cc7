"""Chats, members, messages and receipts as the messenger thinks of them."""

from dataclasses import dataclass
from typing import NamedTuple

from palaver.contracts.errors import NOT_FOUND, PalaverError

# Of a group's title
TITLE_CHARACTERS = 200
TITLE_BYTES = 1_024


class Message(NamedTuple):
    """One entry of a chat. A deleted one keeps its seq and no text. Times are 0 where it never happened.

    The fields are named like the columns of `messages`, and stand in the order in which they are read. A new
    message has the first `NEW_FIELDS` of them.
    """

    chat_id: bytes
    seq: int
    id: bytes
    sender_id: bytes
    client_id: bytes
    text: str
    created_at: int
    trace_id: str = ""
    edited_at: int = 0
    deleted_at: int = 0


NEW_FIELDS = 8


@dataclass(frozen=True, slots=True)
class Receipt:
    """How far a member has received and read a chat. Both only grow; received is never behind read."""

    user_id: bytes
    received_seq: int
    read_seq: int


@dataclass(frozen=True, slots=True)
class Member:
    """One present or former member of a chat. `left_seq`: the last seq that a former one may read."""

    user_id: bytes
    joined_at: int
    left_seq: int | None
    received_seq: int
    read_seq: int


@dataclass(frozen=True, slots=True)
class Membership:
    """Who belongs to a chat, as one transaction saw it. `version` counts the changes of a chat's members: a
    send that was checked against an older version is checked again."""

    chat_id: bytes
    group: bool
    version: int
    members: frozenset[bytes]


class MemberView(NamedTuple):
    """A member as the other members see them. `last_seen_at`: 0 where never seen."""

    user_id: bytes
    joined_at: int
    received_seq: int
    read_seq: int
    online: bool
    last_seen_at: int


class ChatView(NamedTuple):
    """A chat as one of its members sees it.

    `last_seq` is the last seq that the viewer may read; `last_text_cut`: the text of `last_message` goes on.
    `members` are some of the `member_count` in a list, where the viewer is always among them, else all.
    Somebody who left sees no member but themselves.
    """

    id: bytes
    group: bool
    title: str
    created_at: int
    created_by: bytes
    last_seq: int
    active_at: int
    unread: int
    left: bool
    last_message: Message | None
    members: list[MemberView]
    member_count: int
    last_text_cut: bool = False


class Name(NamedTuple):
    """What a user is called. Both are empty where auth does not say."""

    name: str
    surname: str


Names = dict[bytes, Name]
UNKNOWN = Name("", "")


class ShownChat(NamedTuple):
    """A chat with its members' names. `existed`: the call found it, and created nothing."""

    view: ChatView
    names: Names
    existed: bool = False


class ShownChats(NamedTuple):
    """A page of chats. `next_cursor` is empty on the last page; `total` is 0 where it was not wanted."""

    views: list[ChatView]
    names: Names
    next_cursor: str
    total: int


class MessageInspection(NamedTuple):
    """A message without its text, and all present and former members, in the order in which they joined."""

    message: Message
    is_group: bool
    members: list[Member]


class ShownInspection(NamedTuple):
    """What operators may see of a message, with its chat's members' names."""

    inspection: MessageInspection
    names: Names


def no_such_chat() -> PalaverError:
    """The one error for whoever is not a member, so that nobody learns which chats exist (promise P5)."""
    return PalaverError(NOT_FOUND, "no such chat", field="chat_id")
