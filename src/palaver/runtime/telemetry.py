"""Logs: one JSON object a line, to stdout or to a file a service."""

import logging
import sys
from pathlib import Path
from typing import Any, TextIO

import structlog

from palaver.runtime.settings import TelemetrySettings


def configure_logging(service: str, settings: TelemetrySettings, data_dir: Path) -> None:
    """Sends structlog's and the standard library's lines to one place, as JSON.

    Every line has `time`, `level`, `service` and `event`. Bind more with `structlog.contextvars`.
    """
    stream = open_log(service, settings, data_dir)
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", key="time"),
        name_service(service),
        structlog.processors.format_exc_info,
    ]
    render: structlog.typing.Processor = structlog.processors.JSONRenderer()
    structlog.configure(
        processors=[*shared, render],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(stream),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, render],
        )
    )
    logging.basicConfig(level=level, handlers=[handler], force=True)
    # One line a connection of the WebSocket library is not for operators
    logging.getLogger("picows").setLevel(logging.WARNING)
    # Nor is what Alembic could do; what it does is told
    logging.getLogger("alembic.runtime.plugins").setLevel(logging.WARNING)


def open_log(service: str, settings: TelemetrySettings, data_dir: Path) -> TextIO:
    """Where the service's lines go; a file is appended to, and written line by line."""
    if settings.log_to == "stdout":
        return sys.stdout
    path = log_file(service, data_dir)
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.open("a", buffering=1, encoding="utf-8")


def log_file(service: str, data_dir: Path) -> Path:
    """The file of a service's lines under the data directory."""
    return data_dir / "logs" / f"{service}.log"


def name_service(service: str) -> structlog.typing.Processor:
    """A processor that puts the service's name in each line."""

    def add(_logger: Any, _method: str, line: structlog.typing.EventDict) -> structlog.typing.EventDict:
        line["service"] = service
        return line

    return add


log: structlog.typing.FilteringBoundLogger = structlog.get_logger()
