"""What waits to be archived, and which position that allows."""

from hypothesis import given
from hypothesis import strategies as st

from palaver.messenger.archive.backlog import Backlog

A, B, C = (bytes([number]) * 16 for number in range(3))


def backlog_of(shards: int = 2) -> Backlog:
    """Chats by their first byte."""
    return Backlog(lambda chat_id: chat_id[0] % shards)


def test_the_position_waits_for_all_before_it() -> None:
    """An archiver that is killed would go on behind messages that nobody has archived."""
    backlog = backlog_of()
    backlog.want(A, 3, 3)
    backlog.end_step({1: 1})
    backlog.want(B, 1, 1)
    backlog.end_step({1: 2})
    taken = backlog.take(1, 100)
    backlog.done(taken[B])
    assert backlog.finished() is None
    backlog.done(backlog.take(0, 100)[A])
    assert backlog.finished() == {1: 2}
    assert backlog.finished() is None


def test_what_failed_waits_again_with_what_came_since() -> None:
    """A block that failed would be passed over by the next."""
    backlog = backlog_of()
    backlog.want(A, 3, 3)
    backlog.end_step({1: 1})
    taken = backlog.take(0, 100)
    backlog.want(A, 5, 2)
    backlog.end_step({1: 2})
    backlog.give_back(A, taken[A])
    (wanted,) = backlog.take(0, 100).values()
    assert (wanted.until, wanted.messages) == (5, 5)
    assert backlog.finished() is None
    backlog.done(wanted)
    assert backlog.finished() == {1: 2}


def test_a_block_takes_what_has_waited_longest() -> None:
    """A busy chat would keep others from the archive, and the position from moving on."""
    backlog = backlog_of(1)
    for chat_id, count in ((A, 4), (B, 3), (C, 1)):
        backlog.want(chat_id, count, count)
    assert list(backlog.take(0, 5)) == [A, B]
    assert list(backlog.take(0, 5)) == [C]


def test_changes_take_turns() -> None:
    """Changes for a shard that is away would keep all others from the archive."""
    backlog = backlog_of()
    for seq in range(1, 4):
        backlog.change((A, seq))
    backlog.end_step({1: 1})
    assert backlog.changes(2) == [(A, 1), (A, 2)]
    assert backlog.changes(2) == [(A, 3), (A, 1)]
    backlog.changes_done([(A, 1), (A, 2)])
    assert backlog.finished() is None
    backlog.changes_done([(A, 3), (A, 3)])
    assert backlog.finished() == {1: 1}


def test_what_was_forgotten_holds_the_position_until_it_is_found_again() -> None:
    """Messages that did not fit the memory would never be archived."""
    backlog = backlog_of()
    backlog.want(A, 1, 1)
    backlog.want(B, 1, 1)
    backlog.end_step({1: 1})
    backlog.forget(0)
    backlog.done(backlog.take(1, 100)[B])
    assert backlog.finished() is None
    backlog.begin_anew()
    backlog.want(A, 1, 1)
    backlog.end_step({1: 2})
    assert backlog.finished() is None
    backlog.done(backlog.take(0, 100)[A])
    assert backlog.finished() == {1: 2}


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("want"), st.integers(0, 3)),
        st.tuples(st.just("end"), st.just(0)),
        st.tuples(st.just("take"), st.integers(0, 1)),
        st.tuples(st.just("done"), st.just(0)),
        st.tuples(st.just("fail"), st.just(0)),
    ),
    max_size=40,
)


@given(STEPS)
def test_no_position_passes_what_is_not_archived(steps: list[tuple[str, int]]) -> None:
    """Whatever order blocks succeed and fail in, a restart would lose messages from the archive."""
    backlog = backlog_of()
    followed = [0] * 4
    archived = [0] * 4
    ends: list[list[int]] = []
    flying = []
    for step, number in steps:
        if step == "want":
            followed[number] += 1
            backlog.want(bytes([number]) * 16, followed[number], 1)
        elif step == "end":
            ends.append(list(followed))
            backlog.end_step({1: len(ends)})
        elif step == "take":
            flying += backlog.take(number, 2).items()
        elif flying:
            chat_id, wanted = flying.pop(0)
            if step == "done":
                backlog.done(wanted)
                archived[chat_id[0]] = max(archived[chat_id[0]], wanted.until)
            else:
                backlog.give_back(chat_id, wanted)
        finished = backlog.finished()
        if finished is not None:
            assert all(a >= e for a, e in zip(archived, ends[finished[1] - 1], strict=True))
