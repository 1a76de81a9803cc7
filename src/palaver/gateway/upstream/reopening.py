"""What a new stream to the messenger begins with: who is there, and what was not answered."""

from collections.abc import Iterable, Iterator

from palaver.contracts.messenger_pb2 import GatewayBatch, SocketOpen
from palaver.contracts.times import now_us
from palaver.gateway import metrics
from palaver.gateway.upstream.batches import BATCH_BYTES, split_batch
from palaver.gateway.upstream.delivered import Delivered
from palaver.gateway.upstream.pending_reads import PendingReads, add_read
from palaver.gateway.upstream.pending_receipts import PendingReceipts, add_receipt
from palaver.gateway.upstream.pending_sends import PendingSends, Sender, add_send

OPENS_AT_ONCE = 500


def first_batches(
    gateway_id: str,
    openings: list[SocketOpen],
    delivered: Delivered,
    sends: PendingSends,
    receipts: PendingReceipts,
    reads: PendingReads,
) -> Iterator[GatewayBatch]:
    """Hello, the sockets, and what was not answered. Use it up without a wait: all of it is of one moment."""
    batch = GatewayBatch()
    batch.hello.gateway_id = gateway_id
    batch.hello.takes_shared_pages = True
    batch.hello.followed.extend(delivered.followed())
    moved = list(receipts)
    senders = [*sends.senders(), *(receipt.sender for receipt in moved)]
    gone = reopenings_of_gone(senders, {opening.socket for opening in openings})
    for opening in (*openings, *gone):
        batch.opens.append(opening)
        if len(batch.opens) >= OPENS_AT_ONCE:
            yield batch
            batch = GatewayBatch()
    batch.reopened = True
    size = 0
    for request, send in sends.resend():
        add_send(batch, request, send, retry=True)
        metrics.RESENT.inc()
        size += send.size
        if size > BATCH_BYTES:
            yield batch
            batch, size = GatewayBatch(), 0
    for receipt in moved:
        add_receipt(batch, receipt)
    for read in reads.resend():
        add_read(batch, read)
    batch.closes.extend([opening.socket for opening in gone])
    yield from split_batch(batch)


def reopenings_of_gone(senders: Iterable[Sender], still_open: set[int]) -> list[SocketOpen]:
    """Sockets that closed before the messenger had answered them: open for as long as it takes to send the
    rest again. Their tokens were good when they were opened."""
    gone = {sender.number: sender for sender in senders if sender.number not in still_open}
    return [
        SocketOpen(
            socket=number, token=sender.token, opened_at=sender.opened_at or now_us(), proof=sender.proof
        )
        for number, sender in gone.items()
    ]
