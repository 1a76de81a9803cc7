"""The shapes of load, and what was asked of each."""

import time
from collections.abc import Callable
from typing import Any

from bench.beside.shapes import add_floor, measure_ejabberd
from bench.figures import at_least, at_most
from bench.growth import fill
from bench.rounds import Bench, Loaded, relay, run_load
from bench.server import CHEAP_HASHES, Server, Usage

GENERATIONS = ("v1", "v2")
ON_EJABBERD = ("one", "pairs", "paced")
ONE = {"pairs": 1, "in_flight": 1}
PAIRS = {"pairs": 50, "in_flight": 8}
PACED = {"pairs": 50, "rate": 100}
V2_RATE = at_least(0.9)
V2_LATENCY = at_most(1.1)
GROWTH = at_most(1.2)
TELEMETRY = {
    "off": {"PALAVER_TELEMETRY__TRACES": "false", "PALAVER_TELEMETRY__ACCESS_LOG": "false"},
    "default": {},
    "all": {"PALAVER_TELEMETRY__SAMPLE_RATIO": "1"},
}


def one(bench: Bench) -> None:
    """One pair, one message in flight; and what an fsync and a relay take."""
    for suffix, source in bench.rounds():
        done: dict[str, Loaded] = {}
        for generation in GENERATIONS:
            shape = f"1 pair, {generation}{suffix}"
            with bench.server(source) as server:
                loaded = done[generation] = talk(bench, server, "pairs", generation, **ONE)
            bench.add_rate(shape, "messages", loaded)
            bench.add_latency(shape, loaded, p50=at_most(1.2))
            bench.add_cpu(shape, "messages", loaded)
            if source is None:
                relayed = measure_relay(bench, f"1 pair on a relay, {generation}", generation, ONE)
                add_floor(bench, shape, relayed)
        compare_latency(bench, f"1 pair, v2 : v1{suffix}", done)
        if source is None:
            measure_ejabberd(bench, "1 pair", "pairs", talk_options(bench, "xmpp", **ONE))


def pairs(bench: Bench) -> None:
    """50 pairs with 8 messages in flight each, and a relay that stores nothing."""
    for suffix, source in bench.rounds():
        done: dict[str, Loaded] = {}
        for generation in GENERATIONS:
            shape = f"50 pairs of 8, {generation}{suffix}"
            with bench.server(source) as server:
                loaded = done[generation] = talk(bench, server, "pairs", generation, **PAIRS)
            bench.add_rate(shape, "messages", loaded, at_least(15_000))
            bench.add_latency(shape, loaded, p99=at_most(30))
            bench.add_cpu(shape, "messages", loaded)
            bench.figures.add(shape, "lost", "messages", loaded.result["lost"], at_most(0))
            if source is None:
                measure_relay(bench, f"a relay that stores nothing, {generation}", generation, PAIRS)
        ratio = done["v2"].rate / done["v1"].rate
        bench.figures.add(f"50 pairs of 8, v2 : v1{suffix}", "rate", "", ratio, V2_RATE)
        if source is None:
            measure_ejabberd(bench, "50 pairs of 8", "pairs", talk_options(bench, "xmpp", **PAIRS))


def measure_relay(bench: Bench, shape: str, generation: str, pairs: dict[str, int]) -> Loaded:
    """The ceiling: the same load on a relay."""
    with relay() as (address, usage):
        options = talk_options(bench, generation, **pairs, relay=True)
        loaded = run_load("pairs", address, options, usage)
    bench.add_rate(shape, "messages", loaded)
    bench.add_latency(shape, loaded)
    bench.add_cpu(shape, "messages", loaded)
    return loaded


def telemetry(bench: Bench) -> None:
    """50 pairs with 8 messages in flight each: no telemetry, its default, and every message traced."""
    for suffix, source in bench.rounds():
        for generation in GENERATIONS:
            done: dict[str, Loaded] = {}
            for name, settings in TELEMETRY.items():
                shape = f"50 pairs of 8, {generation}, telemetry {name}{suffix}"
                with bench.server(source, {**CHEAP_HASHES, **settings}) as server:
                    loaded = done[name] = talk(bench, server, "pairs", generation, **PAIRS)
                bench.add_rate(shape, "messages", loaded)
                bench.add_latency(shape, loaded)
                bench.add_cpu(shape, "messages", loaded)
            for name, asked in (("default", at_least(0.95)), ("all", at_least(0.5))):
                ratio = done[name].rate / done["off"].rate
                shape = f"50 pairs of 8, {generation}, telemetry {name} : off{suffix}"
                bench.figures.add(shape, "rate", "", ratio, asked)


