"""Batches of the stream to the messenger: how large ones are split, and what errors in them mean."""

from collections.abc import Iterator

from palaver.contracts.errors import PalaverError, WireError, error_from_wire
from palaver.contracts.messenger_pb2 import Error, GatewayBatch

BATCH_BYTES = 4 * 1024 * 1024


def split_batch(batch: GatewayBatch) -> Iterator[GatewayBatch]:
    """The batch in pieces of about `BATCH_BYTES`, its hello and opens first and its closes last."""
    if batch.ByteSize() <= BATCH_BYTES:
        yield batch
        return
    # A send before the hello would be delivered before what was missed, which would then count as delivered
    part = GatewayBatch(opens=batch.opens, reopened=batch.reopened)
    if batch.HasField("hello"):
        part.hello.CopyFrom(batch.hello)
    for field in ("hello", "opens", "reopened"):
        batch.ClearField(field)
    size = part.ByteSize()
    for field in ("sends", "resumes", "reads"):
        entries = getattr(batch, field)
        for entry in list(entries):
            getattr(part, field).append(entry)
            size += entry.ByteSize()
            if size > BATCH_BYTES:
                yield part
                part, size = GatewayBatch(), 0
        del entries[:]
    yield part
    yield batch


def error_from_proto(error: Error) -> PalaverError:
    """The error that the messenger meant."""
    return error_from_wire(WireError(error.code, error.message, error.field, error.retry_after))
