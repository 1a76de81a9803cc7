"""The readiness of a service behind the gateway."""

from typing import Any

import pytest

from palaver.contracts.errors import UNAVAILABLE, PalaverError
from palaver.gateway.upstream.health import Health, UpstreamHealth
from palaver.runtime.http.rest_client import RestClient
from tests.harness.scripted_upstreams import GatewayClient
from tests.harness.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.mark.parametrize(
    ("answer", "failing"),
    [
        ({"ready": True, "failing": []}, []),
        (
            (503, {"ready": False, "failing": ["database", "signing key"]}),
            ["auth: database", "auth: signing key"],
        ),
        ((503, {"ready": False}), ["auth"]),
        ((503, ["no object"]), ["auth"]),
        (PalaverError(UNAVAILABLE), ["auth"]),
    ],
)
async def test_what_fails_in_a_service_is_named(
    gateway: GatewayClient, answer: Any, failing: list[str]
) -> None:
    """Whoever is woken up would not see which service to look at, or see it ready while it is not."""
    gateway.auth.answers["GET /readyz"] = answer
    (auth,) = gateway.services.upstreams
    assert await auth.look() == Health(not failing, failing)

    async def is_shown() -> bool:
        ready = await gateway.call("GET", "/readyz")
        return (ready.status, ready.json["failing"]) == (503 if failing else 200, failing)

    # The door's loop stands still while other files' tests run: its stream may have to attach again
    await eventually(is_shown, f"{failing} at /readyz")


async def test_one_replica_is_enough_and_the_others_are_named(gateway: GatewayClient) -> None:
    """A load balancer would take all gateways out of service for one auth of many; or nobody see that it is
    away."""
    rest = RestClient(f"http://127.0.0.1:9,{gateway.auth.url}", 2.0)
    auth = UpstreamHealth("auth", rest)
    assert await auth.look() == Health(True, ["auth 1"])
    gateway.auth.answers["GET /readyz"] = (503, {"ready": False, "failing": ["database"]})
    assert await auth.look() == Health(False, ["auth 1", "auth 2: database"])
    await rest.close()


async def test_what_a_ready_service_lacks_is_named(gateway: GatewayClient) -> None:
    """Nobody would see at the gateway that Redis is away, until a second thing fails."""
    gateway.auth.answers["GET /readyz"] = (200, {"ready": True, "failing": ["redis"]})
    rest = RestClient(gateway.auth.url, 2.0)
    assert await UpstreamHealth("auth", rest).look() == Health(True, ["auth: redis"])
    await rest.close()


async def test_a_service_without_an_address_is_not_ready() -> None:
    """A gateway whose DNS knows no auth would be sent clients."""
    rest = RestClient("http://no-such-host.invalid:1", 2.0)
    assert await UpstreamHealth("auth", rest).look() == Health(False, ["auth"])
    await rest.close()
