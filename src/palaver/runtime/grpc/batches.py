"""Batches that are larger than one message of a stream should be."""

from collections.abc import Iterator, Sequence
from typing import TypeVar

from google.protobuf.message import Message

B = TypeVar("B", bound=Message)


def split_batch(batch: B, most_bytes: int, *, first: Sequence[str], entries: Sequence[str]) -> Iterator[B]:
    """The batch in pieces of about `most_bytes`, each of which has one entry more at most.

    `first`: fields of the first piece. `entries`: repeated fields, entry by entry in this order. All else is
    in the last piece. The batch is used up.
    """
    if batch.ByteSize() <= most_bytes:
        yield batch
        return
    new = type(batch)
    part = new(**{field.name: value for field, value in batch.ListFields() if field.name in first})
    for name in first:
        batch.ClearField(name)
    size = part.ByteSize()
    for name in entries:
        for entry in getattr(batch, name):
            getattr(part, name).append(entry)
            size += entry.ByteSize()
            if size > most_bytes:
                yield part
                part, size = new(), 0
        batch.ClearField(name)
    yield part
    yield batch
