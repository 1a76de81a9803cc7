"""The shape of errors: what a client reads when a request, or an upgrade, is refused."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from palaver.contracts.errors import PalaverError
from palaver.runtime.http.errors import FieldError


@dataclass(frozen=True, slots=True)
class ErrorAnswer:
    """The HTTP answer that refuses a request. `body` is encoded."""

    status: int
    content_type: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


# The error, the fields that are wrong, and the id of the request's trace, which is empty where there is none
ErrorShape = Callable[[PalaverError, Sequence[FieldError], str], ErrorAnswer]
