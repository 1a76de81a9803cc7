"""v1's frames."""

import json

import pytest

from palaver.contracts.errors import INVALID, MALFORMED, NOT_FOUND, UNAUTHENTICATED, PalaverError
from palaver.contracts.ids import id_from_text, new_id, text_from_id
from palaver.contracts.messenger_pb2 import Delivery, PresenceEvent, ReceiptEvent, SentReply, TypingEvent
from palaver.gateway.generations.legacy import legacy_error
from palaver.gateway.generations.v1.socket import CodecV1
from palaver.gateway.sockets.commands import OutboundMessages
from palaver.gateway.upstream.pending_sends import PendingSend
from palaver.runtime.settings.gateway import GatewaySettings
from tests.harness.memory_transport import read_frames

CHAT = "0b1d3cbc-9f46-4f2a-8b2a-2f1f6b7b8a11"
V1 = CodecV1(GatewaySettings(messages_per_request=3, text_characters=10))


def frame(payload: object, topic: str = "messenger", action: str = "send-message") -> bytes:
    """A client's frame; the payload is JSON inside a string."""
    inner = payload if isinstance(payload, str) else json.dumps(payload)
    return json.dumps({"topic": topic, "action": action, "payload": inner}).encode()


def texts(*words: str) -> dict[str, object]:
    """The payload of a send."""
    return {"chat_id": CHAT, "messages": [{"text": text, "status": "created"} for text in words]}


def delivery(*words: str, **more: object) -> OutboundMessages:
    """Messages as they are told."""
    ids = [new_id() for _ in words]
    fields = {"first_seq": 7, "ids": ids, "client_ids": ids, "texts": words, "created_at": 1, **more}
    return OutboundMessages(Delivery(chat_id=id_from_text(CHAT, ""), sender_id=new_id(), **fields), None)  # type: ignore[arg-type]


def test_a_frame_of_the_original_clients_is_a_send_with_client_ids() -> None:
    """Old clients could not write, or their messages would be doubled by the gateway's retries."""
    wire = (
        '{"topic":"messenger","action":"send-message","payload":"{\\"chat_id\\":\\"' + CHAT + '\\",'
        '\\"messages\\":[{\\"text\\":\\"Hello, Alice!\\",\\"status\\":\\"created\\"}]}"}'
    )
    command = CodecV1(GatewaySettings()).read(wire.encode())
    assert isinstance(command, PendingSend)
    assert (text_from_id(command.chat_id), command.texts) == (CHAT, ["Hello, Alice!"])
    again = V1.read(frame(texts("a", "b", "c")))
    assert isinstance(again, PendingSend)
    assert again.texts == ["a", "b", "c"]
    assert len({*again.client_ids, *command.client_ids}) == 4


def test_what_old_clients_add_is_passed_over() -> None:
    """Clients that send one field more would be refused after years of service."""
    payload = {**texts("a"), "more": [1]}
    payload["messages"] = [{"text": "a", "more": None}]
    assert isinstance(V1.read(frame(payload)), PendingSend)


@pytest.mark.parametrize(
    ("wire", "kind", "field"),
    [
        (b"", MALFORMED, ""),
        (b"{", MALFORMED, ""),
        (b"[]", MALFORMED, ""),
        (b'"\xff"', MALFORMED, ""),
        (b'{"topic":"messenger"}', MALFORMED, ""),
        (b'{"topic":1,"action":"send-message","payload":""}', MALFORMED, ""),
        (b'{"topic":"messenger","action":"send-message","payload":{}}', MALFORMED, ""),
        (b'{"topic":"messenger","action":"send-message","payload":"","x":' + b"[" * 100_000, MALFORMED, ""),
        (frame("not JSON"), MALFORMED, ""),
        (frame("[" * 100_000), MALFORMED, ""),
        (frame({"chat_id": CHAT}), MALFORMED, ""),
        (frame({"chat_id": CHAT, "messages": [{"status": "created"}]}), MALFORMED, ""),
        (frame(texts("a"), topic="other"), MALFORMED, "action"),
        (frame(texts("a"), action="other"), MALFORMED, "action"),
        (frame(texts()), INVALID, "messages"),
        (frame(texts("a", "b", "c", "d")), INVALID, "messages"),
        (frame({**texts("a"), "chat_id": "7"}), INVALID, "chat_id"),
        (frame(texts("")), INVALID, "text"),
        (frame(texts("a", "x" * 11)), INVALID, "text"),
        (frame(texts("nul\0")), INVALID, "text"),
    ],
)
def test_a_bad_frame_is_refused_by_name(wire: bytes, kind: object, field: str) -> None:
    """A client's author would look for the fault in the dark."""
    with pytest.raises(PalaverError) as refused:
        V1.read(wire)
    assert (refused.value.kind, refused.value.field) == (kind, field)


