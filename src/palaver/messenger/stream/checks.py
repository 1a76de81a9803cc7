"""What a gateway's batches may say. A gateway is believed in nothing that a check costs less than its lie."""

from palaver.contracts.errors import INVALID, PalaverError
from palaver.contracts.messenger_pb2 import AttachHello, GatewayBatch, ReceiptUpdate, ResumeRequest
from palaver.contracts.seqs import LAST_SEQ
from palaver.runtime.telemetry.trace_context import NO_TRACE, TraceContext, parse_own_traceparent

ID_BYTES = 16
MOST_CURSORS = 1_000
# Of all kinds together: a batch is taken in one turn of the event loop, and everybody else waits
MOST_ENTRIES = 100_000
# Sockets of one gateway: more than a process may have files
MOST_SOCKETS = 1_000_000
MOST_WRITERS = 1_000
GATEWAY_ID_CHARACTERS = 64
TRACEPARENT_CHARACTERS = 55
TRACE_BYTES = 24


def check_batch(batch: GatewayBatch, *, is_first: bool) -> None:
    """Raises `invalid` for a batch that can't be taken at all: the stream ends."""
    entries = (
        len(batch.opens)
        + len(batch.sends)
        + len(batch.receipts)
        + len(batch.typings)
        + len(batch.resumes)
        + len(batch.closes)
        + len(batch.drained)
        + len(batch.reads)
    )
    if entries > MOST_ENTRIES:
        raise PalaverError(INVALID, f"a batch has at most {MOST_ENTRIES:,} entries")
    if batch.HasField("hello"):
        if not is_first:
            # Its deliveries would be held back again, and for ever
            raise PalaverError(INVALID, "hello is for the first batch of a stream", field="hello")
        check_hello(batch.hello)


def check_hello(hello: AttachHello) -> None:
    """Raises `invalid` for what can't be a gateway's id, or a vector."""
    if len(hello.gateway_id) > GATEWAY_ID_CHARACTERS:
        raise PalaverError(
            INVALID,
            f"a gateway's id has at most {GATEWAY_ID_CHARACTERS} characters",
            field="hello.gateway_id",
        )
    writers = {position.writer for position in hello.followed}
    if len(writers) != len(hello.followed) or len(writers) > MOST_WRITERS:
        raise PalaverError(INVALID, "a vector has one number a writer", field="hello.followed")
    if any(position.number > LAST_SEQ for position in hello.followed):
        raise PalaverError(INVALID, f"a position is at most {LAST_SEQ}", field="hello.followed")


def check_chat(chat_id: bytes) -> PalaverError | None:
    """Why a chat's id can't be one."""
    if len(chat_id) == ID_BYTES:
        return None
    return PalaverError(INVALID, f"chat_id must be a UUID of {ID_BYTES} bytes", field="chat_id")


def check_receipt(receipt: ReceiptUpdate) -> PalaverError | None:
    """Why a receipt can't be meant."""
    if receipt.received_seq > LAST_SEQ or receipt.read_seq > LAST_SEQ:
        return PalaverError(INVALID, f"a seq is at most {LAST_SEQ}", field="seq")
    return check_chat(receipt.chat_id)


def check_resume(request: ResumeRequest, *, is_resuming: bool) -> PalaverError | None:
    """Why a resume can't be begun."""
    chat_ids, seqs = request.chat_ids, request.after_seqs
    if len(chat_ids) != len(seqs) or len(chat_ids) > MOST_CURSORS:
        return PalaverError(INVALID, "too many cursors", field="cursors")
    if any(len(chat_id) != ID_BYTES for chat_id in chat_ids) or any(seq > LAST_SEQ for seq in seqs):
        return PalaverError(INVALID, "a cursor is a chat's id and a seq", field="cursors")
    if is_resuming:
        return PalaverError(INVALID, "a resume is under way", field="cursors")
    return None


def trace_of(traceparent: str) -> TraceContext:
    """The context that a send names. What is none is passed over: no message is refused for its trace."""
    if len(traceparent) != TRACEPARENT_CHARACTERS:
        return NO_TRACE
    try:
        # A third of the time of a regular expression; spaces in it would be passed over
        ids = bytes.fromhex(traceparent[3:35] + traceparent[36:52])
    except ValueError:
        return NO_TRACE
    return parse_own_traceparent(traceparent) if len(ids) == TRACE_BYTES else NO_TRACE
