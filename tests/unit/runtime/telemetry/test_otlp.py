"""Spans and lines as a collector gets them: converted, exported, and read back from OTLP's own messages."""

import json
import logging
import socket
import time
from collections.abc import Iterator

import msgspec
import pytest

import palaver
from palaver.runtime.startup import StartError
from palaver.runtime.telemetry.otlp import Collector, ExportError, open_collectors, resource_of
from palaver.runtime.telemetry.spans import Event, Link, Span
from tests.harness.otlp_receiver import Receiver, running_receiver, values_of

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN_ID = "00f067aa0ba902b7"
START = 1_795_478_741_210_579_056


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    """A collector."""
    with running_receiver() as receiver:
        yield receiver


@pytest.fixture
def collectors(receiver: Receiver) -> Iterator[tuple[Collector, Collector]]:
    """The ways of spans and of lines to an empty collector."""
    receiver.spans.clear()
    receiver.lines.clear()
    opened = open_collectors("messenger", "messenger-2", receiver.endpoint)
    yield opened
    for each in opened:
        each.stop()


def encoded(span: Span) -> bytes:
    """The line that a spool holds of a span."""
    return msgspec.json.encode(span)


def test_all_of_a_span_arrives(receiver: Receiver, collectors: tuple[Collector, Collector]) -> None:
    """Jaeger would show less than `palaver trace`."""
    span = Span(
        "journal message",
        "producer",
        TRACE_ID,
        SPAN_ID,
        "c" * 16,
        START,
        START + 1_500,
        {"text": "ü", "whole": 5, "part": 0.5, "is": True},
        "unavailable",
        [Link("d" * 32, "e" * 16)],
        [Event("told", START + 1, {"palaver.socket": 7})],
    )
    collectors[0].write([encoded(span)])
    found = receiver.span("journal message")
    assert (found.trace_id.hex(), found.span_id.hex()) == (TRACE_ID, SPAN_ID)
    assert found.parent_span_id.hex() == "c" * 16
    assert (found.start_time_unix_nano, found.end_time_unix_nano) == (START, START + 1_500)
    assert found.kind == 4
    assert values_of(found.attributes) == {"text": "ü", "whole": 5, "part": 0.5, "is": True}
    assert (found.status.code, found.status.message) == (2, "unavailable")
    assert [(link.trace_id.hex(), link.span_id.hex()) for link in found.links] == [("d" * 32, "e" * 16)]
    (event,) = found.events
    assert (event.name, event.time_unix_nano) == ("told", START + 1)
    assert values_of(event.attributes) == {"palaver.socket": 7}


@pytest.mark.parametrize(
    ("kind", "number"), [("internal", 1), ("server", 2), ("client", 3), ("producer", 4), ("consumer", 5)]
)
def test_kinds_are_those_of_otlp(
    receiver: Receiver, collectors: tuple[Collector, Collector], kind: str, number: int
) -> None:
    """A collector's map of services would be wrong."""
    collectors[0].write([encoded(Span("x", kind, TRACE_ID, SPAN_ID, "", 1, 2, {}))])  # type: ignore[arg-type] # a parameter
    found = receiver.span("x")
    assert found.kind == number
    assert found.parent_span_id == b""
    assert found.status.code == 0


def test_a_collector_is_told_who_speaks(receiver: Receiver, collectors: tuple[Collector, Collector]) -> None:
    """Nobody could tell one replica's spans from another's."""
    collectors[0].write([encoded(Span("x", "server", TRACE_ID, SPAN_ID, "", 1, 2, {}))])
    resource = receiver.spans[0][0]
    assert resource["service.name"] == "messenger"
    assert resource["service.version"] == palaver.__version__
    assert resource["host.name"] == socket.gethostname()
    assert resource["service.instance.id"] == "messenger-2"
    # Of a process without a name of its own: new at each start
    assert len(str(resource_of("auth", "auth").attributes["service.instance.id"])) == 36


def test_all_of_a_line_arrives(receiver: Receiver, collectors: tuple[Collector, Collector]) -> None:
    """A line could not be found from its trace, or by its user."""
    line = {
        "time": "2026-11-24T00:05:41.210615Z",
        "level": "warning",
        "service": "messenger",
        "event": "commit_failed",
        "trace_id": TRACE_ID,
        "span_id": SPAN_ID,
        "user_id": "u",
        "seq": 5,
        "nothing": None,
        "ids": [1, {"a": "b"}],
    }
    collectors[1].write([json.dumps(line).encode()])
    ((resource, found),) = receiver.lines
    assert resource["service.name"] == "messenger"
    assert (found.trace_id.hex(), found.span_id.hex()) == (TRACE_ID, SPAN_ID)
    assert found.body.string_value == "commit_failed"
    assert (found.severity_number, found.severity_text) == (13, "warning")
    assert found.time_unix_nano == 1_795_478_741_210_615_000
    assert {each.key for each in found.attributes} == {"user_id", "seq", "nothing", "ids"}


@pytest.mark.parametrize("level", ["debug", "info", "warning", "error", "critical", "loud"])
def test_lines_of_any_level_and_without_a_trace_arrive(
    receiver: Receiver, collectors: tuple[Collector, Collector], level: str
) -> None:
    """Lines of the start, and those of libraries, would be missing."""
    line = {"time": "2026-11-24T00:05:41Z", "level": level, "service": "messenger", "event": "x"}
    collectors[1].write([json.dumps({**line, "trace_id": "", "span_id": ""}).encode()])
    ((_, found),) = receiver.lines
    assert found.trace_id == b""
    assert found.severity_text == level
    assert (found.severity_number > 0) == (level != "loud")


def test_tokens_do_not_leave_the_machine(receiver: Receiver, collectors: tuple[Collector, Collector]) -> None:
    """Who runs the collector could act as the user."""
    span = Span("x", "server", TRACE_ID, SPAN_ID, "", 1, 2, {"url.path": "/x?token=abcdef"})
    collectors[0].write([encoded(span)])
    assert values_of(receiver.span("x").attributes) == {"url.path": "/x?token=***"}


@pytest.mark.parametrize("signal", [0, 1])
def test_a_dead_collector_is_one_quick_error(signal: int, caplog: pytest.LogCaptureFixture) -> None:
    """The exporter would try for minutes, and write a line for each time."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        opened = open_collectors("auth", "auth", f"http://127.0.0.1:{nobody.getsockname()[1]}")
    lines = [
        encoded(Span("x", "server", TRACE_ID, SPAN_ID, "", 1, 2, {})),
        b'{"time":"2026-11-24T00:05:41Z","level":"info","service":"a","event":"x","trace_id":"","span_id":""}',
    ]
    caplog.set_level(logging.DEBUG)
    for _ in range(2):
        began = time.monotonic()
        with pytest.raises(ExportError, match="UNAVAILABLE"):
            opened[signal].write([lines[signal]])
        assert time.monotonic() - began < 2.5
    for each in opened:
        each.stop()
    assert caplog.records == []


@pytest.mark.parametrize(
    ("variable", "value"),
    [("OTEL_EXPORTER_OTLP_COMPRESSION", "zip"), ("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "zip")],
)
def test_wrong_variables_stop_the_start(monkeypatch: pytest.MonkeyPatch, variable: str, value: str) -> None:
    """A service would die with a traceback, or run without telemetry."""
    monkeypatch.setenv(variable, value)
    with pytest.raises(StartError, match=f"cannot export to http://127.0.0.1:1: .*{variable}"):
        open_collectors("auth", "auth", "http://127.0.0.1:1")
