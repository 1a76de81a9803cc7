"""Which work is recorded, and which spans of it are kept."""

import asyncio
import gc
import weakref
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palaver.contracts.errors import NOT_FOUND, UNAVAILABLE, PalaverError
from palaver.runtime.telemetry.spans import Event, Link, Span
from palaver.runtime.telemetry.trace_context import NO_TRACE, parse_traceparent
from palaver.runtime.telemetry.tracing import (
    MOST_BELOW,
    Sampler,
    Tracer,
    current_span,
    trace_headers,
    trace_metadata,
)

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-"
SLOW_SECONDS = 30.0


class Kept:
    """Spans that were kept, in their order."""

    def __init__(self) -> None:
        self.spans: list[Span] = []

    def export(self, span: Span) -> None:
        """Takes one span."""
        self.spans.append(span)

    @property
    def names(self) -> list[str]:
        """What was kept."""
        return [span.name for span in self.spans]


@pytest.fixture
def kept() -> Kept:
    """A sink."""
    return Kept()


@pytest.fixture
def tracer(kept: Kept) -> Iterator[Tracer]:
    """A tracer that samples nothing by itself."""
    made = Tracer()
    made.configure(kept.export, Sampler(0.0, 0), SLOW_SECONDS)
    yield made
    assert current_span() is None


# ---- which traces are sampled ----


@given(st.integers(0, 20), st.lists(st.floats(0, 5, allow_nan=False), max_size=200).map(sorted))
def test_the_first_few_of_each_second_are_sampled(per_second: int, times: list[float]) -> None:
    """Who tries one request on a quiet system would not find it; or a busy one would be traced in full."""
    sampler = Sampler(0.0, per_second)
    taken = [int(now) for now in times if sampler.decide(now)]
    for second in range(6):
        asked = sum(int(now) == second for now in times)
        assert taken.count(second) == min(asked, per_second)


@given(st.floats(0.05, 0.95))
def test_a_share_of_the_others_is_sampled(ratio: float) -> None:
    """The cost on a busy system would not be what the operator has set."""
    sampler = Sampler(ratio, 0)
    times = 4_000
    share = sum(sampler.decide(1.0) for _ in range(times)) / times
    # Seven standard deviations
    assert abs(share - ratio) < 7 * (ratio * (1 - ratio) / times) ** 0.5


def test_all_or_nothing_is_exact() -> None:
    """A ratio of 1 would miss some, and one of 0 keep some."""
    assert all(Sampler(1.0, 0).decide(1.0) for _ in range(1_000))
    assert not any(Sampler(0.0, 0).decide(1.0) for _ in range(1_000))


def test_a_client_can_ask_to_be_traced(tracer: Tracer) -> None:
    """Support could not say "send this header and tell me the time"."""
    asked = parse_traceparent(PARENT + "01")
    assert tracer.begin(asked, is_edge=True) == asked


def test_the_edge_decides_for_who_does_not_ask(tracer: Tracer, kept: Kept) -> None:
    """A proxy that traces, and samples none, would switch our traces off."""
    asked = parse_traceparent(PARENT + "00")
    assert tracer.begin(asked, is_edge=True) == asked
    tracer.configure(kept.export, Sampler(1.0, 0), SLOW_SECONDS)
    assert tracer.begin(asked, is_edge=True) == parse_traceparent(PARENT + "01")
    new = tracer.begin(NO_TRACE, is_edge=True)
    assert (new.span_id, new.sampled, len(new.trace_id)) == ("", True, 32)


def test_services_behind_the_edge_do_as_it_said(tracer: Tracer, kept: Kept) -> None:
    """A request's spans would be kept in one service and missing in the next."""
    tracer.configure(kept.export, Sampler(1.0, 100), SLOW_SECONDS)
    for asked in (parse_traceparent(PARENT + "00"), parse_traceparent(PARENT + "01")):
        assert tracer.begin(asked, is_edge=False) == asked
    new = tracer.begin(NO_TRACE, is_edge=False)
    assert not new.sampled


def test_nothing_is_made_while_traces_are_off(kept: Kept) -> None:
    """Who switches traces off would pay for them, and get ids that lead nowhere."""
    tracer = Tracer()
    assert tracer.begin(parse_traceparent(PARENT + "01"), is_edge=True) is NO_TRACE
    with tracer.serve("request", PARENT + "01", {}, is_edge=True) as work, tracer.span("part") as part:
        assert (work.trace_id, work.traceparent, part.trace_id) == ("", "", "")
        assert trace_headers() == {}
        assert trace_metadata() == ()
    tracer.put(Span("late", "internal", "a", "b", "", 1, 2, {}))
    assert kept.spans == []


# ---- what is kept ----


def test_a_sampled_request_is_kept_with_its_parts(tracer: Tracer, kept: Kept) -> None:
    """A trace would have holes, or the wrong things under each other."""
    with tracer.serve("request", PARENT + "01", {"a": 1}, is_edge=False) as work:
        with tracer.span("outer", "client", {"b": 2}) as outer:
            assert trace_headers() == {"traceparent": outer.traceparent}
            assert trace_metadata() == (("traceparent", outer.traceparent),)
            with tracer.span("inner") as inner:
                inner.events = [Event("seen", 5, {})]
        assert kept.spans == []
        work.links = [Link("c" * 32, "d" * 16)]
    assert kept.names == ["inner", "outer", "request"]
    in_order = kept.spans
    assert [span.parent_id for span in in_order] == [outer.span_id, work.span_id, "00f067aa0ba902b7"]
    assert {span.trace_id for span in in_order} == {"4bf92f3577b34da6a3ce929d0e0e4736"}
    assert [span.kind for span in in_order] == ["internal", "client", "server"]
    assert [span.attributes for span in in_order] == [{}, {"b": 2}, {"a": 1}]
    assert in_order[0].events == [Event("seen", 5, {})]
    assert in_order[2].links == [("c" * 32, "d" * 16)]
    starts, ends = [span.start for span in in_order], [span.end for span in in_order]
    assert starts == sorted(starts, reverse=True)
    assert ends == sorted(ends)


