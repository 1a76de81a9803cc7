"""Load on sockets: pairs that talk, paced or as fast as they may, and one who talks to a group."""

import asyncio
import json
import time
from collections.abc import Callable
from itertools import count
from typing import Any

from bench.beside import xmpp
from bench.figures import percentiles
from bench.people import Address, Pair, ask_json, make_pairs, make_users, relay_pairs
from bench.wire import DIGITS, MARK, Socket, frame_of, open_http, open_socket

PATHS = {"v1": "/messenger/ws", "v2": "/v2/ws"}
ERRORS = {
    "v1": b'{"topic":"messenger","action":"error"',
    "v2": b'{"type":"error"',
    "xmpp": xmpp.ERROR,
}
# How an answer begins that says that a message is stored; v1 has none
ACKS = {"v2": b'{"type":"sent"', "xmpp": xmpp.ACKNOWLEDGEMENT}
PADDING = "The quick brown fox jumps over the lazy dog."
DRAIN_SECONDS = 10.0
# A socket is told of messages once the messenger knows it, which in v1 nothing says
ATTACH_SECONDS = 0.5

Told = Callable[[str], None]
# Of client ids: what is sent later sorts later, as in the UUIDv7s that clients make
_numbers = count(int(time.time()))


def text_template() -> str:
    """A message's text, with a place for the time of sending."""
    return f"{MARK.decode()}%0{DIGITS}d {PADDING}"


def template_of(generation: str, chat_id: str) -> bytes:
    """A whole frame, to be filled by `%` with (v1) the time or (v2, XMPP) a number and the time."""
    if generation == "xmpp":
        return xmpp.message_template(chat_id, text_template())
    if generation == "v1":
        message = {"text": text_template(), "status": "created"}
        payload = json.dumps({"chat_id": chat_id, "messages": [message]}, separators=(",", ":"))
        frame = {"topic": "messenger", "action": "send-message", "payload": payload}
        sample = json.dumps(frame, separators=(",", ":"))
        return frame_with_size(sample, sample % 0)
    sample = (
        f'{{"type":"send","chat_id":"{chat_id}","client_id":"%08x-0000-7000-8000-{chat_id[-12:]}",'
        f'"text":"{text_template()}"}}'
    )
    return frame_with_size(sample, sample % (0, 0))


def frame_with_size(sample: str, filled: str) -> bytes:
    """The frame of `sample` whose head tells the size of `filled`."""
    head = frame_of(filled.encode())[: -len(filled)]
    return head.replace(b"%", b"%%") + sample.encode()


class Talk:
    """One pair: up to `in_flight` messages on their way from the sender's socket to the recipient's."""

    def __init__(self, pair: Pair, generation: str, in_flight: int, tally: "Tally") -> None:
        self.pair = pair
        self.generation = generation
        # v1 has no place for a number of ours
        self.numbered = generation != "v1"
        self.template = template_of(generation, pair.chat_id)
        self.in_flight = in_flight
        self.tally = tally
        self.refused = ERRORS[generation]
        self.acked = ACKS.get(generation)

    async def open(self, address: Address) -> None:
        """Opens both sockets."""
        pair = self.pair
        self.receiver: Socket | xmpp.XmppSocket
        self.sender: Socket | xmpp.XmppSocket
        recipient, sender = pair.recipient.token, pair.sender.token
        if self.generation == "xmpp":
            self.receiver = await xmpp.open_xmpp(address, recipient, self.heard)
            self.sender = await xmpp.open_xmpp(address, sender, self.answered, acks=True)
            return
        path = PATHS[self.generation]
        self.receiver = await open_socket(address, f"{path}?token={recipient}", self.heard)
        self.sender = await open_socket(address, f"{path}?token={sender}", self.answered)

    def send(self) -> None:
        """Sends one message now."""
        now = time.perf_counter_ns()
        self.sender.write(self.template % ((next(_numbers), now) if self.numbered else now))
        self.tally.sent += 1

    def heard(self, data: bytes, start: int, end: int) -> None:
        """A frame for the recipient: takes its time, and sends the next."""
        at = data.find(MARK, start, end)
        if at < 0:
            return
        tally = self.tally
        tally.received += 1
        now = time.perf_counter_ns()
        if tally.counting:
            tally.latencies.append(now - int(data[at + 2 : at + 2 + DIGITS]))
        if tally.sending and self.in_flight:
            self.sender.write(self.template % ((next(_numbers), now) if self.numbered else now))
            tally.sent += 1

    def answered(self, data: bytes, start: int, end: int) -> None:
        """A frame for the sender: acknowledgements are counted, errors end the run."""
        if self.acked and data.startswith(self.acked, start):
            self.tally.acked += 1
        elif data.startswith(self.refused, start):
            self.tally.error = data[start:end].decode(errors="replace")

    @property
    def closed(self) -> str:
        """Why the server closed one of the sockets, or nothing."""
        return self.sender.closed or self.receiver.closed

    def close(self) -> None:
        """Closes both sockets."""
        for socket in (self.sender, self.receiver):
            socket.transport.close()


class Tally:
    """What all pairs of a run count together. Latencies in nanoseconds."""

    def __init__(self) -> None:
        self.sent = self.received = self.acked = 0
        self.sending = True
        self.counting = False
        self.latencies: list[int] = []
        self.error = ""


