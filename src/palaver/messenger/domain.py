"""Chats, members, messages and receipts as the messenger thinks of them."""

from dataclasses import dataclass
from typing import NamedTuple

from palaver.contracts.errors import NOT_FOUND, PalaverError


@dataclass(frozen=True, slots=True)
class Message:
    """One entry of a chat. A deleted one keeps its seq and no text."""

    chat_id: bytes
    seq: int
    id: bytes
    sender_id: bytes
    client_id: bytes
    text: str
    created_at: int
    edited_at: int = 0
    deleted_at: int = 0
    trace_id: str = ""


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
class Chat:
    """A chat without its members."""

    id: bytes
    group: bool
    title: str
    created_at: int
    created_by: bytes
    last_seq: int
    active_at: int
    members_version: int


class MemberView(NamedTuple):
    """A member as the other members see them. `last_seen_at`: 0 where never seen."""

    user_id: bytes
    joined_at: int
    received_seq: int
    read_seq: int
    last_seen_at: int


class ChatView(NamedTuple):
    """A chat as one of its members sees it.

    `last_seq` is the last seq that the viewer may read. Somebody who left sees no member but themselves.
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


def no_such_chat() -> PalaverError:
    """The one answer to whoever is no member, so that nobody learns which chats exist."""
    return PalaverError(NOT_FOUND, "no such chat", field="chat_id")
