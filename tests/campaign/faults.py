"""The faults of a campaign: processes killed and frozen, connections cut, at random moments."""

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import Sequence

import psutil

from palaver.client import PalaverError
from tests.campaign.writers import Writer
from tests.harness.palaver_process import SERVICES, PalaverProcess, is_gone
from tests.harness.waiting import wait_until

# What happens once in each round, in random order
ROUND = (*(f"kill {service}" for service in SERVICES), "kill all", "freeze", "cut")
SECONDS_BETWEEN = (0.0, 1.2)
SECONDS_FROZEN = (0.1, 2.0)
# Between waves the services are left alone for so long that the supervisor forgets their deaths: it pauses
# longer after each, and after the tenth in a row gives up. A round kills each of them twice.
CALM_SECONDS = 5.5
RESTART_SECONDS = 60.0


async def run_wave(
    palaver: PalaverProcess, writers: Sequence[Writer], rounds: int, chance: random.Random
) -> Counter[str]:
    """Lets every kind of fault happen once in each round. Returns how often each happened.

    `kills` is the number of processes that were killed.
    """
    happened: Counter[str] = Counter()
    for kind in [kind for _ in range(rounds) for kind in chance.sample(ROUND, len(ROUND))]:
        await asyncio.sleep(chance.uniform(*SECONDS_BETWEEN))
        verb, _, name = kind.partition(" ")
        if verb == "kill":
            killed = await asyncio.to_thread(kill, palaver, SERVICES if name == "all" else (name,))
            happened["kills"] += killed
        elif verb == "freeze":
            kind = f"freeze {await freeze(palaver, chance)}"
        else:
            for writer in writers:
                writer.cut()
        happened[kind] += 1
    await wait_restarted(palaver, writers)
    return happened


def kill(palaver: PalaverProcess, services: Sequence[str]) -> int:
    """`kill -9` of services at one moment. Returns how many processes that were, when they are gone.

    They may still be starting, which is a moment like any other.
    """
    wait_until(lambda: set(services) <= set(palaver.pids), f"{services} run", RESTART_SECONDS)
    victims = [psutil.Process(pid) for name, pid in palaver.pids.items() if name in services]
    for victim in victims:
        with contextlib.suppress(psutil.NoSuchProcess):
            victim.kill()
    wait_until(lambda: all(map(is_gone, victims)), "the killed are gone")
    return len(victims)


async def freeze(palaver: PalaverProcess, chance: random.Random) -> str:
    """Stops a service for a while, as a paused virtual machine is. Returns its name."""
    name = chance.choice(SERVICES)
    pid = palaver.pids.get(name)
    seconds = chance.uniform(*SECONDS_FROZEN)
    if pid is not None:
        with contextlib.suppress(psutil.NoSuchProcess):
            frozen = psutil.Process(pid)
            frozen.suspend()
            try:
                await asyncio.sleep(seconds)
            finally:
                frozen.resume()
    return name


async def wait_restarted(palaver: PalaverProcess, writers: Sequence[Writer]) -> None:
    """Returns when every service answers everybody again."""
    async with asyncio.timeout(RESTART_SECONDS):
        for writer in writers:
            while True:
                try:
                    await writer.client.me()
                    await writer.client.chats()
                    break
                except PalaverError:
                    await asyncio.sleep(0.1)
    await asyncio.to_thread(wait_until, lambda: len(palaver.pids) == len(SERVICES), "all services run")
