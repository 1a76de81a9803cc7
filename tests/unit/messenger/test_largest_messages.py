"""The largest answers of the messenger, of the largest legal values, fit a gRPC message."""

from typing import Any

import pytest
from pydantic.fields import FieldInfo

from palaver.auth.domain import NAME_BYTES
from palaver.contracts import messenger_pb2 as pb
from palaver.gateway.upstream import batches
from palaver.messenger.domain import TITLE_BYTES
from palaver.messenger.realtime.gateway_connection import BATCH_BYTES
from palaver.messenger.store.chat_lists import LISTED_MEMBERS
from palaver.messenger.store.messages import PAGE_BYTES, PREVIEW_BYTES
from palaver.messenger.use_cases import MOST_ENTRIES
from palaver.runtime.grpc.server import MESSAGE_BYTES
from palaver.runtime.settings import SettingsError, load_settings
from palaver.runtime.settings.gateway import GatewaySettings
from palaver.runtime.settings.messenger import MessengerSettings

ID = b"\xff" * 16
NUMBER = 2**62


def most(fields: dict[str, FieldInfo], name: str) -> int:
    """The largest value of a setting."""
    (bound,) = [one.le for one in fields[name].metadata if hasattr(one, "le")]
    return int(bound)


MESSENGER, GATEWAY = MessengerSettings.model_fields, GatewaySettings.model_fields


def message(text_bytes: int) -> pb.Message:
    """A message with a text of so many bytes."""
    times = dict.fromkeys(("created_at", "edited_at", "deleted_at"), NUMBER)
    ids: dict[str, Any] = dict.fromkeys(("chat_id", "id", "sender_id", "client_id"), ID)
    return pb.Message(**ids, **times, seq=NUMBER, text="x" * text_bytes, trace_id="0" * 32)


def chat(members: int, text_bytes: int) -> pb.Chat:
    """A chat with so many members."""
    found = pb.Chat(id=ID, title="x" * TITLE_BYTES, created_by=ID, last_message=message(text_bytes))
    for name in ("created_at", "last_seq", "active_at", "unread"):
        setattr(found, name, NUMBER)
    for _ in range(members):
        found.members.add(
            user_id=ID,
            name="x" * NAME_BYTES,
            surname="x" * NAME_BYTES,
            received_seq=NUMBER,
            read_seq=NUMBER,
            last_seen_at=NUMBER,
            joined_at=NUMBER,
        )
    return found


def test_the_largest_chat_fits() -> None:
    """A group would be too large to be shown to its members."""
    largest = chat(most(MESSENGER, "members_per_group"), most(MESSENGER, "text_bytes"))
    assert largest.ByteSize() < MESSAGE_BYTES


def test_the_largest_list_of_chats_fits() -> None:
    """Whoever is added to enough groups could not see their chats any more."""
    page = pb.ChatPage(chats=[chat(LISTED_MEMBERS, PREVIEW_BYTES)] * MOST_ENTRIES)
    assert page.ByteSize() < MESSAGE_BYTES


def test_the_largest_page_of_messages_fits_beside_a_full_batch() -> None:
    """A history of long texts would break the stream that all sockets hang on."""
    page = pb.MessagePage(texts=["x" * (PAGE_BYTES + most(MESSENGER, "text_bytes"))])
    small = message(0).ByteSize() * MOST_ENTRIES
    assert BATCH_BYTES + page.ByteSize() + small < MESSAGE_BYTES


def test_the_largest_send_fits_beside_a_full_batch() -> None:
    """A message of the largest frame would break the stream that all sockets hang on."""
    largest = max(most(GATEWAY, "frame_bytes"), most(GATEWAY, "body_bytes"))
    most_sockets = 100_000 * 5
    assert max(BATCH_BYTES, batches.BATCH_BYTES) + largest + most_sockets < MESSAGE_BYTES


def test_the_largest_request_as_stored_fits() -> None:
    """A request that is repeated, whose messages were made longer meanwhile, could not be answered."""
    allowed = MessengerSettings(messages_per_request=16, text_bytes=1_048_576)
    stored = pb.SentMessages(messages=[message(allowed.text_bytes)] * allowed.messages_per_request)
    assert stored.ByteSize() < MESSAGE_BYTES
    many = pb.SentMessages(messages=[message(4)] * 1_000)
    assert many.ByteSize() < MESSAGE_BYTES // 100
    variables = {"PALAVER_MESSENGER__MESSAGES_PER_REQUEST": "17", "PALAVER_MESSENGER__TEXT_BYTES": "1048576"}
    with pytest.raises(SettingsError, match="messages_per_request times text_bytes"):
        load_settings(None, variables)