def test_members_get_the_frame_that_they_always_got() -> None:
    """Old clients parse bytes (promise P6)."""
    told = V1.messages(delivery('Hello, "Alice"!', "\N{WAVING HAND SIGN} <&>"))
    payload = (
        f'{{"chat_id":"{CHAT}","messages":[{{"text":"Hello, \\"Alice\\"!","status":"created"}},'
        '{"text":"\N{WAVING HAND SIGN} <&>","status":"created"}]}'
    )
    expected = (
        f'{{"topic":"messenger","action":"send-message","payload":{json.dumps(payload, ensure_ascii=False)}}}'
    )
    assert told[2:] == expected.encode() or told[4:] == expected.encode()
    assert [list(one) for one in read_frames(told)] == [["topic", "action", "payload"]]


def test_changes_and_what_v1_has_no_words_for_are_kept_from_it() -> None:
    """Old clients would show a message again, or an empty one."""
    sent = PendingSend(new_id(), [new_id()], ["a"])
    assert V1.messages(delivery("a", changed=True, edited_at=2)) == b""
    assert V1.messages(delivery("", deleted_at=2)) == b""
    assert V1.sent(delivery("a")) == V1.stored(SentReply(), sent) == b""
    assert V1.hello(new_id(), new_id(), 1) == V1.resumed() == b""
    assert V1.receipt(ReceiptEvent()) == V1.typing(TypingEvent()) == V1.presence(PresenceEvent()) == b""


def test_an_edited_message_that_was_missed_is_told() -> None:
    """After a broken stream edited messages would be lost to old clients."""
    assert b"newest" in V1.messages(delivery("newest", edited_at=2))


def test_refusals_have_the_old_shape() -> None:
    """Old clients would crash on an error."""
    (told,) = read_frames(V1.refused(PalaverError(NOT_FOUND, "no such chat"), None, new_id()))
    assert told == {
        "topic": "messenger",
        "action": "error",
        "payload": '{"code":0,"message":"no such chat"}',
    }
    answer = legacy_error(PalaverError(UNAUTHENTICATED, "an access token is needed"), (), "")
    assert (answer.status, answer.content_type) == (401, "application/json")
    assert answer.body == b'{"code":0,"message":"an access token is needed"}'


@pytest.mark.parametrize(
    "wrong",
    [
        b'{"topic":"' + b"k" * 250_000 + b'","action":"a","payload":""}',
        b'{"topic":"messenger","action":"send-message","payload":"{\\"' + b"k" * 250_000 + b'"}',
        b'{"' + b"k" * 250_000 + b'":0}',
        b'{"x":' + b"[" * 250_000,
        b'{"topic":"\xff' + b"k" * 250_000 + b'"}',
    ],
)
def test_a_refusal_repeats_little_of_a_frame(wrong: bytes) -> None:
    """A frame of a quarter of a megabyte would be answered with as much."""
    with pytest.raises(PalaverError) as caught:
        V1.read(wrong)
    assert len(V1.refused(caught.value, None, b"")) < 1_000


def test_a_text_has_bounded_bytes() -> None:
    """One character of accents would be sent to all members, and shown in all their lists."""
    codec = CodecV1(GatewaySettings(text_bytes=100))
    accent = "\N{COMBINING ACUTE ACCENT}"
    for count, is_taken in ((49, True), (50, False)):
        payload = json.dumps({"chat_id": CHAT, "messages": [{"text": "e" + accent * count}]})
        frame = json.dumps({"topic": "messenger", "action": "send-message", "payload": payload}).encode()
        if is_taken:
            assert isinstance(codec.read(frame), PendingSend)
            continue
        with pytest.raises(PalaverError) as caught:
            codec.read(frame)
        assert caught.value.field == "text"
