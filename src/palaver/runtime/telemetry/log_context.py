"""What becomes known of the work under way: who asks, and what it is about."""

from structlog.contextvars import bind_contextvars

from palaver.runtime.telemetry.tracing import current_work

# Names of OpenTelemetry's conventions; ours, for what they have no name for, begin with `palaver.`
_ATTRIBUTES = {"user_id": "user.id"}


def note_fact(name: str, text: str) -> None:
    """Puts a fact on the span under way, and on each line that this task and those it starts write from now
    on. Never a secret, nor what a user has written."""
    bind_contextvars(**{name: text})
    work = current_work()
    if work is not None:
        work.attributes[_ATTRIBUTES.get(name) or f"palaver.{name}"] = text


def note_failure(code: str) -> None:
    """Marks the span under way as failed: it is kept then, sampled or not. Not for mistakes of callers."""
    work = current_work()
    if work is not None:
        work.error = code
