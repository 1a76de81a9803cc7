"""Pages of messages, which gRPC carries in columns, as messages, and messages as pages."""

from collections.abc import Iterable

from palaver.contracts import messenger_pb2 as pb


def page_of(
    messages: Iterable[pb.Message], last_seq: int, receipts: Iterable[pb.Receipt] = ()
) -> pb.MessagePage:
    """The page that has these messages."""
    page = pb.MessagePage(last_seq=last_seq, receipts=receipts)
    for message in messages:
        page.chat_id = message.chat_id
        page.seqs.append(message.seq)
        page.ids.append(message.id)
        page.sender_ids.append(message.sender_id)
        page.client_ids.append(message.client_id)
        page.texts.append(message.text)
        page.created_at.append(message.created_at)
        page.edited_at.append(message.edited_at)
        page.deleted_at.append(message.deleted_at)
        page.trace_ids.append(message.trace_id)
    return page


def messages_in(page: pb.MessagePage) -> list[pb.Message]:
    """The messages of a page."""
    return [
        pb.Message(
            chat_id=page.chat_id,
            seq=seq,
            id=page.ids[index],
            sender_id=page.sender_ids[index],
            client_id=page.client_ids[index],
            text=page.texts[index],
            created_at=page.created_at[index],
            edited_at=page.edited_at[index],
            deleted_at=page.deleted_at[index],
            trace_id=page.trace_ids[index],
        )
        for index, seq in enumerate(page.seqs)
    ]
