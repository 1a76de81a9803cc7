"""The one mapping of a message to what v2's clients see."""

import dataclasses
import json

import msgspec

from palaver.contracts import frames
from palaver.contracts import messenger_pb2 as pb
from palaver.contracts.ids import new_id
from palaver.gateway.generations.v2.message_shape import (
    MESSAGE_EXAMPLE,
    Message,
    frames_of,
    message_of,
    messages_of,
)
from palaver.gateway.sockets.commands import OutboundMessages

SENT = pb.Message(
    chat_id=new_id(),
    seq=7,
    id=new_id(),
    sender_id=new_id(),
    client_id=new_id(),
    text="Hello, Alice!",
    created_at=1_735_331_101_000_207,
    edited_at=1_735_331_102_331_207,
    deleted_at=1_735_331_103_331_207,
    trace_id="4bf92f3577b34da6a3ce929d0e0e4736",
)


def test_the_fields_of_a_message_have_one_order() -> None:
    """A value would stand under another name in one of the forms, since they are filled by position."""
    in_rest = [field.name for field in dataclasses.fields(Message)]
    assert in_rest == [field.name for field in pb.Message.DESCRIPTOR.fields]
    assert in_rest == list(MESSAGE_EXAMPLE)
    assert in_rest == [*frames.Message.__struct_fields__, "trace_id"]


def test_a_message_looks_the_same_however_it_came() -> None:
    """A client that reads a message again would take it for a changed one, and draw it anew."""
    page = pb.MessagePage(
        chat_id=SENT.chat_id,
        seqs=[SENT.seq],
        ids=[SENT.id],
        sender_ids=[SENT.sender_id],
        client_ids=[SENT.client_id],
        texts=[SENT.text],
        created_at=[SENT.created_at],
        edited_at=[SENT.edited_at],
        deleted_at=[SENT.deleted_at],
        trace_ids=[SENT.trace_id],
    )
    delivery = pb.Delivery(
        chat_id=SENT.chat_id,
        sender_id=SENT.sender_id,
        first_seq=SENT.seq,
        ids=[SENT.id],
        client_ids=[SENT.client_id],
        texts=[SENT.text],
        created_at=SENT.created_at,
        edited_at=SENT.edited_at,
        deleted_at=SENT.deleted_at,
    )
    one = message_of(SENT)
    assert messages_of(page) == [one]
    assert one.created_at == "2024-12-27T20:25:01.000207Z"
    (frame,) = frames_of(OutboundMessages(delivery, None))
    in_rest = dataclasses.asdict(one)
    assert in_rest.pop("trace_id") == SENT.trace_id
    assert json.loads(msgspec.json.encode(frame)) == {"type": "message", **in_rest}


def test_an_empty_page_has_no_messages() -> None:
    """The history of a new chat would be an error, since the messenger names no chat then."""
    assert messages_of(pb.MessagePage()) == []
