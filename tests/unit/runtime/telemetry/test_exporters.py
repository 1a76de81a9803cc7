"""Spans on their way into files."""

import json
import time
from collections.abc import Sequence
from pathlib import Path

from prometheus_client import REGISTRY

from palaver.runtime.telemetry.exporters import export_into, write_spans
from palaver.runtime.telemetry.free_space import FreeSpace
from palaver.runtime.telemetry.rotating_file import RotatingFile
from palaver.runtime.telemetry.spans import Event, Link, Span
from palaver.runtime.telemetry.spool import Spool

START = 1_795_478_741_210_579_056


def written_spans(path: Path, spans: Sequence[Span]) -> list[dict[str, object]]:
    """What the file holds of spans that were kept."""
    file = RotatingFile(path, 1_000_000, 3, FreeSpace(Path("/"), 0))
    spool = Spool("spans", write_spans({"service": "messenger"}, file), 1_000_000, 10)
    export = export_into(spool)
    for span in spans:
        export(span)
    spool.close(time.monotonic() + 20)
    file.close()
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_span_is_written_as_documented(tmp_path: Path) -> None:
    """`palaver trace` could not read it."""
    span = Span(
        "journal message",
        "producer",
        "a" * 32,
        "b" * 16,
        "c" * 16,
        START,
        START + 1_500,
        {"text": "ü", "whole": 5, "part": 0.5, "is": True},
        "unavailable",
        [Link("d" * 32, "e" * 16)],
        [Event("told", START + 1, {"palaver.socket": 7})],
    )
    assert written_spans(tmp_path / "a.jsonl", [span]) == [
        {
            "service": "messenger",
            "name": "journal message",
            "kind": "producer",
            "trace_id": "a" * 32,
            "span_id": "b" * 16,
            "parent_id": "c" * 16,
            "start": START,
            "end": START + 1_500,
            "attributes": {"text": "ü", "whole": 5, "part": 0.5, "is": True},
            "error": "unavailable",
            "links": [["d" * 32, "e" * 16]],
            "events": [{"name": "told", "at": START + 1, "attributes": {"palaver.socket": 7}}],
        }
    ]


def test_what_is_empty_takes_no_place(tmp_path: Path) -> None:
    """Files would hold a fifth fewer traces."""
    span = Span("x", "internal", "a" * 32, "b" * 16, "", 1, 2, {})
    (found,) = written_spans(tmp_path / "a.jsonl", [span])
    assert found.keys() == {
        "service",
        "name",
        "kind",
        "trace_id",
        "span_id",
        "parent_id",
        "start",
        "end",
        "attributes",
    }


def test_a_span_is_written_as_it_was_when_it_ended(tmp_path: Path) -> None:
    """What a caller does later with its attributes would change what is kept, or break it."""
    file = RotatingFile(tmp_path / "a.jsonl", 1_000_000, 3, FreeSpace(Path("/"), 0))
    spool = Spool("spans", write_spans({"service": "auth"}, file), 1_000_000, 10)
    span = Span("x", "internal", "a" * 32, "b" * 16, "", 1, 2, {"then": 1})
    export_into(spool)(span)
    span.attributes.clear()
    spool.close(time.monotonic() + 20)
    file.close()
    assert json.loads((tmp_path / "a.jsonl").read_text())["attributes"] == {"then": 1}


def test_a_span_that_cannot_be_written_harms_nobody(tmp_path: Path) -> None:
    """A client with a strange name would make its own request fail, and take others' spans with it."""

    def dropped() -> float:
        return REGISTRY.get_sample_value("palaver_telemetry_dropped_total", {"signal": "spans"}) or 0.0

    before = dropped()
    good = Span("good", "internal", "a" * 32, "b" * 16, "", 1, 2, {})
    bad = Span("bad", "internal", "a" * 32, "b" * 16, "", 1, 2, {"agent": "\udc80"})
    assert [span["name"] for span in written_spans(tmp_path / "a.jsonl", [good, bad, good])] == ["good"] * 2
    assert dropped() == before + 1


def test_tokens_in_spans_are_masked(tmp_path: Path) -> None:
    """A client that puts its token into the path would find it in a file."""
    token = "eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiIxIn0.c2ln"
    paths: list[dict[str, str | int | float | bool]] = [
        {"url.path": f"/x/{token}"},
        {"url.path": f"/x?token={token}"},
    ]
    spans = [Span("x", "server", "a" * 32, "b" * 16, "", 1, 2, attributes) for attributes in paths]
    found = written_spans(tmp_path / "a.jsonl", spans)
    assert [span["attributes"] for span in found] == [{"url.path": "/x/***"}, {"url.path": "/x?token=***"}]
