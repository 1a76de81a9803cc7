"""v2's frames."""

import json
from typing import Any

import msgspec
import pytest

from palaver.contracts import frames
from palaver.contracts.errors import (
    INVALID,
    MALFORMED,
    NOT_FOUND,
    RATE_LIMITED,
    UNAUTHENTICATED,
    PalaverError,
)
from palaver.contracts.ids import id_from_text, new_id, text_from_id
from palaver.contracts.messenger_pb2 import Delivery, PresenceEvent, ReceiptEvent, SentReply, TypingEvent
from palaver.contracts.seqs import LAST_SEQ
from palaver.contracts.times import rfc3339
from palaver.gateway.generations.v2.socket import CodecV2
from palaver.gateway.http.problem_details import problem_details
from palaver.gateway.sockets.commands import (
    Answer,
    MoveReceipt,
    OutboundMessages,
    ResumeChats,
    Type,
)
from palaver.gateway.upstream.pending_sends import PendingSend
from palaver.runtime.settings.gateway import GatewaySettings
from tests.harness.memory_transport import read_frames

CHAT, CLIENT = "0b1d3cbc-9f46-4f2a-8b2a-2f1f6b7b8a11", "5b1d3cbc-9f46-4f2a-8b2a-2f1f6b7b8a22"
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
V2 = CodecV2(GatewaySettings(text_characters=10))


def frame(**fields: Any) -> bytes:
    """A client's frame."""
    return json.dumps(fields).encode()


def send(**fields: Any) -> bytes:
    """A client's send."""
    return frame(**{"type": "send", "chat_id": CHAT, "client_id": CLIENT, "text": "hello", **fields})


def delivery(*words: str, **more: Any) -> OutboundMessages:
    """Messages as they are told."""
    ids = [new_id() for _ in words]
    fields = {"first_seq": 7, "ids": ids, "client_ids": ids, "texts": words, "created_at": 5, **more}
    return OutboundMessages(Delivery(chat_id=id_from_text(CHAT, ""), sender_id=new_id(), **fields), None)


def only(wire: bytes) -> dict[str, Any]:
    """The one frame that was written; it is one of the contract's."""
    (told,) = read_frames(wire)
    msgspec.convert(told, frames.ServerFrame)
    return told


def test_a_send_names_the_chat_the_message_and_the_trace() -> None:
    """Nobody could write."""
    command = V2.read(send(traceparent=TRACE))
    assert isinstance(command, PendingSend)
    assert (text_from_id(command.chat_id), command.texts, command.trace.traceparent) == (
        CHAT,
        ["hello"],
        TRACE,
    )
    assert [text_from_id(one) for one in command.client_ids] == [CLIENT]


def test_receipts_typing_resumes_and_pings_are_read() -> None:
    """Clients could not say what was read, who types, or what they have."""
    receipt = V2.read(frame(type="receipt", chat_id=CHAT.upper(), received_seq=3, read_seq=2))
    assert isinstance(receipt, MoveReceipt)
    assert (text_from_id(receipt.chat_id), receipt.received_seq, receipt.read_seq) == (CHAT, 3, 2)
    assert isinstance(V2.read(frame(type="typing", chat_id=CHAT)), Type)
    resume = V2.read(frame(type="resume", cursors={CHAT: 5}))
    assert isinstance(resume, ResumeChats)
    assert resume.cursors == {id_from_text(CHAT, ""): 5}
    pong = V2.read(frame(type="ping", id="7"))
    assert isinstance(pong, Answer)
    assert only(pong.frame) == {"type": "pong", "id": "7"}


def test_the_largest_seq_is_one_everywhere() -> None:
    """A receipt that REST takes would be refused by the socket."""
    command = V2.read(frame(type="receipt", chat_id=CHAT, read_seq=LAST_SEQ))
    assert isinstance(command, MoveReceipt)
    assert command.read_seq == LAST_SEQ


