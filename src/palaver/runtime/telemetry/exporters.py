"""Exporters of spans: encoded into a spool at once, and from there into a file."""

from collections.abc import Mapping, Sequence

import msgspec

from palaver.runtime.telemetry.masking import mask_spans
from palaver.runtime.telemetry.rotating_file import RotatingFile
from palaver.runtime.telemetry.spans import Span
from palaver.runtime.telemetry.spool import Spool

_encode = msgspec.json.Encoder().encode


class SpoolExporter:
    """A `tracing.SpanExporter` into a spool. Encodes spans at once: what waits is small, and is not changed
    any more by whoever goes on with a span's attributes."""

    def __init__(self, spool: Spool) -> None:
        self.spool = spool

    def export(self, span: Span) -> None:
        """Puts a span into the spool, or drops and counts it."""
        if not self.spool.has_room():
            return
        try:
            line = _encode(span)
        except Exception:
            # Text that is no Unicode, for example: not worth a user's request
            self.spool.drop()
            return
        self.spool.put(line)


class SpanFile:
    """Writes spans to a file, one JSON object a line: `names` of the service and the span's fields."""

    def __init__(self, names: Mapping[str, str], file: RotatingFile) -> None:
        self._head = msgspec.json.encode(names)[:-1] + b","
        self._file = file

    def write(self, lines: Sequence[bytes]) -> None:
        """Appends them. Raises `OSError`."""
        head = self._head
        self._file.write(mask_spans(b"".join([head + line[1:] + b"\n" for line in lines])))
