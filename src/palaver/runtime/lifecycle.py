"""The life of a service's process: run until a signal, then stop in order."""

import asyncio
import gc
import resource
import signal
from collections.abc import Callable, Coroutine
from typing import Any

import uvloop

from palaver.runtime.telemetry.configuration import log


def run_service(serve: Callable[[asyncio.Event], Coroutine[Any, Any, None]]) -> None:
    """Runs `serve(stopping)` on uvloop. SIGTERM and SIGINT set `stopping`: `serve` drains and returns."""
    # Shells and systemd give 1,024 to programs that use select(), which this one does not
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    # What a start leaves in memory lives as long as the process: the collector need not look at it again.
    # And a busy service makes tens of thousands of short-lived objects a second, few of them in cycles: at
    # the default threshold it would spend 4 % of its time on looking for those
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
    uvloop.run(_run(serve))


def log_uncaught(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Logs what no task and no callback caught. Not as asyncio does, which shows their arguments."""
    task = context.get("future") or context.get("task")
    name = task.get_name() if isinstance(task, asyncio.Task) else ""
    log.error("uncaught", reason=context.get("message", ""), task=name, exc_info=context.get("exception"))


async def _run(serve: Callable[[asyncio.Event], Coroutine[Any, Any, None]]) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(log_uncaught)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    await serve(stopping)
