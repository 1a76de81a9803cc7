"""Bodies of answers, and the times in them."""

import msgspec
from pydantic import BaseModel
from starlette.responses import Response

from palaver.contracts.times import rfc3339

_SECOND = 1_000_000
# Dataclasses, structs, lists and dictionaries as JSON
encode_json = msgspec.json.Encoder().encode


def answer_json(body: object, status: int = 200) -> Response:
    """A JSON answer of what `encode_json` takes."""
    return answer_body(encode_json(body), status)


def answer_body(body: bytes, status: int = 200) -> Response:
    """A JSON answer that is encoded already."""
    return Response(body, status, media_type="application/json")


def answer_model(model: BaseModel, status: int = 200) -> Response:
    """A JSON answer of a contract's model."""
    return Response(model.__pydantic_serializer__.to_json(model), status, media_type="application/json")


def time_text(us: int) -> str:
    """`rfc3339`, called once a second of history: pages of messages have many times of few seconds."""
    second, rest = divmod(us, _SECOND)
    prefix = _seconds.get(second)
    if prefix is None:
        if len(_seconds) > 4_096:
            _seconds.clear()
        prefix = _seconds[second] = rfc3339(second * _SECOND)[:20]
    # Six digits, in two thirds of the time that a format takes
    return prefix + str(_SECOND + rest)[1:] + "Z"


_seconds: dict[int, str] = {}


def optional_time(us: int) -> str | None:
    """A time that may not have come: 0 is null."""
    return time_text(us) if us else None
