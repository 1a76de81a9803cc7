"""Auth's private REST, as FastAPI runs it."""

import inspect
from collections.abc import Iterator

import pytest
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from palaver.auth import rest

ROUTES = [
    route
    for router in (rest.users, rest.sessions, rest.system)
    for route in router.routes
    if isinstance(route, APIRoute)
]


def calls_of(dependant: Dependant) -> Iterator[object]:
    """What FastAPI calls for a route: its dependencies and the route itself."""
    yield dependant.call
    for inner in dependant.dependencies:
        yield from calls_of(inner)


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{sorted(route.methods)[0]} {route.path}")
def test_no_request_changes_threads(route: APIRoute) -> None:
    """Each sign-in would wait for a thread and back, twice, while the threads hash passwords."""
    assert [call for call in calls_of(route.dependant) if not inspect.iscoroutinefunction(call)] == []
