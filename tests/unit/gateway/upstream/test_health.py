"""The readiness of a service behind the gateway."""

from typing import Any

import pytest

from palaver.contracts.errors import UNAVAILABLE, PalaverError
from tests.harness.realtime import eventually
from tests.harness.scripted_upstreams import Door

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
async def test_what_fails_in_a_service_is_named(door: Door, answer: Any, failing: list[str]) -> None:
    """Whoever is woken up would not see which service to look at, or see it ready while it is not."""
    door.auth.answers["GET /readyz"] = answer
    (auth,) = door.services.upstreams
    assert await auth.failing() == failing

    async def is_shown() -> bool:
        ready = await door.call("GET", "/readyz")
        return (ready.status, ready.json["failing"]) == (503 if failing else 200, failing)

    # The door's loop stands still while other files' tests run: its stream may have to attach again
    await eventually(is_shown, f"{failing} at /readyz")