async def open_talks(address: Address, options: dict[str, Any], tally: Tally) -> list[Talk]:
    """Pairs with open sockets."""
    number = options["pairs"]
    if options["generation"] == "xmpp":
        pairs = xmpp.xmpp_pairs(number)
    elif options.get("relay"):
        pairs = relay_pairs(number)
    else:
        pairs = await make_pairs(address, number, options["name"])
    talks = [Talk(pair, options["generation"], options["in_flight"], tally) for pair in pairs]
    for talk in talks:
        await talk.open(address)
    await asyncio.sleep(ATTACH_SECONDS)
    return talks


async def run_pairs(address: Address, options: dict[str, Any], tell: Told) -> dict[str, Any]:
    """Each pair keeps its messages in flight for a while: how many arrive, and how late."""
    tally = Tally()
    talks = await open_talks(address, options, tally)
    for talk in talks:
        for _ in range(talk.in_flight):
            talk.send()
    return await measure(talks, tally, options, tell)


async def run_paced(address: Address, options: dict[str, Any], tell: Told) -> dict[str, Any]:
    """One message every 1/rate seconds, from each pair in turn, whether the last has arrived or not."""
    tally = Tally()
    talks = await open_talks(address, {**options, "in_flight": 0}, tally)
    pacer = asyncio.create_task(pace(talks, tally, options["rate"]))
    result = await measure(talks, tally, options, tell)
    result["late_ms"] = await pacer
    return result


async def pace(talks: list[Talk], tally: Tally, rate: float) -> float:
    """Sends until the tally says stop. The most that a send was late, in ms (timers have a step of 1 ms)."""
    loop = asyncio.get_running_loop()
    start = loop.time()
    late = 0.0
    for number in count():
        due = start + number / rate
        if (wait := due - loop.time()) > 0:
            await asyncio.sleep(wait)
        if not tally.sending:
            break
        late = max(late, loop.time() - due)
        talks[number % len(talks)].send()
    return late * 1000


async def measure(talks: list[Talk], tally: Tally, options: dict[str, Any], tell: Told) -> dict[str, Any]:
    """Warms up, counts for a while, stops, and waits for what is in flight."""
    await watch(tally, options["warm_seconds"])
    tell("begin")
    cpu, start, before = time.process_time(), time.perf_counter(), tally.received
    tally.counting = True
    await watch(tally, options["seconds"])
    tally.counting = tally.sending = False
    cpu, seconds, messages = time.process_time() - cpu, time.perf_counter() - start, tally.received - before
    tell("end")
    until = time.perf_counter() + DRAIN_SECONDS
    # An event would cost every message something
    while in_flight(talks, tally) and time.perf_counter() < until:  # noqa: ASYNC110 - see above
        await asyncio.sleep(0.01)
    if closed := [talk.closed for talk in talks if talk.closed]:
        raise RuntimeError(f"{len(closed)} pairs lost a socket: {closed[0]}")
    if talks[0].acked and tally.acked < tally.received:
        raise RuntimeError(f"{tally.received - tally.acked} delivered messages were not acknowledged")
    for talk in talks:
        talk.close()
    return {
        "messages": messages,
        "seconds": seconds,
        "load_cpu_seconds": cpu,
        "sent": tally.sent,
        "lost": tally.sent - tally.received,
        "latency_ms": percentiles([ns / 1e6 for ns in tally.latencies]),
    }


def in_flight(talks: list[Talk], tally: Tally) -> bool:
    """Whether a message is still to be delivered, or to be acknowledged where they are."""
    done = min(tally.received, tally.acked) if talks[0].acked else tally.received
    return done < tally.sent


async def watch(tally: Tally, seconds: float) -> None:
    """Waits. Raises `RuntimeError` with what the server said where it refused a message."""
    until = time.perf_counter() + seconds
    while (left := until - time.perf_counter()) > 0:
        await asyncio.sleep(min(left, 0.5))
        if tally.error:
            raise RuntimeError(f"a message was refused: {tally.error}")


async def run_group(address: Address, options: dict[str, Any], tell: Told) -> dict[str, Any]:
    """One member of a group with everybody online sends, one message after the other."""
    users = await make_users(address, options["members"], options["name"])
    http = await open_http(address)
    body = {"title": "Everybody", "member_ids": [user.id for user in users[1:]]}
    chat = await ask_json(http, "POST", "/v2/chats", users[0].token, body)
    generation = options["generation"]
    left = 0
    last: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def heard(data: bytes, start: int, end: int) -> None:
        nonlocal left
        if data.find(MARK, start, end) >= 0:
            left -= 1
            if not left:
                last.set_result(time.perf_counter_ns())

    sockets: list[Socket] = []
    for user in users:
        listen = heard if user is not users[0] else None
        sockets.append(await open_socket(address, f"{PATHS[generation]}?token={user.token}", listen))
    await asyncio.sleep(ATTACH_SECONDS)
    template = template_of(generation, chat["id"])
    latencies: list[float] = []
    for number in range(-options["warm_messages"], options["messages"]):
        if not number:
            tell("begin")
            cpu, start = time.process_time(), time.perf_counter()
        last = asyncio.get_running_loop().create_future()
        left = len(users) - 1
        now = time.perf_counter_ns()
        sockets[0].write(template % ((next(_numbers), now) if generation == "v2" else now))
        async with asyncio.timeout(DRAIN_SECONDS):
            took = await last - now
        if number >= 0:
            latencies.append(took / 1e6)
        await asyncio.sleep(options["pause_seconds"])
    cpu, seconds = time.process_time() - cpu, time.perf_counter() - start
    tell("end")
    for socket in sockets:
        socket.transport.close()
    return {
        "messages": options["messages"],
        "seconds": seconds,
        "load_cpu_seconds": cpu,
        "latency_ms": percentiles(latencies),
    }
