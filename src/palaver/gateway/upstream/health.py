"""The readiness of a service that the gateway needs."""

from dataclasses import dataclass
from http import HTTPStatus

import msgspec

from palaver.contracts.errors import PalaverError
from palaver.runtime.http.rest_client import RestClient


class Readiness(msgspec.Struct):
    """What the services' `/readyz` have in common."""

    failing: list[str] = []


@dataclass(frozen=True, slots=True)
class UpstreamHealth:
    """A service that the gateway needs. `rest`: a client for its health alone, with a short deadline."""

    name: str
    rest: RestClient

    async def failing(self) -> list[str]:
        """What the service reports as failing, each behind its name; else its name alone."""
        try:
            status, content = await self.rest.request("GET", "/readyz")
        except PalaverError:
            return [self.name]
        if status == HTTPStatus.OK:
            return []
        return [f"{self.name}: {part}" for part in failing_of(content)] or [self.name]


def failing_of(content: bytes) -> list[str]:
    """`failing` of a body of `/readyz`; nothing where the body is of another kind."""
    try:
        return msgspec.json.decode(content, type=Readiness).failing
    except msgspec.DecodeError:
        return []
