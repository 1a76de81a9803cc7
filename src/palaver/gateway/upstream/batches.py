"""Batches of the stream to the messenger: how large ones are split, and what errors in them mean."""

from collections.abc import Iterator

from palaver.contracts.errors import PalaverError, WireError, error_from_wire
from palaver.contracts.messenger_pb2 import Error, GatewayBatch
from palaver.runtime.grpc import batches

BATCH_BYTES = 4 * 1024 * 1024


def split_batch(batch: GatewayBatch) -> Iterator[GatewayBatch]:
    """The batch in pieces of about `BATCH_BYTES`, its hello and opens first and its closes last."""
    # A send before the hello would be delivered before what was missed, which would then count as delivered
    return batches.split_batch(
        batch, BATCH_BYTES, first=("hello", "opens", "reopened"), entries=("sends", "resumes", "reads")
    )


def error_from_proto(error: Error) -> PalaverError:
    """The error that the messenger meant."""
    return error_from_wire(WireError(error.code, error.message, error.field, error.retry_after))
