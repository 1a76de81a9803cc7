"""Keeps child processes running, and stops them in order."""

import asyncio
import signal
import sys
import time
from collections.abc import Callable, Sequence

from palaver.runtime.child_process import Child
from palaver.runtime.restart_policy import Restarts

# A second Ctrl-C this much later means "at once"; earlier it is the same one: `timeout` and `make` send two.
HURRY_AFTER_SECONDS = 1.0

Say = Callable[[str], None]


class GaveUpError(Exception):
    """A service does not run; the text says which, and how it ended."""


async def supervise(children: Sequence[Child], say: Say, on_ready: Callable[[], None]) -> int:
    """Keeps the children running until a signal says stop, then stops them in their order.

    Calls `on_ready` once all are ready for the first time. Returns the exit code: 0, or 1 where one does not
    run.
    """
    stopping, hurry = asyncio.Event(), asyncio.Event()
    heed_signals(stopping, hurry)
    try:
        gave_up = await run_until(stopping, children, say, on_ready)
        for error in gave_up:
            sys.stderr.write(f"palaver: {error}\n")
        say("Stopping …")
    finally:
        for child in children:
            if not await child.stop(hurry):
                say(f"[red]{child.name}[/] did not stop in time and was killed.")
    return 1 if gave_up else 0


async def run_until(
    stopping: asyncio.Event, children: Sequence[Child], say: Say, on_ready: Callable[[], None]
) -> list[BaseException]:
    """Keeps the children running until told to stop, or until one can't be. Returns why it can't."""
    ready = {child.name: asyncio.Event() for child in children}
    tasks = [asyncio.create_task(keep_running(child, say, ready[child.name])) for child in children]
    announcing = asyncio.create_task(announce(list(ready.values()), on_ready))
    until = asyncio.create_task(stopping.wait())
    done, _ = await asyncio.wait({*tasks, until}, return_when=asyncio.FIRST_COMPLETED)
    for task in (*tasks, announcing, until):
        task.cancel()
    return [error for task in done if (error := task.exception())]


def heed_signals(stopping: asyncio.Event, hurry: asyncio.Event) -> None:
    """The first SIGINT, SIGTERM or SIGHUP sets `stopping`; one that comes later sets `hurry`."""
    loop = asyncio.get_running_loop()
    told_at: float | None = None

    def receive_signal() -> None:
        nonlocal told_at
        if told_at is None:
            told_at = loop.time()
            stopping.set()
        elif loop.time() - told_at >= HURRY_AFTER_SECONDS:
            hurry.set()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # nohup has SIGHUP ignored, and wants it to stay so
        if signal.getsignal(number) is not signal.SIG_IGN:
            loop.add_signal_handler(number, receive_signal)


async def announce(ready: Sequence[asyncio.Event], on_ready: Callable[[], None]) -> None:
    """Calls `on_ready` when all are ready."""
    for event in ready:
        await event.wait()
    on_ready()


async def keep_running(child: Child, say: Say, ready: asyncio.Event) -> None:
    """Starts the child again whenever it dies, with growing pauses. Sets `ready` the first time that it is.

    Raises `GaveUpError`: it dies too often, or died before it was ever ready, which no restart will mend.
    """
    restarts = Restarts()
    while True:
        child.start()
        watching = asyncio.create_task(watch_ready(child, say, restarts, ready))
        try:
            code = await child.wait_exit()
        finally:
            watching.cancel()
        pause = restarts.pause_after_death(time.monotonic()) if ready.is_set() else None
        if pause is None:
            raise GaveUpError(last_words(child, code, ready.is_set()))
        say(f"[red]{child.name}[/] {ending(code)}; starting it again in {pause:g} s.")
        await asyncio.sleep(pause)


async def watch_ready(child: Child, say: Say, restarts: Restarts, ready: asyncio.Event) -> None:
    """Notes when a started child is ready."""
    await child.wait_ready()
    restarts.note_ready(time.monotonic())
    if ready.is_set():
        say(f"[green]{child.name}[/] is ready again.")
    ready.set()


def ending(code: int) -> str:
    """An exit code in words."""
    return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"


def last_words(child: Child, code: int, was_ready: bool) -> str:
    """Why a child is given up, with the end of its log."""
    when = "again and again" if was_ready else "before it was ready"
    return f"{child.name} {ending(code)} {when}. The end of {child.log_file}:\n{child.log_tail()}"
