"""Drawing a trace."""

from typing import Any

import click
import msgspec

from palaver.watch.log_reader import parse_event
from palaver.watch.trace_reader import StoredSpan, StoredTrace
from palaver.watch.trace_tree import MOST_LINKED, draw_trace
from tests.harness.telemetry_files import TRACE_ID, line, span

ROOT, CALL, WORK = "a" * 16, "b" * 16, "c" * 16


def kept(*args: Any, **more: Any) -> StoredSpan:
    """A span as it is read."""
    return msgspec.convert(span(*args, **more), StoredSpan)


def text(drawn: list[str]) -> list[str]:
    """Rows as a pipe gets them."""
    return [click.unstyle(row).rstrip() for row in drawn]


def draw(*spans: StoredSpan, lines: list[dict[str, Any]] | None = None) -> list[str]:
    """A trace of spans and lines."""
    read = [parse_event("gateway", msgspec.json.encode(one)) for one in lines or []]
    return text(draw_trace(TRACE_ID, StoredTrace(list(spans), [], read)))


def test_a_trace_reads_as_a_tree() -> None:
    """An operator could not see where the time went."""
    drawn = draw(
        kept("GET /v2/chats", ROOT, end=10, attributes={"http.response.status_code": 200}),
        kept("query", CALL, ROOT, start=2.5, end=7.5, service="messenger"),
        lines=[line("slow", 5, service="messenger", span_id=CALL, level="warning", rows=7)],
    )
    assert drawn == [
        f"Trace {TRACE_ID} · 2 spans · 1 log line · in 2 services · 10.00 ms · from 2025-11-23 12:00:00.000Z",
        "",
        "      0.00 ms      10.00 ms  gateway   GET /v2/chats http.response.status_code=200",
        "      2.50 ms       5.00 ms  messenger   query",
        "      5.00 ms                messenger     · slow warning rows=7",
    ]


def test_an_error_is_named_and_red() -> None:
    """The one row that matters would look like all others."""
    [*_, row] = draw_trace(TRACE_ID, StoredTrace([kept("x", ROOT, error="unavailable")], [], []))
    assert row.endswith("\x1b[31mx error=unavailable\x1b[0m")
    assert draw(kept("x", ROOT, error="unavailable"))[0].endswith("· 1 error")


def test_what_matters_of_a_span_is_shown() -> None:
    """A reader would have to look attributes up in the JSON."""
    attributes = {
        "http.response.status_code": 503,
        "palaver.seq": 3,
        "user_agent.original": "a b",
        "messaging.system": "x",
    }
    [*_, row] = draw(kept("GET", ROOT, attributes=attributes))
    assert row.endswith(' GET http.response.status_code=503 seq=3 user_agent.original="a b"')


def test_nothing_reaches_the_terminal_as_a_command() -> None:
    """A client's text could change what an operator sees."""
    evil = "\x1b]0;owned\x07\nnext\u202e"
    drawn = draw(
        kept(evil, ROOT, service=evil, error=evil, attributes={"palaver.route": evil, f"palaver.{evil}": 1}),
        lines=[line(evil, 1, service=evil, level=evil, agent=evil, exception=evil)],
    )
    assert all(click.unstyle(row).isprintable() for row in drawn)


def test_a_trace_of_one_moment_is_drawn() -> None:
    """A division by a length of 0 would end the command."""
    assert draw(kept("x", ROOT, end=0))[2] == "      0.00 ms       0.00 ms  gateway   x"
    assert "-" not in draw(kept("x", ROOT, start=5, end=1))[2]


def test_linked_spans_are_listed_below() -> None:
    """From a message nobody would find its batch, nor who got it later."""
    batch = kept(
        "commit batch", WORK, service="messenger", trace_id="1" * 32, start=3, end=5, error="internal"
    )
    drawn = text(draw_trace(TRACE_ID, StoredTrace([kept("x", ROOT)], [batch], [])))
    assert drawn[3:] == [
        "",
        "linked, of other traces:",
        f"      3.00 ms       2.00 ms  messenger commit batch error=internal trace={'1' * 32}",
    ]
    many = text(draw_trace(TRACE_ID, StoredTrace([], [batch] * (MOST_LINKED + 2), [])))
    assert many[0].startswith(f"Trace {TRACE_ID} · 0 spans")
    assert many[-1] == "  … and 2 more (all with --json)"