@pytest.mark.parametrize(
    ("wire", "kind", "field"),
    [
        (b"", MALFORMED, ""),
        (b"nonsense", MALFORMED, ""),
        (b'{"type":"ping","id":"\xff"}', MALFORMED, ""),
        (b'{"type":"ping","id":"\\ud800"}', MALFORMED, ""),
        (b"[1]", INVALID, ""),
        (b"{}", INVALID, "type"),
        (frame(type="other"), INVALID, "type"),
        (frame(type="ping", id=5), INVALID, "id"),
        (frame(type="ping", more=5), INVALID, "more"),
        (b'{"type":"ping","id":' + b"[" * 100_000, INVALID, "id"),
        (frame(type="typing"), INVALID, "chat_id"),
        (frame(type="typing", chat_id="x"), INVALID, "chat_id"),
        (frame(type="receipt", chat_id=CHAT, read_seq=-1), INVALID, "read_seq"),
        (frame(type="receipt", chat_id=CHAT, received_seq=LAST_SEQ + 1), INVALID, "received_seq"),
        (frame(type="receipt", chat_id=CHAT, read_seq=2**80), INVALID, "read_seq"),
        (frame(type="resume", cursors=[]), INVALID, "cursors"),
        (frame(type="resume", cursors={"x": 1}), INVALID, "cursors"),
        (frame(type="resume", cursors={CHAT: -1}), INVALID, "cursors"),
        (frame(type="resume", cursors={text_from_id(new_id()): 1 for _ in range(1_001)}), INVALID, "cursors"),
    ],
)
def test_a_bad_frame_is_refused_by_name(wire: bytes, kind: object, field: str) -> None:
    """A client's author would look for the fault in the dark."""
    with pytest.raises(PalaverError) as refused:
        V2.read(wire)
    assert (refused.value.kind, refused.value.field) == (kind, field)


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"text": ""}, "text"),
        ({"text": "x" * 11}, "text"),
        ({"text": "nul\0"}, "text"),
        ({"chat_id": "x"}, "chat_id"),
        ({"client_id": "x"}, "client_id"),
        ({"traceparent": "x"}, "traceparent"),
        ({"traceparent": TRACE + "\n"}, "traceparent"),
    ],
)
def test_a_bad_send_is_refused_with_its_client_id(wrong: dict[str, str], field: str) -> None:
    """A client with several sends in flight could not tell which of them failed, and would wait for ever."""
    command = V2.read(send(**wrong))
    assert isinstance(command, Answer)
    told = only(command.frame)
    assert (told["type"], told["code"], told["field"]) == ("error", "invalid", field)
    assert told["client_id"] == wrong.get("client_id", CLIENT)
    assert told["chat_id"] == wrong.get("chat_id", CHAT)


def test_messages_are_told_one_a_frame() -> None:
    """Members would not see what was said, when, and by whom."""
    told = delivery("a", "b\n\N{PILE OF POO}")
    found = read_frames(V2.messages(told))
    assert [(one["seq"], one["text"]) for one in found] == [(7, "a"), (8, "b\n\N{PILE OF POO}")]
    assert found[0] == {
        "type": "message",
        "chat_id": CHAT,
        "seq": 7,
        "id": text_from_id(told.ids[0]),
        "sender_id": text_from_id(told.sender_id),
        "client_id": text_from_id(told.client_ids[0]),
        "text": "a",
        "created_at": "1970-01-01T00:00:00.000005Z",
    }


def test_changes_say_when_they_were_made() -> None:
    """An edited message could not be told from the one that it was."""
    edited = only(V2.messages(delivery("new", changed=True, edited_at=9)))
    assert (edited["text"], edited["edited_at"]) == ("new", rfc3339(9))
    deleted = only(V2.messages(delivery("", changed=True, deleted_at=9)))
    assert (deleted["text"], deleted["deleted_at"]) == ("", rfc3339(9))


def test_acknowledgements_name_each_message() -> None:
    """A client could not tell which of its sends are safe."""
    told = delivery("a", "b")
    new = read_frames(V2.sent(told))
    sent = PendingSend(told.chat_id, list(told.client_ids), ["a", "b"])
    reply = SentReply(seqs=[7, 8], ids=list(told.ids), created_at=[5, 5])
    stored = read_frames(V2.stored(reply, sent))
    assert new == stored
    assert new[1] == {
        "type": "sent",
        "client_id": text_from_id(told.client_ids[1]),
        "chat_id": CHAT,
        "seq": 8,
        "id": text_from_id(told.ids[1]),
        "created_at": rfc3339(5),
    }


