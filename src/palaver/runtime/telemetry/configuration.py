"""Where a service's log lines and spans go: stdout, files under the data directory, a collector."""

import logging
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import structlog

from palaver.runtime.settings.telemetry import TelemetrySettings
from palaver.runtime.startup import StartError
from palaver.runtime.telemetry.exporters import export_into, write_spans
from palaver.runtime.telemetry.free_space import FreeSpace
from palaver.runtime.telemetry.log_lines import LogWriter, StandardHandler, terminal_text
from palaver.runtime.telemetry.rotating_file import RotatingFile, write_all
from palaver.runtime.telemetry.spool import Spool
from palaver.runtime.telemetry.tracing import Sampler, tracer

# What may wait to be written, in bytes of JSON, of which a span has about 500
FILE_SPOOL_BYTES = 33_554_432
OTLP_SPOOL_BYTES = 16_777_216
# How many are written at once. The SDK takes 50 microseconds for each, and keeps the interpreter's lock
FILE_SLICE = 256
OTLP_SLICE = 64
# How long a service that ends waits for what is not written yet
CLOSE_SECONDS = 0.8

# Levels of libraries whose lines are no matter of operators
QUIET_LOGGERS = {
    # Clients that break the protocol: their sockets are closed, and counted
    "picows": logging.CRITICAL,
    # What it logs it raises too
    "clickhouse_driver": logging.CRITICAL,
    # What Alembic could do; what it does is logged
    "alembic.runtime.plugins": logging.WARNING,
}

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()

_spools: list[Spool] = []


def configure_telemetry(service: str, settings: TelemetrySettings, data_dir: Path) -> None:
    """Sends this process's log lines and spans where the settings name. `close_telemetry` ends it.

    Every line has `time, level, service, event, trace_id, span_id`, and `instance` where it has a name.
    Raises `StartError` where a file can't be written, or a collector can't be meant.
    """
    instance = instance_of(service, settings)
    to_collector: Spool | None = None
    kept: Spool | None = None
    if settings.otlp_endpoint:
        from palaver.runtime.telemetry.otlp import open_collectors

        spans, lines = open_collectors(service, instance, settings.otlp_endpoint)
        to_collector = Spool("logs", lines.write, OTLP_SPOOL_BYTES, OTLP_SLICE, lines.stop)
        if settings.traces:
            kept = Spool("spans", spans.write, OTLP_SPOOL_BYTES, OTLP_SLICE, spans.stop)
    elif settings.traces:
        file = open_file(data_dir / "traces" / f"{instance}.jsonl", settings)
        write = write_spans(names_of(service, instance), file)
        kept = Spool("spans", write, FILE_SPOOL_BYTES, FILE_SLICE)
    _spools.extend(spool for spool in (to_collector, kept) if spool is not None)
    configure_lines(service, instance, settings, data_dir, to_collector)
    sampler = Sampler(settings.sample_ratio, settings.sample_per_second)
    tracer.configure(export_into(kept) if kept is not None else None, sampler, settings.slow_seconds)


def close_telemetry() -> None:
    """Writes what waits, for `CLOSE_SECONDS` at most. Log lines go on; of spans there are no more."""
    tracer.configure(None, Sampler(0.0, 0), 0.0)
    until = time.monotonic() + CLOSE_SECONDS
    for spool in _spools:
        spool.begin_closing()
    for spool in _spools:
        spool.close(until)
    _spools.clear()


def instance_of(service: str, settings: TelemetrySettings) -> str:
    """The name of this process among all services': what several processes must not share is named by it."""
    own = settings.instance.removeprefix(f"{service}-")
    return f"{service}-{own}" if own not in ("", service) else service


def names_of(service: str, instance: str) -> dict[str, str]:
    """The fields of every line and span that name its process."""
    return {"service": service} if instance == service else {"service": service, "instance": instance}


def configure_lines(
    service: str, instance: str, settings: TelemetrySettings, data_dir: Path, spool: Spool | None
) -> None:
    """Sends structlog's and the standard library's lines to one place."""
    is_shown = settings.log_to == "stdout" and sys.stdout.isatty()
    writer = line_writer(data_dir / "logs" / f"{instance}.log", settings)
    lines = LogWriter(names_of(service, instance), writer, spool, terminal_text() if is_shown else None)
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    structlog.configure(
        processors=[lines.render],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lambda *_names: lines,
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(level=level, handlers=[StandardHandler(lines)], force=True)
    for name, least in QUIET_LOGGERS.items():
        logging.getLogger(name).setLevel(least)


def line_writer(path: Path, settings: TelemetrySettings) -> Callable[[bytes], None]:
    """What writes a line to stdout, or to a file. Raises `StartError`."""
    if settings.log_to == "stdout":
        return partial(write_all, sys.stdout.fileno())
    return open_file(path, settings).write


def open_file(path: Path, settings: TelemetrySettings) -> RotatingFile:
    """A file of lines or spans. Raises `StartError`."""
    try:
        free_space = FreeSpace(path.parent, settings.free_bytes)
        return RotatingFile(path, settings.file_bytes, settings.files, free_space)
    except OSError as error:
        raise StartError(f"cannot write {path}: {error.strerror}") from None
