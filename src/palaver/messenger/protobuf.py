"""Chats, messages and receipts as gRPC carries them: the one mapping between them and protobuf.

`pb.Message` has the fields of `domain.Message` by the same names; a page of messages has them as columns.
"""

from collections.abc import Iterable

from palaver.contracts import messenger_pb2 as pb
from palaver.contracts.errors import error_to_wire
from palaver.messenger.domain import (
    UNKNOWN,
    ChatView,
    Message,
    Name,
    Names,
    Receipt,
    ShownChat,
    ShownChats,
    ShownInspection,
)
from palaver.messenger.pending_send import PendingSend, new_texts
from palaver.messenger.store.messages import Page

# The columns of `pb.MessagePage`, in the order of the fields of `domain.Message`; the chat's id stands once
COLUMNS = (
    "chat_id",
    "seqs",
    "ids",
    "sender_ids",
    "client_ids",
    "texts",
    "created_at",
    "trace_ids",
    "edited_at",
    "deleted_at",
)


def error_to_proto(error: BaseException) -> pb.Error:
    """An error as the stream carries it."""
    wire = error_to_wire(error)
    return pb.Error(code=wire.code, message=wire.message, field=wire.field, retry_after=wire.retry_after)


# ---- messages ----


def message_to_proto(message: Message) -> pb.Message:
    """One message."""
    return pb.Message(**message._asdict())


def messages_to_proto(messages: Iterable[Message]) -> pb.SentMessages:
    """Messages as they were stored."""
    return pb.SentMessages(messages=map(message_to_proto, messages))


def fill_page(proto: pb.MessagePage, page: Page) -> None:
    """Writes a page into `proto`, column by column: this is what readers wait for."""
    proto.last_seq = page.last_seq
    if page.rows:
        chat_ids, *columns = zip(*page.rows, strict=True)
        proto.chat_id = chat_ids[0]
        for name, values in zip(COLUMNS[1:], columns, strict=True):
            getattr(proto, name).extend(values)
    proto.receipts.extend(map(receipt_to_proto, page.receipts))


def fill_new_messages(delivery: pb.Delivery, send: PendingSend) -> int:
    """Writes a send's new messages into `delivery`. Returns about how many bytes their texts take."""
    client_ids, texts = send.client_ids, send.texts
    if send.stored is not None:
        client_ids, texts = zip(*new_texts(send), strict=True)
    delivery.chat_id = send.membership.chat_id
    delivery.sender_id = send.sender_id
    delivery.first_seq = send.first_seq
    delivery.ids.extend(send.ids)
    delivery.client_ids.extend(client_ids)
    delivery.texts.extend(texts)
    delivery.created_at = send.created_at
    return 2 * sum(map(len, texts))


def fill_stored_message(delivery: pb.Delivery, message: Message) -> None:
    """Writes one stored message into `delivery`."""
    delivery.chat_id = message.chat_id
    delivery.sender_id = message.sender_id
    delivery.first_seq = message.seq
    delivery.ids.append(message.id)
    delivery.client_ids.append(message.client_id)
    delivery.texts.append(message.text)
    delivery.created_at = message.created_at
    delivery.edited_at = message.edited_at
    delivery.deleted_at = message.deleted_at


def receipt_to_proto(receipt: Receipt) -> pb.Receipt:
    """How far one member has received and read."""
    return pb.Receipt(user_id=receipt.user_id, received_seq=receipt.received_seq, read_seq=receipt.read_seq)


# ---- chats ----


def chat_to_proto(shown: ShownChat) -> pb.Chat:
    """One chat."""
    proto = pb.Chat()
    fill_chat(proto, shown.view, shown.names)
    proto.existed = shown.existed
    return proto


def chats_to_proto(shown: ShownChats) -> pb.ChatPage:
    """A page of chats."""
    proto = pb.ChatPage(next_cursor=shown.next_cursor, total=shown.total)
    for view in shown.views:
        fill_chat(proto.chats.add(), view, shown.names)
    return proto


def fill_chat(proto: pb.Chat, view: ChatView, names: Names) -> None:
    """Writes a chat into `proto`."""
    proto.id = view.id
    proto.group = view.group
    proto.title = view.title
    proto.created_at = view.created_at
    proto.created_by = view.created_by
    proto.last_seq = view.last_seq
    proto.active_at = view.active_at
    proto.unread = view.unread
    proto.left = view.left
    proto.member_count = view.member_count
    proto.last_text_cut = view.last_text_cut
    if view.last_message is not None:
        proto.last_message.CopyFrom(message_to_proto(view.last_message))
    for member in view.members:
        name: Name = names.get(member.user_id, UNKNOWN)
        proto.members.add(**member._asdict(), name=name.name, surname=name.surname)


# ---- for operators ----


def inspection_to_proto(shown: ShownInspection) -> pb.MessageInspection:
    """What operators may see of a message."""
    inspection = shown.inspection
    proto = pb.MessageInspection(message=message_to_proto(inspection.message), group=inspection.is_group)
    for member in inspection.members:
        name = shown.names.get(member.user_id, UNKNOWN)
        proto.members.add(
            user_id=member.user_id,
            name=name.name,
            surname=name.surname,
            joined_at=member.joined_at,
            left_seq=member.left_seq,
            received_seq=member.received_seq,
            read_seq=member.read_seq,
        )
    return proto
