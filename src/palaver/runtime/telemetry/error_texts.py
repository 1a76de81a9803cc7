"""Exceptions as text for logs, without what they say of values.

A decoder's error carries its input, a validation error the field's value, a database error the parameters: of
any of them a message's text or a password may be a part. So a log has the kind of an error and where it was
raised; what it says only where the operating system or we ourselves said it.
"""

import sys
import threading
import traceback
from typing import Any

from palaver.contracts.errors import PalaverError

CAUSE = "\nThe above exception was the direct cause of the following exception:\n\n"
CONTEXT = "\nDuring handling of the above exception, another exception occurred:\n\n"
# Of a chain, and of a group: an endless one must not fill the log
MOST_ERRORS = 20


def error_text(error: BaseException | None) -> str:
    """The kind of an error, with what is safe to log of it."""
    if error is None:
        return ""
    name = type(error).__name__
    said = reason_of(error)
    return f"{name}: {said}" if said else name


def reason_of(error: BaseException) -> str:
    """What an error says, where that comes from no client: a code or the system's own words."""
    if isinstance(error, PalaverError):
        return error.kind.code
    # SQLite's own, also where SQLAlchemy has wrapped it: of tables and columns, not of values. What Python's
    # module says by itself has no such name, and quotes texts that it cannot decode
    database = getattr(error, "orig", error)
    name = getattr(database, "sqlite_errorname", "")
    if name:
        return f"{name}: {database}"
    if isinstance(error, OSError) and error.errno is not None:
        return f"[Errno {error.errno}] {error.strerror}"
    return ""


def traceback_text(error: BaseException) -> str:
    """Where an error and those before it were raised. No locals: one may be a password."""
    parts: list[str] = []
    add_traceback(error, parts, set())
    return "".join(parts).rstrip("\n")


def add_traceback(error: BaseException, parts: list[str], seen: set[int]) -> None:
    """Adds the causes first, as Python does."""
    if id(error) in seen or len(seen) >= MOST_ERRORS:
        return
    seen.add(id(error))
    if error.__cause__ is not None:
        add_traceback(error.__cause__, parts, seen)
        parts.append(CAUSE)
    elif error.__context__ is not None and not error.__suppress_context__:
        add_traceback(error.__context__, parts, seen)
        parts.append(CONTEXT)
    if error.__traceback__ is not None:
        parts.append("Traceback (most recent call last):\n")
        parts += traceback.format_tb(error.__traceback__)
    parts.append(error_text(error) + "\n")
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            add_traceback(inner, parts, seen)


def format_exc_info(given: Any) -> str:
    """The text for `exc_info` as structlog and the standard library give it: an error, a triple, or True."""
    if isinstance(given, tuple):
        given = given[1]
    elif not isinstance(given, BaseException):
        given = sys.exc_info()[1]
    return traceback_text(given) if isinstance(given, BaseException) else ""


def install_hooks() -> None:
    """Makes Python itself print what nobody caught in the same way."""

    def print_error(_kind: object, error: BaseException | None, _traceback: object = None) -> None:
        if error is not None:
            sys.stderr.write(traceback_text(error) + "\n")

    sys.excepthook = print_error
    sys.unraisablehook = lambda args: print_error(args.exc_type, args.exc_value)
    threading.excepthook = lambda args: print_error(args.exc_type, args.exc_value)
