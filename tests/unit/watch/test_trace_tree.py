"""The order of a trace's rows."""

from collections import Counter

import click
from hypothesis import given
from hypothesis import strategies as st

from palaver.watch.log_reader import LogLine
from palaver.watch.trace_reader import StoredEvent, StoredSpan, StoredTrace
from palaver.watch.trace_tree import MOST_EVENTS, Row, draw_row, draw_trace, rows_of

IDS = st.sampled_from([*"abcdef"])
TIMES = st.integers(0, 40)
SPANS = st.builds(
    lambda number, span_id, parent_id, start, length: StoredSpan(
        "t", span_id, start, start + length, parent_id, f"span{number}"
    ),
    st.integers(0, 10**6),
    IDS,
    IDS | st.just("") | st.just("lost"),
    TIMES,
    st.integers(-3, 40),
)
LINES = st.builds(
    lambda at, span_id: LogLine(at, "auth", {"event": "line", "span_id": span_id}, b""),
    TIMES,
    IDS | st.just("") | st.just("lost"),
)


def make(span_id: str, parent_id: str = "", start: int = 0, **more: object) -> StoredSpan:
    """A span of 10 ns, named by its id."""
    return StoredSpan("t", span_id, start, start + 10, parent_id, span_id, **more)


def line(at: int, span_id: str = "") -> LogLine:
    """A log line named by its time."""
    return LogLine(at, "auth", {"event": f"line {at}", "span_id": span_id}, b"")


def labels(rows: list[Row]) -> list[str]:
    """Names with their indents: what is behind the times and the service."""
    return [click.unstyle(draw_row(row, 0))[39:].rstrip() for row in rows]


@given(st.lists(SPANS, max_size=9), st.lists(LINES, max_size=5))
def test_any_spans_are_drawn_each_once(spans: list[StoredSpan], lines: list[LogLine]) -> None:
    """A lost parent, an id that comes twice, or spans that are each other's parents would hide work, or never
    let the command end."""
    rows = rows_of(spans, lines)
    assert Counter(id(row.item) for row in rows) == Counter(id(item) for item in (*spans, *lines))
    drawn = "\n".join(draw_trace("t", StoredTrace(spans, [], lines)))
    assert all(span.name in drawn for span in spans)


@given(st.lists(SPANS, max_size=9, unique_by=lambda span: span.span_id))
def test_a_span_below_its_parent_is_indented_by_one(spans: list[StoredSpan]) -> None:
    """Readers would take a call for a part of another one."""
    above: list[str] = []
    for row in rows_of(spans, []):
        assert isinstance(row.item, StoredSpan)
        del above[row.depth :]
        if row.depth:
            assert above[-1] == row.item.parent_id
        above.append(row.item.span_id)


def test_rows_come_by_time_below_their_parents() -> None:
    """Nobody could read what came after what."""
    spans = [make("a"), make("c", "a", 6), make("b", "a", 2), make("d", "b", 3)]
    lines = [line(4, "b"), line(5, "a"), line(1, "a"), line(9), line(8, "lost")]
    assert labels(rows_of(spans, lines)) == [
        "a", "  · line 1", "  b", "    d", "    · line 4", "  · line 5", "  c", "· line 8", "· line 9",
    ]  # fmt: skip


def test_a_lost_parent_is_named() -> None:
    """A reader would not see that a service's spans are missing."""
    rows = rows_of([make("b", "a"), make("c", "b"), make("d")], [])
    assert labels(rows) == ["b parent=a", "  c", "d"]


def test_a_loop_begins_with_its_earliest_span() -> None:
    """Spans that are each other's parents would come in any order."""
    rows = rows_of([make("b", "c", 2), make("c", "b", 1), make("d", "c", 3)], [])
    assert labels(rows) == ["c parent=b", "  b", "  d"]


def test_a_very_deep_trace_is_drawn() -> None:
    """A chain of calls deeper than Python's stack would end the command with a traceback."""
    spans = [make(str(number), str(number - 1), number) for number in range(5_000)]
    assert len(rows_of(spans, [])) == 5_000


def test_events_of_a_span_are_drawn_with_it() -> None:
    """It could not be seen when which socket was told."""
    few, many = ([StoredEvent("told", at, {}) for at in range(count)] for count in (2, MOST_EVENTS + 3))
    rows = rows_of([make("a", events=few), make("b", start=1, events=many)], [])
    assert labels(rows)[:3] == ["a", "  ◦ told", "  ◦ told"]
    assert labels(rows)[3:] == ["b", *["  ◦ told"] * MOST_EVENTS, "  ◦ … and 3 more"]
