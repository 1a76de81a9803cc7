"""Chats, messages and receipts as gRPC carries them."""

from collections.abc import Callable, Iterable

from palaver.contracts import messenger_pb2 as pb
from palaver.messenger.domain import ChatView, Message, Receipt
from palaver.messenger.store.messages import Page
from palaver.messenger.use_cases import ShownChat, ShownChats, ShownInspection
from palaver.messenger.user_directory import UNKNOWN, Names

IsOnline = Callable[[bytes], bool]


def page_to_wire(page: Page) -> pb.MessagePage:
    """A page of messages."""
    wire = pb.MessagePage()
    fill_page(wire, page)
    return wire


def fill_page(wire: pb.MessagePage, page: Page) -> None:
    """Writes a page into `wire`, column by column: this is what readers wait for."""
    wire.last_seq = page.last_seq
    if page.rows:
        chat_ids, seqs, ids, senders, client_ids, texts, created, edited, deleted, traces = zip(
            *page.rows, strict=True
        )
        wire.chat_id = chat_ids[0]
        wire.seqs.extend(seqs)
        wire.ids.extend(ids)
        wire.sender_ids.extend(senders)
        wire.client_ids.extend(client_ids)
        wire.texts.extend(texts)
        wire.created_at.extend(created)
        wire.edited_at.extend(edited)
        wire.deleted_at.extend(deleted)
        wire.trace_ids.extend(traces)
    wire.receipts.extend(map(receipt_to_wire, page.receipts))


def message_to_wire(message: Message) -> pb.Message:
    """One message."""
    return pb.Message(
        chat_id=message.chat_id,
        seq=message.seq,
        id=message.id,
        sender_id=message.sender_id,
        client_id=message.client_id,
        text=message.text,
        created_at=message.created_at,
        edited_at=message.edited_at,
        deleted_at=message.deleted_at,
        trace_id=message.trace_id,
    )


def messages_to_wire(messages: Iterable[Message]) -> pb.SentMessages:
    """Messages as they were stored."""
    return pb.SentMessages(messages=map(message_to_wire, messages))


def receipt_to_wire(receipt: Receipt) -> pb.Receipt:
    """How far one member has come."""
    return pb.Receipt(user_id=receipt.user_id, received_seq=receipt.received_seq, read_seq=receipt.read_seq)


def chat_to_wire(shown: ShownChat, is_online: IsOnline) -> pb.Chat:
    """One chat."""
    wire = pb.Chat()
    fill_chat(wire, shown.view, shown.names, is_online)
    wire.existed = shown.existed
    return wire


def chats_to_wire(shown: ShownChats, is_online: IsOnline) -> pb.ChatPage:
    """A page of chats."""
    wire = pb.ChatPage(next_cursor=shown.next_cursor, total=shown.total)
    for view in shown.views:
        fill_chat(wire.chats.add(), view, shown.names, is_online)
    return wire


def fill_chat(wire: pb.Chat, view: ChatView, names: Names, is_online: IsOnline) -> None:
    """Writes a chat into `wire`."""
    wire.id = view.id
    wire.group = view.group
    wire.title = view.title
    wire.created_at = view.created_at
    wire.created_by = view.created_by
    wire.last_seq = view.last_seq
    wire.active_at = view.active_at
    wire.unread = view.unread
    wire.left = view.left
    if view.last_message is not None:
        wire.last_message.CopyFrom(message_to_wire(view.last_message))
    for member in view.members:
        name = names.get(member.user_id, UNKNOWN)
        wire.members.add(
            user_id=member.user_id,
            name=name.name,
            surname=name.surname,
            received_seq=member.received_seq,
            read_seq=member.read_seq,
            online=is_online(member.user_id),
            last_seen_at=member.last_seen_at,
            joined_at=member.joined_at,
        )


def inspection_to_wire(shown: ShownInspection) -> pb.MessageInspection:
    """What operators may see of a message."""
    inspection = shown.inspection
    wire = pb.MessageInspection(message=message_to_wire(inspection.message), group=inspection.is_group)
    for member in inspection.members:
        name = shown.names.get(member.user_id, UNKNOWN)
        wire.members.add(
            user_id=member.user_id,
            name=name.name,
            surname=name.surname,
            joined_at=member.joined_at,
            left_seq=member.left_seq,
            received_seq=member.received_seq,
            read_seq=member.read_seq,
        )
    return wire
