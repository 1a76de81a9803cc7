"""Drawing a trace."""

from typing import Any

import msgspec

from palaver.watch.log_reader import parse_event
from palaver.watch.terminal import Line
from palaver.watch.trace_reader import StoredSpan, StoredTrace
from palaver.watch.waterfall import MOST_LINKED, draw_trace
from tests.harness.telemetry_files import TRACE_ID, line, span

ROOT, CALL, WORK = "a" * 16, "b" * 16, "c" * 16


def kept(*args: Any, **more: Any) -> StoredSpan:
    """A span as it is read."""
    return msgspec.convert(span(*args, **more), StoredSpan)


def text(drawn: list[Line]) -> list[str]:
    """Rows as a pipe gets them."""
    return ["".join(piece.text for piece in row).rstrip() for row in drawn]


def draw(*spans: StoredSpan, lines: list[dict[str, Any]] | None = None, columns: int = 120) -> list[str]:
    """A trace of spans and lines."""
    read = [parse_event("gateway", msgspec.json.encode(one)) for one in lines or []]
    return text(draw_trace(TRACE_ID, StoredTrace(list(spans), [], read), columns))


def test_a_trace_reads_as_a_waterfall() -> None:
    """An operator could not see where the time went."""
    drawn = draw(
        kept("GET /v2/chats", ROOT, end=10, attributes={"http.response.status_code": 200}),
        kept("query", CALL, ROOT, start=2.5, end=7.5, service="messenger"),
        lines=[line("slow", 5, service="messenger", span_id=CALL, level="warning", rows=7)],
        columns=40,
    )
    assert drawn == [
        f"Trace {TRACE_ID} · 2 spans · 1 log line · in 2 services · 10.00 ms · from 2025-11-23 12:00:00.000Z",
        "",
        "gateway   GET /v2/chats     0.00 ms    10.00 ms  ██████████  status=200",
        "messenger   query           2.50 ms     5.00 ms    ██████",
        "messenger     · slow        5.00 ms                   ·      warning rows=7",
    ]


def test_an_error_is_named_and_red() -> None:
    """The one row that matters would look like all others."""
    [*_, row] = draw_trace(TRACE_ID, StoredTrace([kept("x", ROOT, error="unavailable")], [], []), 100)
    assert " error=unavailable" in text([row])[0]
    assert [piece.style for piece in row if "x" in piece.text.split()] == ["red"]
    assert [piece.style for piece in row if "█" in piece.text] == ["red"]
    assert draw(kept("x", ROOT, error="unavailable"))[0].endswith("· 1 error")


def test_what_matters_of_a_span_is_shown() -> None:
    """A reader would have to look attributes up in the JSON."""
    attributes = {
        "http.request.method": "GET",
        "http.route": "/v2/chats/{id}",
        "http.response.status_code": 503,
        "url.path": "/v2/chats/7",
        "palaver.chat_id": "seven",
        "palaver.seq": 3,
        "palaver.wait_us": 120,
        "messaging.batch.message_count": 1,
        "user_agent.original": "curl",
    }
    [*_, named] = draw(kept("GET /v2/chats/{id}", ROOT, attributes=attributes))
    assert named.partition("█  ")[2] == "status=503 chat=seven seq=3 wait_us=120"
    [*_, unnamed] = draw(kept("GET", ROOT, attributes={"http.request.method": "GET", "url.path": "/x"}))
    assert unnamed.endswith(" path=/x")
    call = {"rpc.service": "palaver.v1.Messenger", "rpc.method": "Send", "palaver.generation": "Send"}
    [*_, called] = draw(kept("palaver.v1.Messenger/Send", ROOT, attributes=call))
    assert called.partition("█  ")[2] == "generation=Send"


def test_nothing_reaches_the_terminal_as_a_command() -> None:
    """A client's text could change what an operator sees."""
    evil = "\x1b]0;owned\x07\nnext\u202e"
    drawn = draw(
        kept(evil, ROOT, service=evil, error=evil, attributes={"palaver.route": evil, f"palaver.{evil}": 1}),
        lines=[line(evil, 1, service=evil, level=evil, agent=evil, exception=evil)],
    )
    assert all(row.isprintable() for row in drawn)


def test_a_trace_of_one_moment_is_drawn() -> None:
    """A division by a length of 0 would end the command."""
    assert draw(kept("x", ROOT, end=0))[2].startswith("gateway x     0.00 ms     0.00 ms  █")
    assert "-" not in draw(kept("x", ROOT, start=5, end=1))[2]


def test_linked_spans_are_listed_below() -> None:
    """From a message nobody would find its batch, nor who got it later."""
    batch = kept(
        "commit batch", WORK, service="messenger", trace_id="1" * 32, start=3, end=5, error="internal"
    )
    drawn = text(draw_trace(TRACE_ID, StoredTrace([kept("x", ROOT)], [batch], []), 100))
    assert drawn[3:] == [
        "",
        "linked, of other traces:",
        f"messenger commit batch 2025-11-23 12:00:00.003Z 2.00 ms  error=internal trace={'1' * 32}",
    ]
    many = text(draw_trace(TRACE_ID, StoredTrace([], [batch] * (MOST_LINKED + 2), []), 100))
    assert many[0] == f"Trace {TRACE_ID}"
    assert many[-1] == "… and 2 more (all with --json)"
