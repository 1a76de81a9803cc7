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
    """A service's health. `is_ready`: of one of its replicas at least. `failing`: what fails, of all, ready
    ones included."""

    is_ready: bool
    failing: list[str]


@dataclass(frozen=True, slots=True)
class UpstreamHealth:
    """A service that the gateway needs. `rest`: a client for its health alone, with a short deadline."""

    name: str
    rest: RestClient

    async def look(self) -> Health:
        """What the replicas report as failing, each behind its name; else the name alone.

        Anybody may ask for it: a replica of several is named by its place in the setting, not by its address.
        """
        await self.rest.replicas.in_order()
        # In the order of the setting, and not in that of calls
        replicas = self.rest.replicas.known
        names = [self.name] if len(replicas) == 1 else [f"{self.name} {n}" for n, _ in enumerate(replicas, 1)]
        reports = await asyncio.gather(*map(self._ask, replicas, names))
        if not reports:
            return Health(False, [self.name])
        return Health(
            any(report.is_ready for report in reports),
            [part for report in reports for part in report.failing],
        )

    async def _ask(self, replica: Address, name: str) -> Health:
        try:
            status, content = await self.rest.request("GET", "/readyz", at=replica)
        except PalaverError:
            return Health(False, [name])
        failing = [f"{name}: {part}" for part in failing_of(content)]
        # A replica may be ready without what it can do without for a while
        is_ready = status == HTTPStatus.OK
        return Health(is_ready, failing if is_ready else failing or [name])


def failing_of(content: bytes) -> list[str]:
    """`failing` of a body of `/readyz`; nothing where the body is of another kind."""
    try:
        return msgspec.json.decode(content, type=Readiness).failing
    except msgspec.DecodeError:
        return []