def paced(bench: Bench) -> None:
    """100 messages a second over 50 pairs."""
    for suffix, source in bench.rounds():
        done: dict[str, Loaded] = {}
        for generation in GENERATIONS:
            shape = f"paced 100/s, {generation}{suffix}"
            with bench.server(source) as server:
                loaded = done[generation] = talk(bench, server, "paced", generation, **PACED)
            bench.add_rate(shape, "messages", loaded)
            bench.add_latency(shape, loaded, p50=at_most(2), p99=at_most(8))
            bench.add_cpu(shape, "messages", loaded)
        compare_latency(bench, f"paced 100/s, v2 : v1{suffix}", done)
        if source is None:
            measure_ejabberd(bench, "paced 100/s", "paced", talk_options(bench, "xmpp", **PACED))


def talk(bench: Bench, server: Server, load: str, generation: str, **options: Any) -> Loaded:
    """One run of pairs that talk."""
    return bench.load(server, load, **talk_options(bench, generation, **options))


def talk_options(bench: Bench, generation: str, **options: Any) -> dict[str, Any]:
    """What every load of pairs needs to be told."""
    times = {"seconds": bench.seconds(10, 3), "warm_seconds": bench.seconds(2, 1)}
    return {"generation": generation, **times, **options}


def compare_latency(bench: Bench, shape: str, done: dict[str, Loaded]) -> None:
    """v2's median latency by v1's."""
    ratio = done["v2"].result["latency_ms"]["p50"] / done["v1"].result["latency_ms"]["p50"]
    bench.figures.add(shape, "p50", "", ratio, V2_LATENCY)


def sign_in(bench: Bench) -> None:
    """8 sign-ins in parallel, by what the password hash alone gives just before and just after."""
    for suffix, source in bench.rounds():
        shape = f"sign-in, 8 parallel{suffix}"
        seconds = bench.seconds(8, 3)
        with bench.server(source, settings={}) as server:
            before = hash_rate(seconds / 2)
            loaded = bench.load(server, "sign_in", parallel=8, seconds=seconds, warm_seconds=1)
            after = hash_rate(seconds / 2)
        alone = (before + after) / 2
        bench.add_rate(shape, "sign-ins", loaded)
        bench.figures.add(shape, "hash alone", "hashes/s", alone)
        bench.figures.add(shape, "sign-ins : hashes alone", "", loaded.rate / alone, at_least(0.9))
        bench.add_latency(shape, loaded)
        bench.add_cpu(shape, "sign-ins", loaded)


def hash_rate(seconds: float) -> float:
    """Password hashes a second with the settings' cost and threads."""
    return run_load("hash", ("", 0), {"seconds": seconds}).rate


def history(bench: Bench) -> None:
    """The last 50 messages of a chat of 100,000, read by 8 in parallel."""
    total = 10_000 if bench.quick else 100_000
    with bench.servers() as servers:
        pages = {}
        for suffix, server in servers.items():
            filled = bench.load(server, "fill", total=total).result
            rate = filled["total"] / filled["seconds"]
            bench.figures.add(f"filling a chat, 100 a frame{suffix}", "rate", "messages/s", rate)
            pages[suffix] = {name: filled[name] for name in ("chat_id", "token", "total")}
        for suffix, _ in bench.rounds():
            done: dict[str, Loaded] = {}
            for generation in GENERATIONS:
                shape = f"last 50 messages of {total:,}, 8 readers, {generation}{suffix}"
                options = {"seconds": bench.seconds(6, 2), "warm_seconds": 1, **pages[suffix]}
                loaded = bench.load(servers[suffix], "history", generation=generation, readers=8, **options)
                done[generation] = loaded
                bench.add_rate(shape, "reads", loaded, at_least(1_500))
                bench.add_latency(shape, loaded)
                bench.add_cpu(shape, "reads", loaded)
            ratio = done["v2"].rate / done["v1"].rate
            bench.figures.add(f"last 50 messages, v2 : v1{suffix}", "rate", "", ratio, V2_RATE)


def start(bench: Bench) -> None:
    """From the command to readiness: with no data, and with what the last start left."""
    for suffix, source in bench.rounds():
        with bench.stopped_server(source) as server:
            for what in ("no data", "data of an earlier start"):
                shape = f"start, {what}{suffix}"
                took = server.start()
                used = server.cpu_seconds()
                server.stop()
                bench.figures.add(shape, "to ready", "s", took, at_most(1.2))
                for name, seconds in {**used, "all": sum(used.values())}.items():
                    bench.figures.add(shape, f"cpu of {name}, to ready", "s", seconds)
                bench.say(f"  {shape}: {took:.2f} s, CPU {sum(used.values()):.2f} s {used}")


