"""Keeps child processes running, and stops them in order."""

import asyncio
import signal
import sys
import time
from collections.abc import Callable, Sequence

from palaver.runtime.child_process import Child, ChildProcess
from palaver.runtime.restart_policy import Restarts
from palaver.runtime.startup import FINAL_CODE

# A second Ctrl-C this much later means "at once"; earlier it is the same one: `timeout` and `make` send two.
HURRY_AFTER_SECONDS = 1.0

# What an error on stderr begins with
COMMAND = "palaver: "

# Shows a line to the operator, with rich's markup
Notify = Callable[[str], None]


class GaveUpError(Exception):
    """A service does not run. The text names it, and how it ended."""


async def supervise(children: Sequence[Child], notify: Notify, on_ready: Callable[[], None]) -> int:
    """Keeps the children running until a signal, then stops them in their order.

    Calls `on_ready` once all are ready for the first time. Returns the exit code: 0, or 1 where one does not
    run.
    """
    stopping, hurry = asyncio.Event(), asyncio.Event()
    handle_signals(stopping, hurry)
    # By name: the newest run of each child that was ever started
    running: dict[str, ChildProcess] = {}
    try:
        gave_up = await run_until(stopping, children, running, notify, on_ready)
        for error in gave_up:
            sys.stderr.write(f"{COMMAND}{error}\n")
        notify("Stopping …")
    finally:
        for child in children:
            if child.name in running and not await running[child.name].stop(hurry):
                notify(f"[red]{child.name}[/] did not stop in time and was killed.")
    return 1 if gave_up else 0


async def run_until(
    stopping: asyncio.Event,
    children: Sequence[Child],
    running: dict[str, ChildProcess],
    notify: Notify,
    on_ready: Callable[[], None],
) -> list[BaseException]:
    """Keeps the children running until `stopping` is set, or until one is given up. Returns why."""
    ready = {child.name: asyncio.Event() for child in children}
    tasks = [
        asyncio.create_task(keep_running(child, running, notify, ready[child.name])) for child in children
    ]
    waiting = asyncio.create_task(call_when_ready(list(ready.values()), on_ready))
    until = asyncio.create_task(stopping.wait())
    done, _ = await asyncio.wait({*tasks, until}, return_when=asyncio.FIRST_COMPLETED)
    for task in (*tasks, waiting, until):
        task.cancel()
    return [error for task in done if (error := task.exception())]


def handle_signals(stopping: asyncio.Event, hurry: asyncio.Event) -> None:
    """The first SIGINT, SIGTERM or SIGHUP sets `stopping`; one that comes later sets `hurry`."""
    loop = asyncio.get_running_loop()
    stopped_at: float | None = None

    def receive_signal() -> None:
        nonlocal stopped_at
        if stopped_at is None:
            stopped_at = loop.time()
            stopping.set()
        elif loop.time() - stopped_at >= HURRY_AFTER_SECONDS:
            hurry.set()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # nohup has SIGHUP ignored, and wants it to stay so
        if signal.getsignal(number) is not signal.SIG_IGN:
            loop.add_signal_handler(number, receive_signal)


async def call_when_ready(ready: Sequence[asyncio.Event], on_ready: Callable[[], None]) -> None:
    """Calls `on_ready` when all are ready."""
    for event in ready:
        await event.wait()
    on_ready()


async def keep_running(
    child: Child, running: dict[str, ChildProcess], notify: Notify, ready: asyncio.Event
) -> None:
    """Starts the child again whenever it dies, with growing pauses. Sets `ready` the first time that it is.

    Raises `GaveUpError`: it dies too often, died before it was ever ready, or says itself that no restart
    will mend it.
    """
    restarts = Restarts()
    while True:
        process = running[child.name] = ChildProcess(child)
        watching = asyncio.create_task(watch_ready(child.name, process, notify, restarts, ready))
        try:
            code = await process.wait_exit()
        finally:
            watching.cancel()
        if code == FINAL_CODE:
            raise GaveUpError(last_words(process) or failure_of(child, process, code, ready.is_set()))
        pause = restarts.pause_after_death(time.monotonic()) if ready.is_set() else None
        if pause is None:
            raise GaveUpError(failure_of(child, process, code, ready.is_set()))
        notify(f"[red]{child.name}[/] {outcome_of(code)}; starting it again in {pause:g} s.")
        await asyncio.sleep(pause)


async def watch_ready(
    name: str, process: ChildProcess, notify: Notify, restarts: Restarts, ready: asyncio.Event
) -> None:
    """Notes when a started child is ready."""
    await process.wait_ready()
    restarts.note_ready(time.monotonic())
    if ready.is_set():
        notify(f"[green]{name}[/] is ready again.")
    ready.set()


def outcome_of(code: int) -> str:
    """An exit code, as text."""
    return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"


def last_words(process: ChildProcess) -> str:
    """The line with which a service said why it does not start; empty where it is not the last of its log."""
    line = process.log_tail.read(1)
    return line.removeprefix(COMMAND) if line.startswith(COMMAND) else ""


def failure_of(child: Child, process: ChildProcess, code: int, was_ready: bool) -> str:
    """Why a child is given up, with the end of its log."""
    when = "again and again" if was_ready else "before it was ready"
    return f"{child.name} {outcome_of(code)} {when}. The end of {child.log_file}:\n{process.log_tail.read()}"
