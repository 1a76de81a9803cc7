"""`palaver trace` and `palaver logs`: what became of a request, of a message, of everything."""

import contextlib
import re
import time
from collections.abc import Iterator
from typing import Annotated

import typer

from palaver.cli.options import AsJson, Config, DataDir, settings_of
from palaver.contracts.errors import INVALID, PalaverError
from palaver.contracts.ids import id_from_text, text_from_id
from palaver.contracts.seqs import LAST_SEQ
from palaver.runtime.telemetry.trace_context import parse_traceparent

# Lines that `palaver logs` shows where nothing else bounds them
LAST_LINES = 100
UNIT_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
# The exit code of a command that was written wrongly
MISUSE = 2


def trace(
    trace_id: Annotated[
        str | None, typer.Argument(metavar="TRACE_ID", help="32 hex digits, or a whole traceparent.")
    ] = None,
    message: Annotated[
        tuple[str, str] | None,
        typer.Option("--message", metavar="CHAT_ID SEQ", help="Follow this message instead."),
    ] = None,
    data_dir: DataDir = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Draw the way of a request, or of a message, through all services.

    A trace's id is in the answer's header `traceresponse`, in problem details, in `sent` frames and in log
    lines. Of a message, what the journal knows comes first: who sent it, who has read it; never its text.

    Examples:

        palaver trace 4bf92f3577b34da6a3ce929d0e0e4736

        palaver trace --message 01890a5d-ac96-774b-bcce-b302099a8057 7
    """
    from palaver.watch.commands import show_message, show_trace

    with reported_mistakes():
        if (trace_id is None) == (message is None):
            raise PalaverError(INVALID, "give either TRACE_ID or --message CHAT_ID SEQ")
        if message is None:
            wanted = parse_trace_id(trace_id or "")
            code = show_trace(settings_of(config, data_dir), wanted, as_json=as_json)
        else:
            chat_id, seq = parse_place(*message)
            code = show_message(settings_of(config, data_dir), chat_id, seq, as_json=as_json)
    raise typer.Exit(code)


def logs(
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with lines as they come.")] = False,
    user: Annotated[str, typer.Option(metavar="ID", help="Lines about this user.")] = "",
    chat: Annotated[str, typer.Option(metavar="ID", help="Lines about this chat.")] = "",
    trace: Annotated[str, typer.Option(metavar="ID", help="Lines of this trace.")] = "",
    service: Annotated[str, typer.Option(metavar="NAME", help="gateway, auth or messenger.")] = "",
    level: Annotated[
        str,
        typer.Option(metavar="LEVEL", help="This level and above: debug, info, warning, error, critical."),
    ] = "",
    since: Annotated[
        str, typer.Option(metavar="TIME", help="Lines not older than 30s, 10m, 2h, 1d; or since an ISO time.")
    ] = "",
    lines: Annotated[
        int | None,
        typer.Option(min=0, metavar="N", help="The last N. Otherwise 100, or with --since or --trace all."),
    ] = None,
    data_dir: DataDir = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Show the log lines of all services by time.

    Examples:

        palaver logs --follow --level warning

        palaver logs --since 10m --user 0190a5d4-7e1c-7000-8000-3f2b8c1d9e10 --json
    """
    from palaver.watch.commands import show_logs
    from palaver.watch.log_reader import LogFilter

    with reported_mistakes():
        wanted = LogFilter(
            user_id=parse_id(user, "--user"),
            chat_id=parse_id(chat, "--chat"),
            trace_id=parse_trace_id(trace) if trace else "",
            service=service,
            level=parse_level(level),
            since=parse_since(since) if since else 0,
        )
        most = LAST_LINES if lines is None and not (since or trace) else lines
        directory = settings_of(config, data_dir).data_dir
        code = show_logs(directory, wanted, most, goes_on=follow, as_json=as_json)
    raise typer.Exit(code)


@contextlib.contextmanager
def reported_mistakes() -> Iterator[None]:
    """Ends the command with one line where it was written wrongly, or where what it names is not there."""
    try:
        yield
    except PalaverError as error:
        typer.echo(f"palaver: {error.message}", err=True)
        raise typer.Exit(MISUSE if error.kind is INVALID else 1) from None


def parse_trace_id(text: str) -> str:
    """The id that a text is, or that a `traceparent` or `traceresponse` names. Raises `invalid`."""
    text = text.strip().lower()
    named = parse_traceparent(text)
    if named.trace_id:
        return named.trace_id
    if not re.fullmatch(r"[0-9a-f]{32}", text) or not text.strip("0"):
        raise PalaverError(INVALID, "a trace id has 32 hexadecimal digits, which are not all 0")
    return text


def parse_place(chat: str, seq: str) -> tuple[bytes, int]:
    """Chat id and seq of a message. Raises `invalid`."""
    chat_id = id_from_text(chat, "CHAT_ID")
    if not re.fullmatch(r"[0-9]{1,19}", seq) or not 0 < int(seq) <= LAST_SEQ:
        raise PalaverError(INVALID, "SEQ must be a number from 1")
    return chat_id, int(seq)


def parse_id(text: str, option: str) -> str:
    """An id in its canonical form; empty where none is given. Raises `invalid`."""
    return text_from_id(id_from_text(text, option)) if text else ""


def parse_level(text: str) -> str:
    """A level's name. Raises `invalid`."""
    from palaver.watch.log_reader import LEVELS

    level = text.lower()
    if level and level not in LEVELS:
        raise PalaverError(INVALID, f"--level must be one of {', '.join(LEVELS)}")
    return level


def parse_since(text: str) -> int:
    """The moment that is meant, in nanoseconds since the epoch. Raises `invalid`."""
    from palaver.watch.log_reader import parse_time

    age = re.fullmatch(r"([0-9]{1,9})([smhd])", text)
    if age is not None:
        return time.time_ns() - int(age[1]) * UNIT_SECONDS[age[2]] * 1_000_000_000
    try:
        return parse_time(text)
    except ValueError:
        raise PalaverError(INVALID, "--since must be like 30s, 10m, 2h, 1d, or an ISO 8601 time") from None
