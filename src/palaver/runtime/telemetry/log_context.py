"""The context of log lines and spans: whose request is served, and what it is about."""

from structlog.contextvars import bind_contextvars

from palaver.runtime.telemetry.tracing import current_span

# Names of OpenTelemetry's conventions; ours, for what they have no name for, begin with `palaver.`
_ATTRIBUTES = {"user_id": "user.id"}


def bind_field(name: str, text: str) -> None:
    """Adds a field to the active span, and to each line that this task and those it starts write from now on.
    Never a secret, nor what a user has written."""
    bind_contextvars(**{name: text})
    span = current_span()
    if span is not None:
        span.attributes[_ATTRIBUTES.get(name) or f"palaver.{name}"] = text


def mark_failed(code: str) -> None:
    """Marks the active span as failed: it is kept then, sampled or not. Not for mistakes of callers."""
    span = current_span()
    if span is not None:
        span.error = code
