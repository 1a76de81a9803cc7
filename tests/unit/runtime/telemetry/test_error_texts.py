"""What logs have of exceptions: where they were raised, and nothing that a client wrote."""

import errno
import sqlite3
import subprocess
import sys

import pytest

from palaver.contracts.errors import UNAVAILABLE, PalaverError
from palaver.runtime.telemetry.error_texts import error_text, format_exc_info, traceback_text

CANARY = "canary-7f3a"


def raised(error: BaseException) -> BaseException:
    """The same with a traceback and two others behind it."""
    try:
        try:
            raise KeyError(CANARY)
        except KeyError as first:
            try:
                raise ValueError(CANARY) from first
            except ValueError:
                raise error  # noqa: B904 - the context is what is shown
    except BaseException as caught:
        return caught


@pytest.mark.parametrize(
    "error",
    [
        ValueError(CANARY),
        KeyError(CANARY),
        UnicodeDecodeError("utf-8", CANARY.encode() + b"\xff", 11, 12, CANARY),
        UnicodeEncodeError("utf-8", CANARY + "\ud800", 11, 12, CANARY),
        PalaverError(UNAVAILABLE, CANARY, text=CANARY),
        ExceptionGroup(CANARY, [ValueError(CANARY)]),
        OSError(CANARY),
    ],
    ids=lambda error: type(error).__name__,
)
def test_no_text_of_an_error_is_shown(error: BaseException) -> None:
    """People's messages and passwords would be in the log of whoever runs the servers."""
    error.add_note(CANARY)
    shown = traceback_text(raised(error))
    assert CANARY not in shown
    assert CANARY not in error_text(error)
    assert type(error).__name__ in shown
    assert "in raised" in shown
    assert "KeyError" in shown
    assert "ValueError" in shown


def test_what_the_system_says_is_shown() -> None:
    """An operator could not tell a full disk from a cable that was pulled."""
    assert error_text(OSError(errno.ENOSPC, "No space left on device")).endswith("No space left on device")
    assert error_text(PalaverError(UNAVAILABLE)) == "PalaverError: unavailable"
    database = sqlite3.connect(":memory:")
    with pytest.raises(sqlite3.OperationalError) as caught:
        database.execute("nonsense")
    assert error_text(caught.value) == 'OperationalError: SQLITE_ERROR: near "nonsense": syntax error'
    with pytest.raises(sqlite3.OperationalError, match=CANARY) as caught:
        database.execute(f"SELECT CAST(x'{(CANARY.encode() + bytes([255])).hex()}' AS TEXT)").fetchone()
    database.close()
    assert error_text(caught.value) == "OperationalError"
    assert error_text(None) == ""


def test_errors_that_cause_each_other_come_to_an_end() -> None:
    """One odd exception would stop a service in the middle of logging it."""
    one, other = ValueError("one"), ValueError("other")
    one.__cause__, other.__cause__ = other, one
    assert traceback_text(one).count("ValueError") == 2


def test_every_form_of_exc_info_is_taken() -> None:
    """Errors would be logged without where they come from."""
    error = raised(ValueError(CANARY))
    for given in (error, (type(error), error, error.__traceback__)):
        assert "in raised" in format_exc_info(given)
    try:
        raise error
    except ValueError:
        assert "in raised" in format_exc_info(True)
    assert format_exc_info(True) == ""
    assert format_exc_info((None, None, None)) == ""


HOOKS = f"""
import threading
from palaver.runtime.telemetry.error_texts import install_hooks
install_hooks()
class Odd:
    def __del__(self):
        raise ValueError("".join({list(CANARY)}))
def fail():
    raise ValueError("".join({list(CANARY)}))
Odd()
thread = threading.Thread(target=fail)
thread.start()
thread.join()
fail()
"""


def test_what_nobody_catches_is_printed_likewise() -> None:
    """A crash would write into the log file by itself what no log line may hold."""
    done = subprocess.run([sys.executable, "-c", HOOKS], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.count("ValueError") == 3
    assert CANARY not in done.stderr
