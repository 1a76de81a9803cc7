"""`traceparent` by the rules of W3C Trace Context."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from palaver.runtime.telemetry.trace_context import (
    NO_TRACE,
    TraceContext,
    new_span_id,
    new_trace_id,
    parse_own_traceparent,
    parse_traceparent,
)

HEX = "0123456789abcdef"
TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN_ID = "00f067aa0ba902b7"


def ids(size: int) -> st.SearchStrategy[str]:
    """Ids that are not all zeros."""
    return st.text(HEX, min_size=size, max_size=size).filter(lambda text: text.strip("0") != "")


def rule(text: str) -> TraceContext:
    """W3C Trace Context §3.2 once more, written as its text goes and not for speed."""
    parts = text.split("-")
    if len(parts) < 4 or [len(part) for part in parts[:4]] != [2, 32, 16, 2]:
        return NO_TRACE
    if any(letter not in HEX for part in parts[:4] for letter in part):
        return NO_TRACE
    version, trace_id, span_id, flags = parts[:4]
    if version == "ff" or set(trace_id) == {"0"} or set(span_id) == {"0"}:
        return NO_TRACE
    # Version 00 ends here; a later one may go on after another dash
    if version == "00" and len(text) != 55:
        return NO_TRACE
    return TraceContext(trace_id, span_id, int(flags, 16) % 2 == 1)


@given(ids(32), ids(16), st.booleans())
def test_a_place_survives_the_way(trace_id: str, span_id: str, sampled: bool) -> None:
    """The trace would end at the border between two services."""
    place = TraceContext(trace_id, span_id, sampled)
    assert re.fullmatch("00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]", place.traceparent)
    assert parse_traceparent(place.traceparent) == place
    assert parse_own_traceparent(place.traceparent) == place


@given(
    st.builds(
        "-".join,
        st.lists(
            st.sampled_from(
                ["00", "01", "ff", "cc", "0", "0g", "", "more", TRACE_ID, SPAN_ID, "0" * 32, "0" * 16]
            )
            | ids(32)
            | ids(16)
            | st.text(HEX, min_size=2, max_size=2),
            max_size=6,
        ),
    )
    | st.text()
)
@example(f"00-{TRACE_ID}-{SPAN_ID}-01")
@example(f"00-{TRACE_ID}-{SPAN_ID}-01-more")
@example(f"01-{TRACE_ID}-{SPAN_ID}-01-more")
@example(f"01-{TRACE_ID}-{SPAN_ID}-01more")
@example(f"01-{TRACE_ID}-{SPAN_ID}-01-")
@example(f"ff-{TRACE_ID}-{SPAN_ID}-01")
@example(f"00-{TRACE_ID.upper()}-{SPAN_ID}-01")
@example(f"00-{TRACE_ID}-{SPAN_ID}-01\n")
@example(f" 00-{TRACE_ID}-{SPAN_ID}-01")
@example(f"00-{'0' * 32}-{SPAN_ID}-01")
@example(f"00-{TRACE_ID}-{'0' * 16}-01")
@example(f"00-{TRACE_ID}-{SPAN_ID}-fe")
def test_what_the_standard_allows_is_read_and_nothing_else(text: str) -> None:
    """A client's trace would be lost; or a header that is none would break its request."""
    assert parse_traceparent(text) == rule(text)


def test_work_of_no_trace_names_none() -> None:
    """A service behind would take an empty id for a trace, or refuse the request."""
    assert NO_TRACE.traceparent == ""
    assert parse_traceparent("") is parse_own_traceparent("") is NO_TRACE
    assert not NO_TRACE.sampled


@given(st.text(HEX, min_size=2, max_size=2))
def test_only_the_sampled_bit_counts(flags: str) -> None:
    """Clients of a later standard, which knows more flags, would be taken for sampled or not by accident."""
    found = parse_traceparent(f"00-{TRACE_ID}-{SPAN_ID}-{flags}")
    assert found.sampled == bool(int(flags, 16) & 1)


@pytest.mark.parametrize(("make", "size"), [(new_trace_id, 32), (new_span_id, 16)])
def test_new_ids_differ(make, size: int) -> None:
    """Two requests would be drawn as one."""
    made = [make() for _ in range(10_000)]
    assert len(set(made)) == len(made)
    assert all(len(each) == size and set(each) <= set(HEX) for each in made)
