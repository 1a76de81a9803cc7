"""Lines, and choosing among them."""

import json
from typing import Any

import pytest

from palaver.watch.log_reader import LEVELS, LogFilter, LogLine, parse_event, parse_time
from tests.harness.telemetry_files import MS, NOON, TRACE_ID, line

USER = "0190a5d4-7e1c-7000-8000-3f2b8c1d9e10"


def event(**fields: Any) -> LogLine:
    """A log line, read."""
    found = parse_event("gateway", json.dumps(line("request", **fields)).encode())
    assert found is not None
    return found


def test_time_is_exact() -> None:
    """Lines of one millisecond would come in the wrong order."""
    assert parse_time("2025-11-23T12:00:00.000001Z") == NOON + 1000
    assert parse_time("2025-11-23T13:00:00+01:00") == NOON
    assert parse_time("2025-11-23T12:00:00") == NOON
    assert event(after=1.5).at == NOON + MS + MS // 2


@pytest.mark.parametrize(
    "raw",
    [
        b"Traceback (most recent call last):",
        b'{"time": "2025-11-23T12:00:00Z", "event": "cut by a cra',
        b'{"event": "no time"}',
        b'{"time": 7, "event": "no time"}',
        b'{"time": "yesterday", "event": "no time"}',
        b'{"time": "2025-11-23T12:00:00Z", "event": "\xff"}',
        b'{"a":' * 100_000,
        b"[1, 2]",
        b"",
    ],
    ids=["text", "cut", "none", "number", "word", "bytes", "deep", "array", "empty"],
)
def test_other_text_is_no_event(raw: bytes) -> None:
    """One broken line would end the command."""
    assert parse_event("gateway", raw[:200_000]) is None


@pytest.mark.parametrize("least", LEVELS)
@pytest.mark.parametrize("level", LEVELS)
def test_a_level_means_that_and_above(level: str, least: str) -> None:
    """`--level warning` would hide errors."""
    wanted = LogFilter(level=least)
    assert wanted.matches(event(level=level)) == (LEVELS.index(level) >= LEVELS.index(least))


@pytest.mark.parametrize(
    "wanted",
    [
        LogFilter(user_id=USER),
        LogFilter(chat_id=USER),
        LogFilter(trace_id=TRACE_ID),
        LogFilter(service="auth"),
        LogFilter(since=NOON + 1),
        LogFilter(level="error"),
    ],
    ids=["user", "chat", "trace", "service", "since", "level"],
)
def test_each_filter_leaves_lines_out(wanted: LogFilter) -> None:
    """An operator would look for one line among all."""
    assert not wanted.matches(event(user_id="other", trace_id="0" * 31 + "1"))
    facts = {
        "user_id": USER.upper(),
        "chat_id": USER,
        "trace_id": TRACE_ID,
        "service": "auth",
        "level": "error",
    }
    assert wanted.matches(event(after=1, **facts))


def test_text_without_fields_is_taken_unless_ids_are_asked_for() -> None:
    """A crash would be missing from `palaver logs --level error`, or be in every user's lines."""
    text = LogLine(NOON, "gateway", None, b"Segmentation fault")
    assert LogFilter(level="error").matches(text)
    assert not LogFilter(user_id=USER).matches(text)
    assert not LogFilter(service="auth").matches(text)
    assert not LogFilter(since=NOON + 1).matches(text)


def test_an_instance_is_found_by_its_name_and_by_its_services() -> None:
    """An operator could not look at one of two gateways, or would miss one of them."""
    second = event(instance="gateway-2")
    assert LogFilter(service="gateway").matches(second)
    assert LogFilter(service="gateway-2").matches(second)
    assert not LogFilter(service="gateway-2").matches(event())
