"""Types of request fields: what is accepted, and how OpenAPI shows it."""

import re
from datetime import date
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, PlainValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from palaver.contracts.errors import PalaverError
from palaver.contracts.ids import id_from_text
from palaver.contracts.seqs import LAST_SEQ

_DIGITS = re.compile(r"[0-9]{1,19}")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


def id_of(value: Any) -> bytes:
    """The 16 bytes of an id."""
    try:
        return id_from_text(value if isinstance(value, str) else "", "it")
    except PalaverError:
        raise PydanticCustomError("uuid", "must be a UUID") from None


def number_of(value: Any) -> Any:
    """The number of a query's text: ASCII digits and nothing else, where `int` takes `1_0`, ` 1` and
    the digits of other scripts.
    """
    if isinstance(value, str):
        if not _DIGITS.fullmatch(value):
            raise PydanticCustomError("number", "must be a whole number of at most 19 digits, not negative")
        return int(value)
    return value


def date_of(value: Any) -> Any:
    """The day of `YYYY-MM-DD`; pydantic by itself would take numbers and times too."""
    if isinstance(value, str) and _DATE.fullmatch(value):
        try:
            return date.fromisoformat(value)
        except ValueError:
            pass
    raise PydanticCustomError("date", "must be a day of the calendar, as YYYY-MM-DD")


def without_surrogates(value: str) -> str:
    """Text as it is; half of a surrogate pair is refused, which JSON can hold and UTF-8 cannot."""
    try:
        value.encode()
    except UnicodeEncodeError:
        raise PydanticCustomError(
            "surrogate", "must be valid Unicode: it has half of a surrogate pair"
        ) from None
    return value


def without_nul(value: str) -> str:
    """Text as it is; NUL is refused, which databases cut strings at or refuse themselves."""
    if "\0" in value:
        raise PydanticCustomError("nul", "must not contain the character NUL")
    return without_surrogates(value)


def shown_as(example: Any, extra: Literal["forbid", "ignore"] = "forbid") -> ConfigDict:
    """The configuration of a shape that OpenAPI shows by an example. `extra`: what of unknown fields."""
    return ConfigDict(extra=extra, json_schema_extra={"example": example})


Id = Annotated[
    bytes,
    PlainValidator(id_of),
    WithJsonSchema(
        {"type": "string", "format": "uuid", "examples": ["01940b7e-2f63-7c1e-8d5a-3a1f0c9e7b21"]}
    ),
]
QueryNumber = Annotated[int, BeforeValidator(number_of)]
Day = Annotated[
    date,
    PlainValidator(date_of),
    WithJsonSchema({"type": "string", "format": "date", "examples": ["1994-04-10"]}),
]
Seq = Annotated[int, Field(strict=True, ge=0, le=LAST_SEQ)]
Text = Annotated[str, AfterValidator(without_nul)]
Secret = Annotated[str, AfterValidator(without_surrogates)]
# Of answers, which are text already
Uuid = Annotated[str, Field(json_schema_extra={"format": "uuid"})]
Time = Annotated[str, Field(json_schema_extra={"format": "date-time"})]
