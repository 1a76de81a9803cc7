"""In whose name this task works: whom its share of what all users use is counted for."""

from contextvars import ContextVar

from palaver.runtime.rate_limits import Key

# The service itself, for nobody in particular
SERVICE = b""

_requester: ContextVar[Key] = ContextVar("requester", default=SERVICE)


def requester() -> Key:
    """The user or the address that this task works for, or `SERVICE`."""
    return _requester.get()


def work_for(key: Key) -> None:
    """From now on this task, and those that it starts, work for a user or an address."""
    _requester.set(key)
