"""Log lines."""

import asyncio
import json
import logging
import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
import structlog
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client import REGISTRY
from structlog.contextvars import bound_contextvars

from palaver.runtime.telemetry.log_lines import LogWriter, StandardHandler, terminal_text
from palaver.runtime.telemetry.rotating_file import write_all
from palaver.runtime.telemetry.spool import Spool
from palaver.runtime.telemetry.tracing import Sampler, Tracer

TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def forget(_span: object) -> None:
    """Takes a span."""


def logger_of(lines: LogWriter) -> Any:
    """A logger as services have it, of its own."""
    return structlog.wrap_logger(
        lines,
        processors=[lines.render],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
    )


@pytest.fixture
def written() -> list[bytes]:
    """The lines that were written."""
    return []


@pytest.fixture
def log(written: list[bytes]) -> Any:
    """A logger that writes them."""
    return logger_of(LogWriter({"service": "auth"}, written.append))


@pytest.fixture
def library(written: list[bytes]) -> Iterator[logging.Logger]:
    """A library's logger."""
    logger = logging.getLogger("tests.library")
    handler = StandardHandler(LogWriter({"service": "auth"}, written.append))
    logger.addHandler(handler)
    logger.propagate = False
    logger.setLevel(logging.INFO)
    yield logger
    logger.removeHandler(handler)


def test_every_line_has_its_fields(log: Any, written: list[bytes]) -> None:
    """Lines could not be ordered, chosen, or found from a trace."""
    log.info("signed_in", attempts=2)
    (line,) = written
    assert line.endswith(b"}\n")
    assert line.count(b"\n") == 1
    fields = json.loads(line)
    assert list(fields) == ["time", "level", "service", "event", "trace_id", "span_id", "attempts"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", fields.pop("time"))
    assert fields == {
        "level": "info",
        "service": "auth",
        "event": "signed_in",
        "trace_id": "",
        "span_id": "",
        "attempts": 2,
    }


@pytest.mark.parametrize("level", ["info", "warning", "error", "critical"])
def test_levels_are_named(log: Any, library: logging.Logger, written: list[bytes], level: str) -> None:
    """`palaver logs --level warning` would miss warnings."""
    getattr(log, level)("ours")
    getattr(library, level)("a library's")
    assert [json.loads(line)["level"] for line in written] == [level, level]


def test_lines_say_which_span_they_belong_to(log: Any, written: list[bytes]) -> None:
    """`palaver trace` could not show a request's lines."""
    tracer = Tracer()
    tracer.configure(forget, Sampler(0.0, 0), 1.0)
    with tracer.serve("request", TRACEPARENT, {}, is_edge=False) as work:
        log.info("in_request")
        with tracer.span("part") as part:
            log.info("in_part")
    found = [json.loads(line) for line in written]
    assert [line["trace_id"] for line in found] == ["4bf92f3577b34da6a3ce929d0e0e4736"] * 2
    assert [line["span_id"] for line in found] == [work.span_id, part.span_id]


def test_what_is_bound_is_on_each_line(log: Any, library: logging.Logger, written: list[bytes]) -> None:
    """`palaver logs --user` would find nothing."""
    with bound_contextvars(user_id="u", chat_id="c", seq=5):
        log.info("ours")
        library.info("a library's")
    log.info("later")
    found = [json.loads(line) for line in written]
    for line in found[:2]:
        assert (line["user_id"], line["chat_id"], line["seq"]) == ("u", "c", 5)
    assert "user_id" not in found[2]


def test_nothing_takes_the_names_of_our_fields(log: Any, written: list[bytes]) -> None:
    """A line about another service would be taken for one of that service's."""
    with bound_contextvars(trace_id="bound"):
        log.info("called", service="messenger", level="none", time=0)
    fields = json.loads(written[0])
    assert (fields["service"], fields["level"], fields["trace_id"]) == ("auth", "info", "")
    assert fields["time"] != 0


def test_an_exception_is_one_line_with_its_traceback(
    log: Any, library: logging.Logger, written: list[bytes]
) -> None:
    """An error's reason would be missing, or a line without form."""
    for tell in (log.exception, library.exception):
        try:
            raise ValueError("out of cheese")
        except ValueError:
            tell("failed")
    for line in written:
        assert line.count(b"\n") == 1
        fields = json.loads(line)
        assert fields["level"] == "error"
        assert fields["exception"].startswith("Traceback")
        assert fields["exception"].endswith("\nValueError")


def test_libraries_lines_are_formatted_and_named(library: logging.Logger, written: list[bytes]) -> None:
    """Nobody could tell who says so."""
    library.warning("%s of %d", "one", 5)
    fields = json.loads(written[0])
    assert (fields["event"], fields["logger"]) == ("one of 5", "tests.library")


class Unshowable:
    """Fails whoever looks at it."""

    def __repr__(self) -> str:
        raise RuntimeError("no")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(
        st.from_regex(r"[a-z_]{1,8}", fullmatch=True).filter(
            lambda name: name not in ("event", "exc_info", "self", "stack_info", "positional_args")
        ),
        st.text(st.characters(codec=None, categories=["Cs", "L", "Cc"]))
        | st.integers(-(2**70), 2**70)
        | st.floats()
        | st.binary()
        | st.sampled_from([Unshowable(), object(), {1: Unshowable()}, {"a": {1, 2}}, [None]]),
    )
)
def test_any_value_makes_a_line(log: Any, written: list[bytes], fields: dict[str, Any]) -> None:
    """A log line would make a user's request fail."""
    written.clear()
    log.info("x", **fields)
    (line,) = written
    found = json.loads(line)
    assert found["event"] == "x"
    assert found.keys() >= fields.keys()


