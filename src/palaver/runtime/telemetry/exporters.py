"""Exporters of spans: encoded into a spool at once, and from there into a file."""

from collections.abc import Callable, Mapping, Sequence

import msgspec

from palaver.runtime.telemetry.masking import mask_spans
from palaver.runtime.telemetry.rotating_file import RotatingFile
from palaver.runtime.telemetry.spans import Span
from palaver.runtime.telemetry.spool import Spool

_encode = msgspec.json.Encoder().encode


def export_into(spool: Spool) -> Callable[[Span], None]:
    """Puts spans into a spool, or drops and counts them.

    Encodes them at once: what waits is small, and is not changed any more by whoever goes on with a span's
    attributes.
    """

    def export(span: Span) -> None:
        if spool.has_room():
            try:
                spool.put(_encode(span))
            except Exception:
                # Text that is no Unicode, for example: not worth a user's request
                spool.drop()

    return export


def write_spans(names: Mapping[str, str], file: RotatingFile) -> Callable[[Sequence[bytes]], None]:
    """Appends spans to a file, one JSON object a line: `names` of the service and the span's fields."""
    head = msgspec.json.encode(names)[:-1] + b","
    return lambda lines: file.write(mask_spans(b"".join([head + line[1:] + b"\n" for line in lines])))
