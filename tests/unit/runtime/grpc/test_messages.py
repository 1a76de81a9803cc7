"""gRPC's messages out of bytes."""

import struct
from itertools import pairwise

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from palaver.runtime.grpc.messages import MessageReader, StatusError, encode_message


def read(reader: MessageReader, data: bytes) -> list[bytes]:
    """The messages that some more bytes complete."""
    reader.feed(data)
    found = []
    while (message := reader.next()) is not None:
        found.append(message)
    return found


@given(st.lists(st.binary(max_size=40), max_size=8), st.lists(st.integers(0, 400), max_size=8))
def test_any_split_gives_the_same_messages(messages: list[bytes], cuts: list[int]) -> None:
    """What a gateway sends would depend on how the network cuts it."""
    data = b"".join(map(encode_message, messages))
    reader = MessageReader(1_000)
    ends = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    found = [message for start, end in pairwise(ends) for message in read(reader, data[start:end])]
    assert found == messages
    assert not reader.is_within_message


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (struct.pack(">BI", 1, 3), grpc.StatusCode.UNIMPLEMENTED),
        (struct.pack(">BI", 7, 3), grpc.StatusCode.INTERNAL),
        (struct.pack(">BI", 0, 1_001), grpc.StatusCode.RESOURCE_EXHAUSTED),
    ],
)
def test_what_is_not_taken_has_a_status(head: bytes, status: grpc.StatusCode) -> None:
    """A message would be taken for another, or fill the memory (promise P9)."""
    reader = MessageReader(1_000)
    with pytest.raises(StatusError) as refused:
        read(reader, head)
    assert refused.value.status is status


def test_a_message_that_is_cut_off_is_noticed() -> None:
    """Half of a batch would be passed over in silence."""
    reader = MessageReader(1_000)
    assert read(reader, encode_message(b"a") + b"\0\0") == [b"a"]
    assert reader.is_within_message
