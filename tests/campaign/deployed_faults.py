"""The faults of a campaign on a deployment: one process at a time, of services and engines, fails."""

import asyncio
import random
import signal
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from tests.harness.killable_deployment import Deployment

ENGINES = ("redis", "mariadb")
# A service is killed twice as often as it is frozen
SERVICE_FAULTS = ("kill", "kill", "freeze")
ENGINE_FAULTS = ("kill redis", "freeze redis", "flush redis", "kill mariadb", "freeze mariadb")


@dataclass(frozen=True)
class Pace:
    """Seconds between faults, and of a freeze; how many faults there are to a long stall of MariaDB."""

    between: tuple[float, float] = (0.0, 1.0)
    frozen: tuple[float, float] = (0.1, 3.0)
    down: tuple[float, float] = (0.0, 0.5)
    faults_a_stall: int = 150
    stall_seconds: float = 30.0


def deal(chance: random.Random, services: Sequence[str]) -> Iterator[str]:
    """Faults without end: each kind once before any comes again, in random order."""
    deck = [f"{verb} {name}" for name in services for verb in SERVICE_FAULTS] + [*ENGINE_FAULTS, "cut"]
    while True:
        yield from chance.sample(deck, len(deck))


async def run_faults(
    deployment: Deployment,
    faults: int,
    pace: Pace,
    chance: random.Random,
    cut: Callable[[], None],
    on_stall: Callable[[], "asyncio.Task[None]"],
) -> Counter[str]:
    """Lets so many faults happen. Returns how often each kind happened, and the sum as `kills`.

    `cut`: loses clients' connections. `on_stall`: sends while MariaDB stands still for long.
    """
    happened: Counter[str] = Counter()
    for number, fault in enumerate(deal(chance, list(deployment.services)), 1):
        await asyncio.sleep(chance.uniform(*pace.between))
        verb, _, name = fault.partition(" ")
        if verb == "cut":
            cut()
        elif verb == "flush":
            await asyncio.to_thread(deployment.redis.command, "FLUSHALL")
        elif verb == "kill":
            await kill(deployment, name, chance.uniform(*pace.down))
        else:
            await freeze(deployment, name, chance.uniform(*pace.frozen))
        happened[fault] += 1
        happened["kills"] += verb in ("kill", "freeze")
        if happened["kills"] and number % pace.faults_a_stall == 0:
            sending = on_stall()
            await freeze(deployment, "mariadb", pace.stall_seconds)
            await sending
            happened["stall mariadb"] += 1
            happened["kills"] += 1
        if happened["kills"] >= faults:
            return happened
    return happened


async def kill(deployment: Deployment, name: str, down: float) -> None:
    """`kill -9`. An engine is started again after `down` seconds, a service at once.

    A service may still be starting, which is a moment like any other.
    """
    if name not in ENGINES:
        deployment.services[name].send_signal(signal.SIGKILL)
        return
    if name == "redis":
        await asyncio.to_thread(deployment.redis.kill)
        await asyncio.sleep(down)
        await asyncio.to_thread(deployment.redis.start)
        return
    await asyncio.to_thread(deployment.mariadb.stop, signal.SIGKILL)
    await asyncio.sleep(down)
    await asyncio.to_thread(deployment.mariadb.start)


async def freeze(deployment: Deployment, name: str, seconds: float) -> None:
    """Stops a process for a while, as a paused virtual machine is."""
    engine = {"redis": deployment.redis, "mariadb": deployment.mariadb}.get(name)
    frozen = engine or deployment.services[name]
    frozen.send_signal(signal.SIGSTOP)
    try:
        await asyncio.sleep(seconds)
    finally:
        frozen.send_signal(signal.SIGCONT)
