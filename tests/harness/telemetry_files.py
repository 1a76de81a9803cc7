"""Writes spans and log lines as services keep them under a data directory."""

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

# 2025-11-23T12:00:00Z
NOON = 1_763_899_200_000_000_000
MS = 1_000_000
TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
ALICE, BOB = str(uuid4()), str(uuid4())


def span(
    name: str, span_id: str, parent_id: str = "", *, start: float = 0, end: float = 1, **more: Any
) -> dict[str, Any]:
    """A span; `start` and `end` in milliseconds after noon."""
    known = {"trace_id": TRACE_ID, "kind": "internal", "service": "gateway"}
    times = {"start": NOON + int(start * MS), "end": NOON + int(end * MS)}
    return {**known, "span_id": span_id, "parent_id": parent_id, "name": name, **times, **more}


def line(event: str, after: float = 0, **fields: Any) -> dict[str, Any]:
    """A log line, written so many milliseconds after noon."""
    time = datetime.fromtimestamp((NOON + int(after * MS)) / 1e9, UTC).isoformat(timespec="microseconds")
    known = {"level": "info", "service": "gateway", "time": time.replace("+00:00", "Z")}
    return {**known, "event": event, **fields}


def append_rows(data_dir: Path, name: str, rows: Iterable[dict[str, Any] | str]) -> Path:
    """Appends rows to the file `name` under the data directory: JSON objects, or other text as it is."""
    path = data_dir / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.writelines(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows)
    return path


def append_request(data_dir: Path) -> None:
    """A request of Alice's through gateway and auth, its lines and others, and a span of another trace that
    links to it."""
    attributes = {"http.response.status_code": 200}
    append_rows(
        data_dir, "traces/gateway.jsonl", [span("GET /v2/users/me", "a" * 16, end=9, attributes=attributes)]
    )
    append_rows(
        data_dir, "traces/gateway.jsonl", ["cut by a crash", span("GET", "b" * 16, "a" * 16, start=1, end=8)]
    )
    append_rows(
        data_dir,
        "traces/auth.jsonl.1",
        [span("GET /users/me", "c" * 16, "b" * 16, start=2, end=7, service="auth")],
    )
    linked = {"trace_id": "1" * 32, "links": [[TRACE_ID, "a" * 16]], "service": "messenger"}
    append_rows(data_dir, "traces/messenger.jsonl", [span("commit batch", "e" * 16, start=20, **linked)])
    about = {"trace_id": TRACE_ID, "user_id": ALICE}
    append_rows(data_dir, "logs/auth.log", [line("looked up", 6, service="auth", span_id="c" * 16, **about)])
    append_rows(
        data_dir, "logs/gateway.log", [line("request", 9, span_id="a" * 16, **about), "Traceback: none"]
    )
    append_rows(data_dir, "logs/gateway.log", [line("other", 10, level="warning", chat_id=BOB)])