def test_refusals_name_what_they_refuse_and_when_to_try_again() -> None:
    """A client would repeat at once, or never, or the wrong message."""
    sent = PendingSend(id_from_text(CHAT, ""), [id_from_text(CLIENT, "")], ["a"])
    limited = PalaverError(RATE_LIMITED, "too many messages", retry_after=0.12345)
    told = only(V2.refused(limited, sent, sent.chat_id))
    assert told == {
        "type": "error",
        "code": "rate_limited",
        "message": "too many messages",
        "client_id": CLIENT,
        "chat_id": CHAT,
        # Rounded up: who waits so long is not refused again
        "retry_after": 0.124,
    }
    plain = only(V2.refused(PalaverError(NOT_FOUND, "no such chat", field="chat_id"), None, b""))
    assert (plain["code"], plain["field"]) == ("not_found", "chat_id")
    assert "client_id" not in plain
    assert "chat_id" not in plain


def test_the_rest_has_the_contracts_shapes() -> None:
    """Clients would not understand who is there, who types and what was read."""
    user = new_id()
    chat_id = id_from_text(CHAT, "")
    hello = only(V2.hello(user, chat_id, 5))
    assert (hello["type"], hello["user_id"], hello["session_id"]) == ("hello", text_from_id(user), CHAT)
    receipt = only(V2.receipt(ReceiptEvent(chat_id=chat_id, user_id=user, received_seq=3, read_seq=2)))
    assert (receipt["chat_id"], receipt["received_seq"], receipt["read_seq"]) == (CHAT, 3, 2)
    typing = only(V2.typing(TypingEvent(chat_id=chat_id, user_id=user)))
    assert typing == {"type": "typing", "chat_id": CHAT, "user_id": text_from_id(user)}
    online = only(V2.presence(PresenceEvent(user_id=user, online=True)))
    assert online == {"type": "presence", "user_id": text_from_id(user), "online": True}
    away = only(V2.presence(PresenceEvent(user_id=user, last_seen_at=5)))
    assert (away["online"], away["last_seen_at"]) == (False, rfc3339(5))
    assert only(V2.resumed()) == {"type": "resumed"}


def test_a_refused_upgrade_is_a_problem_document() -> None:
    """A client could not tell a bad token from a service that is away (RFC 9457)."""
    answer = problem_details(PalaverError(UNAUTHENTICATED, "an access token is needed"), (), "")
    assert (answer.status, answer.content_type) == (401, "application/problem+json")
    assert json.loads(answer.body)["code"] == "unauthenticated"


BIG = 250_000


@pytest.mark.parametrize(
    "wrong",
    [
        b'{"type":"ping","' + b"k" * BIG + b'":0}',
        b'{"type":"' + b"k" * BIG + b'"}',
        b'{"type":"ping","id":"' + b"k" * BIG + b'"}',
        b'{"type":"typing","chat_id":"' + b"k" * BIG + b'"}',
        b'{"type":"resume","cursors":{' + b",".join(b'"%d":0' % n for n in range(20_000)) + b"}}",
        b'{"type":"receipt","chat_id":"a","read_seq":' + b"9" * BIG + b"}",
        b'{"type":"ping","id":' + b"[" * BIG,
        b'{"type":"ping","id":"\xff' + b"k" * BIG + b'"}',
    ],
)
def test_a_refusal_repeats_little_of_a_frame(wrong: bytes) -> None:
    """A frame of a quarter of a megabyte would be answered with as much."""
    with pytest.raises(PalaverError) as caught:
        V2.read(wrong)
    assert caught.value.kind in (INVALID, MALFORMED)
    assert len(V2.refused(caught.value, None, b"")) < 1_000


def test_a_refused_send_repeats_little_of_its_ids() -> None:
    """The same, by ids that are none."""
    answer = V2.read(send(chat_id="c" * 100_000, client_id="d" * 100_000))
    assert isinstance(answer, Answer)
    assert len(answer.frame) < 1_000


def test_a_text_has_bounded_bytes() -> None:
    """One character of accents would be sent to all members, and shown in all their lists."""
    codec = CodecV2(GatewaySettings(text_characters=10, text_bytes=100))
    accent = "\N{COMBINING ACUTE ACCENT}"
    assert isinstance(codec.read(send(text="e" + accent * 49)), PendingSend)
    refused = codec.read(send(text="e" + accent * 50))
    assert isinstance(refused, Answer)
    assert only(refused.frame)["field"] == "text"
