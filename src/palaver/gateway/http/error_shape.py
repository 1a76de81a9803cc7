"""The shape of errors: what a client reads when a request, or an upgrade, is refused."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from palaver.contracts.errors import PalaverError


@dataclass(slots=True)
class FieldError:
    """One wrong field. Its name is dotted where it lies deeper, e.g. `messages.0.text`."""

    field: str
    message: str


@dataclass(frozen=True, slots=True)
class ErrorAnswer:
    """The HTTP answer that refuses a request. `body` is encoded."""

    status: int
    content_type: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


# The error, the fields that are wrong, and the id of the request's trace, which is empty where there is none
ErrorShape = Callable[[PalaverError, Sequence[FieldError], str], ErrorAnswer]


def encodable(text: str) -> str:
    """`text` with a question mark for each lone surrogate, which a JSON string can hold and UTF-8 cannot."""
    return text.encode("utf-8", "replace").decode()