def nobody(bench: Bench) -> None:
    """Nobody is connected: what each process uses by itself."""
    seconds = bench.seconds(30, 5)
    for suffix, source in bench.rounds():
        with bench.server(source, settings={}) as server:
            time.sleep(5)
            before = server.cpu_seconds()
            time.sleep(seconds)
            after = server.cpu_seconds()
        for name, used in after.items():
            minute = (used - before[name]) * 60 / seconds
            bench.figures.add(f"nobody there{suffix}", f"cpu of {name}", "s/minute", minute)
            bench.say(f"  nobody there{suffix}: {name} {minute:.3f} s/minute")


def idle(bench: Bench) -> None:
    """2,000 sockets that say nothing: what they add to the memory of gateway and messenger."""
    sockets = 200 if bench.quick else 2_000
    for suffix, source in bench.rounds():
        for generation in GENERATIONS:
            shape = f"{sockets:,} idle sockets, {generation}{suffix}"
            options = {"sockets": sockets, "sockets_a_user": 20, "settle_seconds": bench.seconds(3, 1)}
            with bench.server(source) as server:
                loaded = bench.load(server, "idle", generation=generation, **options)
            for kind, asked in (("uss", at_most(30)), ("pss", None), ("rss", None)):
                each = memory_each(loaded.before, loaded.after, kind, sockets)
                bench.figures.add(
                    shape, f"{kind}, gateway + messenger", "KiB each", sum(each.values()), asked
                )
            half = memory_each(loaded.middle, loaded.after, "uss", sockets - sockets // 2)
            name = "uss, gateway + messenger, of the second half"
            bench.figures.add(shape, name, "KiB each", sum(half.values()), at_most(30))
            for name, value in half.items():
                bench.figures.add(shape, f"uss, {name}, of the second half", "KiB each", value)
            bench.say(f"  {shape}: {half} KiB each")
            bench.figures.add(shape, "opened", "sockets/s", loaded.result["opened_per_second"])


def memory_each(
    before: dict[str, Usage], after: dict[str, Usage], kind: str, sockets: int
) -> dict[str, float]:
    """KiB that each socket added to the memory of both services that know it."""
    return {
        name: (getattr(after[name], kind) - getattr(before[name], kind)) / 1024 / sockets
        for name in ("gateway", "messenger")
    }


def group(bench: Bench) -> None:
    """A group of 500, all online: from one member's send to the last of the other 499 sockets."""
    members = 50 if bench.quick else 500
    for suffix, source in bench.rounds():
        for generation in GENERATIONS:
            shape = f"group of {members}, {generation}{suffix}"
            options = {"members": members, "messages": 50, "warm_messages": 10, "pause_seconds": 0.05}
            with bench.server(source) as server:
                loaded = bench.load(server, "group", generation=generation, **options)
            bench.add_latency(shape, loaded, p50=at_most(30))
            bench.add_cpu(shape, "messages", loaded)
            bench.say(f"  {shape}: {loaded.result['latency_ms']}")


def growth(bench: Bench) -> None:
    """Sends, reads and lists where there is little, and where there is much."""
    messages = (1_000, 20_000 if bench.quick else 1_000_000)
    chats = (10, 1_000 if bench.quick else 10_000)
    sizes = {"send": messages, "last 50": messages, "chats": chats}
    with bench.servers() as servers:
        plants = {}
        for suffix, server in servers.items():
            plants[suffix] = bench.load(server, "plant").result
            server.stop()
            took = fill(server.data_dir, plants[suffix], messages, chats)
            bench.say(f"  filled in {took:.0f} s")
            server.start()
        turns = {"turns": 100 if bench.quick else 400, "warm_turns": 50}
        for suffix, _ in bench.rounds():
            options = {"plants": plants[suffix], **turns}
            result = bench.load(servers[suffix], "growth", generation="v1", **options).result
            for name, (small, large) in sizes.items():
                shape = f"growth of {name}, {small:,} to {large:,}{suffix}"
                add_growth(bench, shape, *(result[size][name]["p50"] for size in ("small", "large")))


def add_growth(bench: Bench, shape: str, small: float, large: float) -> None:
    """Medians of the small and the large one, and their ratio."""
    bench.figures.add(shape, "p50, small", "ms", small)
    bench.figures.add(shape, "p50, large", "ms", large)
    bench.figures.add(shape, "large : small", "", large / small, GROWTH)
    bench.say(f"  {shape}: {small:.2f} ms to {large:.2f} ms")


SHAPES: dict[str, Callable[[Bench], None]] = {
    "one": one,
    "pairs": pairs,
    "telemetry": telemetry,
    "paced": paced,
    "sign-in": sign_in,
    "history": history,
    "start": start,
    "nobody": nobody,
    "idle": idle,
    "group": group,
    "growth": growth,
}