def test_an_unsampled_request_is_forgotten(tracer: Tracer, kept: Kept) -> None:
    """Every request would cost a line, whatever the operator has set."""
    with tracer.serve("request", PARENT + "00", {}, is_edge=True), tracer.span("part"):
        pass
    assert kept.spans == []


def test_a_failed_request_is_kept_with_its_parts(tracer: Tracer, kept: Kept) -> None:
    """The requests that somebody asks about would be those that nobody sees."""
    with (
        pytest.raises(PalaverError),
        tracer.serve("request", PARENT + "00", {}, is_edge=True),
        tracer.span("part"),
    ):
        raise PalaverError(UNAVAILABLE, "away")
    assert [(span.name, span.error) for span in kept.spans] == [
        ("part", "unavailable"),
        ("request", "unavailable"),
    ]
    assert kept.spans[1].attributes == {"palaver.kept": "error"}


def test_a_failure_may_be_said_without_an_exception(tracer: Tracer, kept: Kept) -> None:
    """An answer 503 that a handler made itself would be forgotten."""
    with tracer.serve("request", "", {}, is_edge=True) as work:
        work.error = "overloaded"
    assert [span.error for span in kept.spans] == ["overloaded"]


def test_mistakes_of_callers_are_no_failures(tracer: Tracer, kept: Kept) -> None:
    """Anybody could fill the disk with wrong requests."""
    with pytest.raises(PalaverError), tracer.serve("request", PARENT + "00", {}, is_edge=True):
        raise PalaverError(NOT_FOUND, "no such chat")
    assert kept.spans == []


def test_errors_of_ours_are_named_by_their_type(tracer: Tracer, kept: Kept) -> None:
    """An exception's text, which may hold what a user wrote, would be kept."""
    with pytest.raises(ValueError, match="secret"), tracer.serve("request", "", {}, is_edge=True):
        raise ValueError("secret")
    assert [span.error for span in kept.spans] == ["ValueError"]


def test_a_slow_request_is_kept(tracer: Tracer, kept: Kept) -> None:
    """Nobody could say why it was slow."""
    with tracer.serve("request", PARENT + "00", {}, is_edge=True) as work:
        work.start -= int(SLOW_SECONDS * 1e9)
        with tracer.span("part"):
            pass
    assert kept.names == ["part", "request"]
    assert kept.spans[1].attributes == {"palaver.kept": "slow"}
    assert "palaver.kept" not in kept.spans[0].attributes


def test_sampled_spans_do_not_say_that_they_were_kept_late(tracer: Tracer, kept: Kept) -> None:
    """A reader would take the trace for one that has holes in other services."""
    with tracer.serve("request", PARENT + "01", {}, is_edge=True) as work:
        work.error = "internal"
    assert kept.spans[0].attributes == {}


async def test_what_a_request_left_behind_shares_its_fate(tracer: Tracer, kept: Kept) -> None:
    """The write that outlived its request, and failed, would be in no trace; or in one without a root."""
    may_end = asyncio.Event()

    async def go_on(name: str) -> None:
        with tracer.span(name):
            await may_end.wait()

    tasks = []
    for flags in ("01", "00"):
        with tracer.serve(f"request {flags}", PARENT + flags, {}, is_edge=False):
            tasks.append(asyncio.create_task(go_on(f"left behind {flags}")))
            await asyncio.sleep(0)
    may_end.set()
    await asyncio.gather(*tasks)
    assert kept.names == ["request 01", "left behind 01"]


async def test_requests_at_once_do_not_mix(tracer: Tracer, kept: Kept) -> None:
    """One user's statement would be drawn under another user's request."""

    async def serve(number: int) -> None:
        with tracer.serve(f"request {number}", f"00-{number:032x}-{1:016x}-01", {}, is_edge=False) as work:
            for _ in range(3):
                await asyncio.sleep(0)
                assert current_span() is work
                with tracer.span(f"part {number}"):
                    await asyncio.sleep(0)

    await asyncio.gather(*(serve(number) for number in range(1, 20)))
    assert len(kept.spans) == 19 * 4
    for span in kept.spans:
        assert int(span.trace_id, 16) == int(span.name.split()[1])


def test_parts_that_are_held_are_bounded(tracer: Tracer, kept: Kept) -> None:
    """One request with a loop in it could fill the memory."""
    with tracer.serve("request", PARENT + "01", {}, is_edge=False):
        for _ in range(MOST_BELOW + 50):
            with tracer.span("part"):
                pass
    assert len(kept.spans) == MOST_BELOW + 1


def test_a_part_without_work_above_it_is_nothing(tracer: Tracer, kept: Kept) -> None:
    """Housekeeping would fill the disk with traces of one span."""
    with tracer.span("part") as part:
        assert part.traceparent == ""
        assert trace_headers() == {}
    assert kept.spans == []


class Attributes(dict[str, str | int | float | bool]):
    """Attributes whose end can be seen."""


def test_a_request_leaves_no_garbage(tracer: Tracer) -> None:
    """Memory would grow until the collector runs, which a busy service has told to be lazy."""
    gc.collect()
    gc.disable()
    try:
        attributes = Attributes()
        gone = weakref.ref(attributes)
        with tracer.serve("request", PARENT + "00", attributes, is_edge=False), tracer.span("part"):
            pass
        del attributes
        assert gone() is None
    finally:
        gc.enable()
