"""The readiness of a service that the gateway needs."""

import asyncio
from dataclasses import dataclass
from http import HTTPStatus

import msgspec

from palaver.contracts.errors import PalaverError
from palaver.runtime.http.rest_client import RestClient
from palaver.runtime.replicas.addresses import Address


class Readiness(msgspec.Struct):
    """What the services' `/readyz` have in common."""

    failing: list[str] = []


@dataclass(frozen=True, slots=True)
class Health:
    """A service's health. `is_ready`: of one of its replicas at least. `failing`: what fails, of all."""

    is_ready: bool
    failing: list[str]


@dataclass(frozen=True, slots=True)
class UpstreamHealth:
    """A service that the gateway needs. `rest`: a client for its health alone, with a short deadline."""

    name: str
    rest: RestClient

    async def look(self) -> Health:
        """What the replicas report as failing, each behind its name; else the name alone."""
        await self.rest.replicas.in_order()
        # In the order of the setting, and not in that of calls
        replicas = self.rest.replicas.known
        reports = await asyncio.gather(*(self._ask(replica, len(replicas)) for replica in replicas))
        if not reports:
            return Health(False, [self.name])
        return Health([] in reports, [part for report in reports for part in report])

    async def _ask(self, replica: Address, replicas: int) -> list[str]:
        name = self.name if replicas == 1 else f"{self.name} {replica.text}"
        try:
            status, content = await self.rest.request("GET", "/readyz", at=replica)
        except PalaverError:
            return [name]
        if status == HTTPStatus.OK:
            return []
        return [f"{name}: {part}" for part in failing_of(content)] or [name]


def failing_of(content: bytes) -> list[str]:
    """`failing` of a body of `/readyz`; nothing where the body is of another kind."""
    try:
        return msgspec.json.decode(content, type=Readiness).failing
    except msgspec.DecodeError:
        return []
