"""The inside of a deployment under test: its secret, and calls that carry it."""

from collections.abc import Sequence
from typing import Any, Self

import grpc.aio
from pydantic import SecretStr

from palaver.runtime.deployment_secret import HEADER

SECRET = "the-secret-of-a-deployment-under-test"
# The `secret` of `Settings`
SECRETS = [SecretStr(SECRET)]
HEADERS = {HEADER: SECRET}
METADATA = ((HEADER, SECRET),)
VARIABLES = {"PALAVER_SECRET": SECRET}


class InsideChannel:
    """A channel whose calls carry the secret."""

    def __init__(self, target: str, options: Sequence[tuple[str, Any]] = ()) -> None:
        self._channel = grpc.aio.insecure_channel(target, options)

    def unary_unary(self, *words: Any, **options: Any) -> Any:
        """See `grpc.aio.Channel`."""
        return with_secret(self._channel.unary_unary(*words, **options))

    def stream_stream(self, *words: Any, **options: Any) -> Any:
        """See `grpc.aio.Channel`."""
        return with_secret(self._channel.stream_stream(*words, **options))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._channel.close()


def with_secret(method: Any) -> Any:
    """A method whose calls carry the secret."""

    def call(*words: Any, metadata: Sequence[tuple[str, str]] = (), **options: Any) -> Any:
        return method(*words, metadata=(*METADATA, *metadata), **options)

    return call
