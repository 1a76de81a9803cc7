"""gRPC's standard health service, and reflection, of a server."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_reflection.v1alpha.reflection import aio as reflection

Check = Callable[[], Awaitable[bool]]
# Of the whole server, by the protocol
WHOLE = ""
CHECK_SECONDS = 5.0

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


def add_health_and_reflection(
    server: grpc.aio.Server, health: aio.HealthServicer, services: Sequence[str]
) -> None:
    """Puts both on a server that has `services`."""
    names = [*services]
    for contract in (health_pb2, reflection_pb2):
        names += [one.full_name for one in contract.DESCRIPTOR.services_by_name.values()]
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    reflection_pb2_grpc.add_ServerReflectionServicer_to_server(reflection.ReflectionServicer(names), server)


@contextlib.asynccontextmanager
async def kept_health(
    health: aio.HealthServicer, services: Sequence[str], checks: Mapping[str, Check]
) -> AsyncIterator[None]:
    """Keeps what the health service says true, at the start of the block and every few seconds of it. Behind
    it nothing is served."""
    names = [WHOLE, *services]
    await update(health, names, checks)
    task = asyncio.create_task(update_regularly(health, names, checks), name="grpc health")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])
        await health.enter_graceful_shutdown()


async def update_regularly(
    health: aio.HealthServicer, names: Sequence[str], checks: Mapping[str, Check]
) -> None:
    """Runs until cancelled."""
    while True:
        await asyncio.sleep(CHECK_SECONDS)
        await update(health, names, checks)


async def update(health: aio.HealthServicer, names: Sequence[str], checks: Mapping[str, Check]) -> None:
    """Says of all services what the checks say."""
    is_ready = all([await check() for check in checks.values()])
    for name in names:
        await health.set(name, SERVING if is_ready else NOT_SERVING)
