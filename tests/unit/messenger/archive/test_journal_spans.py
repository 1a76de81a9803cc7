"""What the journal lacks of a run of seqs, and which segments have it."""

from hypothesis import given
from hypothesis import strategies as st

from palaver.messenger.archive.journal_spans import PIECE_ROWS, Room, gaps_of, pieces_of
from palaver.messenger.domain import Message
from palaver.messenger.store.segments import Segment


@given(st.sets(st.integers(1, 60)), st.integers(1, 60), st.integers(0, 60))
def test_gaps_are_what_is_missing(seqs: set[int], first: int, last: int) -> None:
    """Messages would be read twice, or not at all."""
    inside = {seq for seq in seqs if first <= seq <= last}
    gaps = list(gaps_of(sorted(inside), first, last))
    missing = [seq for start, end in gaps for seq in range(start, end + 1)]
    assert missing == [seq for seq in range(first, last + 1) if seq not in inside]


@given(st.lists(st.integers(1, 300), min_size=1, max_size=5), st.integers(1, 700), st.integers(0, 700))
def test_pieces_cover_a_gap_as_far_as_there_are_segments(lengths: list[int], first: int, last: int) -> None:
    """A page over several segments would have a hole, or ask a shard for another one's messages."""
    segments = []
    end = 0
    for shard, length in enumerate(lengths):
        segments.append(Segment(b"c", end + 1, end + length, shard, 0, "host", 1))
        end += length
    pieces = list(pieces_of([(first, last)], segments))
    covered = [seq for piece in pieces for seq in range(piece.first_seq, piece.last_seq + 1)]
    assert covered == list(range(first, min(last, end) + 1))
    for segment, start, stop in pieces:
        assert segment.first_seq <= start <= stop <= segment.last_seq
        assert stop - start < PIECE_ROWS


def row(text: str) -> tuple[object, ...]:
    """A message with this text."""
    return tuple(Message(b"", 1, b"", b"", b"", text, 1))


def test_a_page_ends_at_what_does_not_fit_but_has_one_row() -> None:
    """One very long text would end a history, or a page of them fill the memory."""
    room = Room(10)
    assert len(list(room.take([row("x" * 50)]))) == 1
    assert room.is_full
    room = Room(10)
    assert len(list(room.take([row("x" * 6), row("x" * 4)]))) == 2
    assert not room.is_full
    assert list(room.take([row("x")])) == []
    assert room.is_full
