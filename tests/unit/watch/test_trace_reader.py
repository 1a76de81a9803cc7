"""Reading spans."""

import json
from pathlib import Path
from typing import Any

import pytest

from palaver.watch.trace_reader import parse_span, read_trace
from tests.harness.telemetry_files import TRACE_ID, append_rows, span

OTHER = "1" * 32


def test_a_trace_is_gathered_from_all_files(tmp_path: Path) -> None:
    """A request's way would end where a service has rotated its file."""
    append_rows(
        tmp_path,
        "traces/gateway.jsonl",
        [span("last", "c" * 16, start=3), span("x", "d" * 16, trace_id=OTHER)],
    )
    append_rows(tmp_path, "traces/gateway.jsonl.1", [span("first", "a" * 16, start=1)])
    append_rows(tmp_path, "traces/auth.jsonl", [span("second", "b" * 16, start=2, service="auth")])
    trace = read_trace(tmp_path, TRACE_ID)
    assert [(one.name, one.service) for one in trace.spans] == [
        ("first", "gateway"),
        ("second", "auth"),
        ("last", "gateway"),
    ]


def test_what_links_to_a_trace_is_found(tmp_path: Path) -> None:
    """A message's batch, and its delivery on a resume, would not be found from it."""
    links = [[OTHER, "9" * 16], [TRACE_ID, "a" * 16]]
    append_rows(
        tmp_path, "traces/messenger.jsonl", [span("commit batch", "e" * 16, trace_id=OTHER, links=links)]
    )
    # The id in any other place is no link
    append_rows(
        tmp_path, "traces/gateway.jsonl", [span("x", "d" * 16, trace_id=OTHER, attributes={"a": TRACE_ID})]
    )
    trace = read_trace(tmp_path, TRACE_ID)
    assert (trace.spans, [one.name for one in trace.linked]) == ([], ["commit batch"])


@pytest.mark.parametrize(
    "change",
    [
        {"start": None},
        {"end": "soon"},
        {"span_id": 7},
        {"links": [["one"]]},
        {"events": [{"name": "told"}]},
        {"attributes": []},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_line_that_is_no_span_is_passed_over(tmp_path: Path, change: dict[str, Any]) -> None:
    """One broken line would hide a whole trace."""
    broken = {**span("x", "a" * 16), **change}
    assert parse_span(json.dumps(broken).encode()) is None
    append_rows(
        tmp_path, "traces/gateway.jsonl", ["Traceback", f'{{"trace_id": "{TRACE_ID}', "[" * 90_000 + TRACE_ID]
    )
    append_rows(tmp_path, "traces/gateway.jsonl", [broken, span("whole", "b" * 16)])
    assert [one.name for one in read_trace(tmp_path, TRACE_ID).spans] == ["whole"]


def test_what_is_left_out_is_empty() -> None:
    """A span without links or events could not be read."""
    found = parse_span(b'{"trace_id": "a", "span_id": "b", "start": 1, "end": 2, "newer": true}')
    assert found is not None
    assert (found.attributes, found.links, found.events, found.error) == ({}, [], [], "")
