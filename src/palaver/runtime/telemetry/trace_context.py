"""Where work belongs in a trace, as W3C Trace Context says it between processes."""

import random
import re
from typing import NamedTuple

_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")


class Trace(NamedTuple):
    """A place in a trace (W3C Trace Context §3.2): ids in lower-case hex, and whether it is sampled."""

    trace_id: str
    span_id: str
    sampled: bool

    @property
    def traceparent(self) -> str:
        """The header's value."""
        return f"00-{self.trace_id}-{self.span_id}-{'01' if self.sampled else '00'}"


def read_traceparent(text: str) -> Trace | None:
    """The place that a `traceparent` names; None where it is none. Later versions may say more behind it."""
    found = _TRACEPARENT.fullmatch(text)
    if found is None:
        return None
    version, trace_id, span_id, flags, more = found.groups()
    if version == "ff" or (version == "00" and more) or not trace_id.strip("0") or not span_id.strip("0"):
        return None
    return Trace(trace_id, span_id, bool(int(flags, 16) & 1))


def new_trace_id() -> str:
    """32 hex digits. No secret, so not from the system's randomness, which costs ten times as much."""
    return f"{random.getrandbits(128) or 1:032x}"


def new_span_id() -> str:
    """16 hex digits."""
    return f"{random.getrandbits(64) or 1:016x}"
