"""The life of a service's process: run until told to stop, then stop in order."""

import asyncio
import signal
from collections.abc import Callable, Coroutine
from typing import Any

import uvloop


def run_service(serve: Callable[[asyncio.Event], Coroutine[Any, Any, None]]) -> None:
    """Runs `serve(stopping)` on uvloop. SIGTERM and SIGINT set `stopping`: `serve` drains and returns."""
    uvloop.run(_run(serve))


async def _run(serve: Callable[[asyncio.Event], Coroutine[Any, Any, None]]) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    await serve(stopping)
