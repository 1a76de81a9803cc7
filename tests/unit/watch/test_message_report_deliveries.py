"""Which sockets were told."""

from typing import Any

import msgspec
import pytest

from palaver.watch.message_report import deliveries_of
from palaver.watch.trace_reader import StoredSpan
from tests.harness.telemetry_files import MS, NOON, span

CHAT, OTHER = "chat", "other"


def told(after: int, **attributes: Any) -> dict[str, Any]:
    """The event that a socket was told."""
    facts = {"palaver.socket": after, "user.id": "u", "session.id": "s", "palaver.generation": "v2"}
    return {"name": "told", "at": NOON + after * MS, "attributes": {**facts, **attributes}}


def place(chat_id: str, seq: Any, count: int | None = None) -> dict[str, Any]:
    """The attributes that name messages."""
    found = {"palaver.chat_id": chat_id, "palaver.seq": seq}
    return found if count is None else {**found, "messaging.batch.message_count": count}


def kept(name: str, attributes: dict[str, Any], *events: dict[str, Any]) -> StoredSpan:
    """A span as it is read."""
    return msgspec.convert(span(name, "a" * 16, attributes=attributes, events=list(events)), StoredSpan)


def test_live_and_later_deliveries_are_found_by_time() -> None:
    """An operator would be told that a message never arrived."""
    live = kept("deliver message", place(CHAT, 7, 1), told(2), told(1))
    # A resume tells of many messages: its own count is of all of them
    resume = kept(
        "resume",
        {"messaging.batch.message_count": 40, "user.id": "u"},
        told(8, **place(CHAT, 6)),
        told(9, **place(CHAT, 7)),
        told(10, **place(OTHER, 7)),
    )
    found = deliveries_of([resume, live], CHAT, 7)
    assert [(one["socket"], one["on_resume"], one["at"]) for one in found] == [
        (1, False, NOON + MS),
        (2, False, NOON + 2 * MS),
        (9, True, NOON + 9 * MS),
    ]
    assert (found[0]["user_id"], found[0]["session_id"], found[0]["generation"]) == ("u", "s", "v2")


@pytest.mark.parametrize(("seq", "is_told"), [(4, False), (5, True), (7, True), (8, False)])
def test_a_delivery_may_be_of_several(seq: int, is_told: bool) -> None:
    """Only the first message of a request would have been told to anybody."""
    assert bool(deliveries_of([kept("deliver message", place(CHAT, 5, 3), told(1))], CHAT, seq)) == is_told


def test_what_names_no_message_is_passed_over() -> None:
    """A span of another make would end the command."""
    spans = [
        kept("deliver message", place(CHAT, "7"), told(1)),
        kept("deliver message", {}, told(1)),
        kept("deliver message", place(CHAT, 7), {"name": "other", "at": NOON}),
    ]
    assert deliveries_of(spans, CHAT, 7) == []
    [bare] = deliveries_of([kept("x", place(CHAT, 7), {"name": "told", "at": NOON})], CHAT, 7)
    assert (bare["socket"], bare["user_id"]) == (0, "")