def test_secrets_are_masked(log: Any, library: logging.Logger, written: list[bytes]) -> None:
    """The token in v1's socket addresses would be in uvicorn's lines, for everybody who reads them."""
    library.info('%s - "WebSocket %s" [accepted]', "127.0.0.1:5", "/api/v1/ws?token=abcdef")
    log.info("x", header="Authorization: Bearer abcdef")
    try:
        raise ValueError("GET /ws?token=abcdef")
    except ValueError:
        log.exception("failed")
    assert len(written) == 3
    for line in written:
        assert b"abcdef" not in line
        assert b"***" in line


async def test_what_asyncio_says_is_masked(written: list[bytes]) -> None:
    """An exception that nobody awaits would bring its token into the log."""
    logger = logging.getLogger("asyncio")
    handler = StandardHandler(LogWriter({"service": "gateway"}, written.append))
    logger.addHandler(handler)
    logger.propagate = False
    try:
        asyncio.get_running_loop().call_exception_handler(
            {"message": "lost /ws?token=abcdef", "exception": ValueError("a text")}
        )
    finally:
        logger.removeHandler(handler)
        logger.propagate = True
    (line,) = written
    assert b"/ws?token=***" in line


def test_a_line_that_cannot_be_written_is_counted() -> None:
    """A full disk would stop the service; or hide that lines are missing."""

    def dropped() -> float:
        return REGISTRY.get_sample_value("palaver_telemetry_dropped_total", {"signal": "logs"}) or 0.0

    def fail(_line: bytes) -> None:
        raise OSError("No space left on device")

    before = dropped()
    logger_of(LogWriter({"service": "auth"}, fail)).info("lost")
    assert dropped() == before + 1


def test_a_collector_gets_what_is_written(written: list[bytes]) -> None:
    """The collector's lines would not be those that an operator sees here; a token among them."""
    taken: list[bytes] = []
    spool = Spool("logs", taken.extend, 10_000, 10)
    logger_of(LogWriter({"service": "auth"}, written.append, spool)).info("x", path="?token=abcdef")
    spool.close(time.monotonic() + 20)
    assert [line + b"\n" for line in taken] == written


def shown(
    monkeypatch: pytest.MonkeyPatch, written: list[bytes], tell: Callable[[Any], None], **env: str
) -> str:
    """What a terminal shows."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    tell(logger_of(LogWriter({"service": "auth"}, written.append, None, terminal_text())))
    return b"".join(written).decode()


def test_a_terminal_gets_coloured_text(monkeypatch: pytest.MonkeyPatch, written: list[bytes]) -> None:
    """Whoever tries a service in a terminal would have to read JSON."""
    text = shown(monkeypatch, written, lambda log: log.warning("signed_in", attempts=2, path="?token=abcdef"))
    assert "\x1b[" in text
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text)
    assert re.fullmatch(
        r"\d\d:\d\d:\d\d \[warning  \] auth: signed_in +attempts=2 path='\?token=\*\*\*'\n", plain
    )


def test_a_terminal_shows_the_trace_of_a_request(
    monkeypatch: pytest.MonkeyPatch, written: list[bytes]
) -> None:
    """Nobody could copy it to `palaver trace`."""
    tracer = Tracer()
    tracer.configure(forget, Sampler(0.0, 0), 1.0)
    with tracer.serve("request", TRACEPARENT, {}, is_edge=False):
        text = shown(monkeypatch, written, lambda log: log.info("x"), NO_COLOR="1")
    assert "trace_id=4bf92f3577b34da6a3ce929d0e0e4736" in text
    assert "\x1b[" not in text


def test_a_terminal_shows_tracebacks(monkeypatch: pytest.MonkeyPatch, written: list[bytes]) -> None:
    """An error would be without its reason."""

    def fail(log: Any) -> None:
        try:
            raise ValueError("out of cheese")
        except ValueError:
            log.exception("failed")

    assert "ValueError\n" in shown(monkeypatch, written, fail)


def test_lines_go_to_a_file_descriptor_at_once() -> None:
    """A container's log would lose what a process said before it was killed."""
    reading, writing = os.pipe()
    try:
        logger_of(LogWriter({"service": "auth"}, partial(write_all, writing))).info("x")
        assert os.read(reading, 1_000).endswith(b"\n")
    finally:
        os.close(reading)
        os.close(writing)


@pytest.mark.skipif(sys.gettrace() is not None, reason="a debugger or coverage is slower")
def test_a_line_is_cheap(log: Any) -> None:
    """An access line a request would cost more than the request."""
    best = 1.0
    with bound_contextvars(user_id="0190b5a0-aaaa-7aaa-8aaa-aaaaaaaaaaaa"):
        for _ in range(20):
            began = time.perf_counter()
            for _ in range(200):
                log.info("request", method="GET", route="/v2/chats/{chat_id}", status=200, duration_ms=1.2)
            best = min(best, (time.perf_counter() - began) / 200)
    assert best < 50e-6
