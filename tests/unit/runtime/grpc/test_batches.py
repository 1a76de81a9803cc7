"""Batches that are split because they are large."""

from palaver.contracts.messenger_pb2 import GatewayBatch
from palaver.runtime.grpc.batches import split_batch

FIELDS = {"first": ("opens", "hello"), "entries": ("sends", "reads")}


def test_a_small_batch_is_left_as_it_is() -> None:
    """Each message would be copied on its way."""
    batch = GatewayBatch(closes=[1])
    (only,) = split_batch(batch, 1_000, **FIELDS)
    assert only is batch


def test_the_first_piece_the_entries_in_order_and_the_rest() -> None:
    """Sends would come before the sockets that they are from, or behind their closes; or be lost."""
    batch = GatewayBatch(opens=[{"socket": 1}], closes=[1])
    batch.hello.gateway_id = "gateway"
    for number in range(10):
        batch.sends.add(request=number, texts=["x" * 400])
        batch.reads.add(number=number, token="x" * 400)
    parts = list(split_batch(batch, 1_000, **FIELDS))
    assert all(part.ByteSize() <= 1_500 for part in parts)
    assert [part.HasField("hello") for part in parts] == [True] + [False] * (len(parts) - 1)
    assert [len(part.opens) for part in parts] == [1] + [0] * (len(parts) - 1)
    assert [len(part.closes) for part in parts] == [0] * (len(parts) - 1) + [1]
    assert [one.request for part in parts for one in part.sends] == list(range(10))
    assert [one.number for part in parts for one in part.reads] == list(range(10))
