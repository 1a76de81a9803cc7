"""Which sockets were told of a message, as spans say it."""

from collections.abc import Iterable
from typing import Any, NamedTuple

from palaver.watch.trace_reader import KeptEvent, KeptSpan

TOLD = "told"
RESUME = "resume"


class Telling(NamedTuple):
    """A socket was told. `at`: the moment at which its bytes were written, in nanoseconds since the epoch."""

    at: int
    service: str
    socket: int
    generation: str
    user_id: str
    session_id: str
    on_resume: bool


def tellings_of(spans: Iterable[KeptSpan], chat_id: str, seq: int) -> list[Telling]:
    """When which sockets were told of one message, in the order of time."""
    found = [
        telling(span, event)
        for span in spans
        for event in span.events
        if event.name == TOLD and is_about(place_of(span, event), chat_id, seq)
    ]
    return sorted(found, key=lambda one: one.at)


def place_of(span: KeptSpan, event: KeptEvent) -> dict[str, Any]:
    """The attributes that say what was told: the event's own on a resume, which tells of many chats."""
    return event.attributes if "palaver.seq" in event.attributes else span.attributes


def is_about(facts: dict[str, Any], chat_id: str, seq: int) -> bool:
    """Whether what was told is, or has in it, that message."""
    first = facts.get("palaver.seq")
    if facts.get("palaver.chat_id") != chat_id or not isinstance(first, int):
        return False
    return first <= seq < first + number(facts, "messaging.batch.message_count", 1)


def telling(span: KeptSpan, event: KeptEvent) -> Telling:
    """What an event says."""
    facts = event.attributes
    return Telling(
        event.at,
        span.service,
        number(facts, "palaver.socket", 0),
        str(facts.get("palaver.generation", "")),
        str(facts.get("user.id", "")),
        str(facts.get("session.id", "")),
        span.name == RESUME,
    )


def number(facts: dict[str, Any], name: str, default: int) -> int:
    """An attribute that is a whole number."""
    found = facts.get(name)
    return found if isinstance(found, int) else default
