"""What a body of JSON may be made of, counted before it is parsed.

A body of few bytes can be of very many fields and values. Each of them costs its reader an object, and each
wrong one the object of an error: a million zeros, where texts are wanted, took fifteen seconds.
"""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from palaver.contracts.errors import INVALID, MALFORMED, PalaverError

WITH_BODY = frozenset(("POST", "PUT", "PATCH"))
# What is no string: numbers, names of constants, and what stands between values
STRUCTURE_BYTES = 131_072


class JsonBounds:
    """Refuses bodies of JSON with more than `most_fields` fields or `most_values` values, in all its objects
    and lists together."""

    def __init__(self, app: ASGIApp, most_fields: int, most_values: int) -> None:
        self._app = app
        self._most_fields = most_fields
        self._most_values = most_values

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Raises `invalid`, `malformed`."""
        if scope["type"] != "http" or scope["method"] not in WITH_BODY:
            await self._app(scope, receive, send)
            return
        message = await read_body(receive)
        check_json(message.get("body", b""), self._most_fields, self._most_values)
        waiting: list[Message] = [message]

        async def receive_again() -> Message:
            return waiting.pop() if waiting else await receive()

        await self._app(scope, receive_again, send)


async def read_body(receive: Receive) -> Message:
    """The whole body as one message; or that the client is gone."""
    parts = []
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return message
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return {"type": "http.request", "body": b"".join(parts), "more_body": False}


def check_json(body: bytes, most_fields: int, most_values: int) -> None:
    """Raises `invalid` for a document of too many fields or values, by counting what stands between them; and
    `malformed` for one in another encoding than UTF-8, in which it could not be counted.

    It takes a few passes at the speed of memory. Whether the document is JSON, its reader says.
    """
    if b"\0" in body:
        raise PalaverError(MALFORMED, "the body is not JSON in UTF-8")
    # Without escaped backslashes and quotes, every quote that is left begins or ends a string
    plain = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    if plain.count(b'"') > 2 * (most_fields + most_values):
        raise too_many(most_values)
    outside = b"".join(plain.split(b'"')[::2]).translate(None, b" \t\r\n")
    if outside.count(b":") > most_fields:
        raise PalaverError(INVALID, f"the body has more than {most_fields:,} fields")
    opened = outside.count(b"[") + outside.count(b"{")
    if outside.count(b",") + opened > most_values or len(outside) > STRUCTURE_BYTES:
        raise too_many(most_values)


def too_many(most_values: int) -> PalaverError:
    """The refusal of a body of too many values."""
    return PalaverError(INVALID, f"the body has more than {most_values:,} values")
