"""Load on REST: sign-ins, pages of history, lists of chats; and what a password hash alone gives."""

import asyncio
import json
import os
import threading
import time
from itertools import cycle
from typing import Any

from bench.figures import percentiles
from bench.people import PASSWORD, Address, make_pairs, make_users
from bench.talk import ATTACH_SECONDS, PATHS, Tally, Told
from bench.wire import MARK, Http, frame_of, open_http, open_socket, request_of

MESSAGES_A_FRAME = 100
FRAMES_IN_FLIGHT = 4
PAGE = 50


async def run_sign_in(address: Address, options: dict[str, Any], tell: Told) -> dict[str, Any]:
    """Some users sign in again and again, each on a connection of their own."""
    users = await make_users(address, options["parallel"], options["name"])
    requests = [
        request_of(
            "POST", "/v2/sessions", body=json.dumps({"email": user.email, "password": PASSWORD}).encode()
        )
        for user in users
    ]
    return await ask_for_a_while(address, requests, options, tell)


async def run_history(address: Address, options: dict[str, Any], tell: Told) -> dict[str, Any]:
    """Some readers read the last messages of one chat, each on a connection of their own."""
    request = last_page_request(options["generation"], options["chat_id"], options["token"], options["total"])
    http = await open_http(address)
    status, answer = await http.ask(request)
    http.transport.close()
    if status != 200 or answer.count(MARK) != PAGE:
        raise RuntimeError(f"no page of {PAGE} messages: {status} {answer[:300]!r}")
    return await ask_for_a_while(address, [request] * options["readers"], options, tell)


def last_page_request(generation: str, chat_id: str, token: str, total: int) -> bytes:
    """Asks for the last messages of a chat, as clients of that generation do."""
    if generation == "v2":
        return request_of("GET", f"/v2/chats/{chat_id}/messages?limit={PAGE}", token)
    query = f"chat_id={chat_id}&limit={PAGE}&offset={max(total - PAGE, 0)}"
    return request_of("GET", f"/messenger/messages?{query}", token, bearer=False)


async def ask_for_a_while(
    address: Address, requests: list[bytes], options: dict[str, Any], tell: Told
) -> dict[str, Any]:
    """One connection for each request, which is repeated as soon as it is answered."""
    tally = Tally()

    async def work(request: bytes) -> None:
        http = await open_http(address)
        while tally.sending:
            start = time.perf_counter_ns()
            status, answer = await http.ask(request)
            if not 200 <= status < 300:
                raise RuntimeError(f"{request.split(b' HTTP')[0]!r}: {status} {answer[:300]!r}")
            if tally.counting:
                tally.latencies.append(time.perf_counter_ns() - start)
        http.transport.close()

    workers = asyncio.gather(*(work(request) for request in requests))
    await asyncio.wait([workers], timeout=options["warm_seconds"])
    tell("begin")
    cpu, begun = time.process_time(), time.perf_counter()
    tally.counting = True
    await asyncio.wait([workers], timeout=options["seconds"])
    tally.counting = tally.sending = False
    cpu, seconds = time.process_time() - cpu, time.perf_counter() - begun
    tell("end")
    await workers
    return {
        "messages": len(tally.latencies),
        "seconds": seconds,
        "load_cpu_seconds": cpu,
        "latency_ms": percentiles([ns / 1e6 for ns in tally.latencies]),
    }


