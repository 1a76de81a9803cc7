"""`Idempotency-Key`: a request that is repeated with its key has the effect of one."""

from typing import Annotated

from fastapi import Header
from pydantic import AfterValidator
from pydantic_core import PydanticCustomError

from palaver.contracts.ids import derived_id
from palaver.runtime.printable import printable


def is_plain(key: str) -> str:
    """A header's value as it is: printable ASCII, which every client and proxy carries unchanged."""
    if key != printable(key, ascii_only=True):
        raise PydanticCustomError("key", "must be printable ASCII")
    return key


IdempotencyKey = Annotated[
    Annotated[str, AfterValidator(is_plain)] | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=200,
        description="A name for this request, chosen by the client: repeat it to repeat safely.",
        examples=["2f1c9d0e-send-1"],
    ),
]


def client_id_from_key(user_id: bytes, key: str, index: int) -> bytes:
    """The client id of the message at `index` of a request with a key."""
    return derived_id(user_id, f"{key}:{index}")
