"""Statements over many rows."""

import pytest

from palaver.messenger.store.sqlite_rows import chunks


@pytest.mark.parametrize("count", [0, 1, 2, 3, 255, 256, 257, 1_000])
def test_chunks_are_few_and_cover_all(count: int) -> None:
    """Rows would be written twice or not at all."""
    assert [n for start, size in chunks(count) for n in range(start, start + size)] == list(range(count))
    assert len(list(chunks(count))) <= count // 256 + 8