async def run_hash(_address: Address, options: dict[str, Any], _tell: Told) -> dict[str, Any]:
    """Verifies passwords on `threads` threads and does nothing else."""
    # Imported here: other loads need not pay for them
    from argon2 import PasswordHasher

    from palaver.runtime.settings.auth import AuthSettings

    settings = AuthSettings()
    hasher = PasswordHasher(
        settings.argon2_time_cost, settings.argon2_memory_kib, settings.argon2_parallelism
    )
    hashed = hasher.hash(PASSWORD)
    until = time.perf_counter() + options["seconds"]
    done: list[float] = []

    def work() -> None:
        while time.perf_counter() < until:
            hasher.verify(hashed, PASSWORD)
            done.append(time.perf_counter())

    start = time.perf_counter()
    threads = [threading.Thread(target=work) for _ in range(settings.hashing_threads or os.cpu_count() or 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {"messages": len(done), "seconds": time.perf_counter() - start, "threads": len(threads)}


async def run_fill(address: Address, options: dict[str, Any], _tell: Told) -> dict[str, Any]:
    """Fills one chat through a v1 socket, and gives its id, a reader's token and how long it took."""
    (pair,) = await make_pairs(address, 1, options["name"])
    total, received = options["total"], 0
    news = asyncio.Event()

    def heard(data: bytes, start: int, end: int) -> None:
        nonlocal received
        received += data.count(MARK, start, end)
        news.set()

    path = PATHS["v1"]
    receiver = await open_socket(address, f"{path}?token={pair.recipient.token}", heard)
    sender = await open_socket(address, f"{path}?token={pair.sender.token}")
    await asyncio.sleep(ATTACH_SECONDS)
    message = {"text": f"{MARK.decode()} {'x' * 60}", "status": "created"}
    payload = json.dumps({"chat_id": pair.chat_id, "messages": [message] * MESSAGES_A_FRAME})
    frame = frame_of(
        json.dumps({"topic": "messenger", "action": "send-message", "payload": payload}).encode()
    )
    start, sent = time.perf_counter(), 0
    while received < total:
        while sent < total and sent - received < FRAMES_IN_FLIGHT * MESSAGES_A_FRAME:
            sender.write(frame)
            sent += MESSAGES_A_FRAME
        news.clear()
        async with asyncio.timeout(30):
            await news.wait()
    seconds = time.perf_counter() - start
    for socket in (sender, receiver):
        socket.transport.close()
    return {"chat_id": pair.chat_id, "token": pair.recipient.token, "seconds": seconds, "total": total}


async def run_idle(address: Address, options: dict[str, Any], tell: Told) -> dict[str, Any]:
    """Opens sockets that say nothing. The bench looks at the memory at `begin`, `middle` and `end`."""
    users = await make_users(address, -(-options["sockets"] // options["sockets_a_user"]), options["name"])
    path = PATHS[options["generation"]]
    tokens = cycle(user.token for user in users)

    async def opened(number: int) -> list[Any]:
        return [await open_socket(address, f"{path}?token={next(tokens)}") for _ in range(number)]

    # What the first sockets cost once (code, pools, caches) is not a socket's memory
    for socket in await opened(len(users)):
        socket.transport.close()
    await asyncio.sleep(options["settle_seconds"])
    tell("begin")
    await asyncio.sleep(1)
    start = time.perf_counter()
    sockets = await opened(options["sockets"] // 2)
    seconds = time.perf_counter() - start
    await asyncio.sleep(options["settle_seconds"])
    # The first sockets may live in memory that sign-ups left free; those from here on can't
    tell("middle")
    await asyncio.sleep(1)
    sockets += await opened(options["sockets"] - len(sockets))
    await asyncio.sleep(options["settle_seconds"])
    tell("end")
    await asyncio.sleep(1)
    closed = [socket.closed for socket in sockets if socket.closed]
    if closed:
        raise RuntimeError(f"{len(closed)} sockets closed: {closed[0]}")
    for socket in sockets:
        socket.transport.close()
    return {"sockets": len(sockets), "opened_per_second": options["sockets"] // 2 / seconds}


async def timed(http: Http, request: bytes) -> float:
    """How many ms an answer takes. Raises `RuntimeError` where it is no 2xx."""
    start = time.perf_counter_ns()
    status, answer = await http.ask(request)
    took = (time.perf_counter_ns() - start) / 1e6
    if not 200 <= status < 300:
        raise RuntimeError(f"{request.split(b' HTTP')[0]!r}: {status} {answer[:300]!r}")
    return took
