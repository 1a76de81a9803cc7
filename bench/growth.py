"""Does it slow down as it grows: a small and a large one of each, side by side on one server.

What is large is written straight into the stopped server's `messenger.db`, with the messenger's own tables:
a million messages through the front door would take most of the bench's time and show nothing more.
"""

import asyncio
import os
import time
from pathlib import Path
from typing import Any
from uuid import UUID

from bench.figures import percentiles
from bench.people import Address, Pair, User, make_pairs, make_users
from bench.read import last_page_request, timed
from bench.talk import ATTACH_SECONDS, Talk, Tally, Told
from bench.wire import MARK, open_http, request_of

ROWS = 10_000
SIZES = ("small", "large")


async def run_plant(address: Address, options: dict[str, Any], _tell: Told) -> dict[str, Any]:
    """Makes what is to be filled: two pairs with a chat, and two users for their lists of chats."""
    pairs = await make_pairs(address, 2, options["name"])
    users = await make_users(address, 4, f"{options['name']}-lists")
    return {
        "pairs": [
            {
                "chat_id": pair.chat_id,
                "sender": [pair.sender.id, pair.sender.token],
                "recipient": [pair.recipient.id, pair.recipient.token],
            }
            for pair in pairs
        ],
        "users": [[user.id, user.token] for user in users],
    }


async def run_growth(address: Address, options: dict[str, Any], tell: Told) -> dict[str, Any]:
    """Sends, reads and lists in turn, small and large; p50 of each in ms."""
    plants = options["plants"]
    took: dict[str, dict[str, list[float]]] = {size: {} for size in SIZES}
    http = await open_http(address)
    talks = {
        size: OneByOne(plant, options["generation"])
        for size, plant in zip(SIZES, plants["pairs"], strict=True)
    }
    pages = {
        size: last_page_request("v2", plant["chat_id"], plant["sender"][1], 0)
        for size, plant in zip(SIZES, plants["pairs"], strict=True)
    }
    lists = {
        size: request_of("GET", "/v2/chats?limit=10", token)
        for size, (_, token) in zip(SIZES, plants["users"][::2], strict=True)
    }
    for talk in talks.values():
        await talk.open(address)
    await asyncio.sleep(ATTACH_SECONDS)
    tell("begin")
    for turn in range(-options["warm_turns"], options["turns"]):
        for size in SIZES:
            for name, ms in (
                ("send", await talks[size].send_and_wait()),
                ("last 50", await timed(http, pages[size])),
                ("chats", await timed(http, lists[size])),
            ):
                if turn >= 0:
                    took[size].setdefault(name, []).append(ms)
    tell("end")
    for talk in talks.values():
        talk.close()
    return {size: {name: percentiles(values) for name, values in took[size].items()} for size in SIZES}


class OneByOne:
    """A pair with one message in flight, timed each."""

    def __init__(self, plant: dict[str, Any], generation: str) -> None:
        sender, recipient = (User(plant[side][0], "", plant[side][1]) for side in ("sender", "recipient"))
        self._tally = Tally()
        self._tally.counting = True
        self._talk = Talk(Pair(sender, recipient, plant["chat_id"]), generation, 0, self._tally)

    async def open(self, address: Address) -> None:
        """Opens the sockets."""
        await self._talk.open(address)
        listen = self._talk.receiver.heard

        def heard(data: bytes, start: int, end: int) -> None:
            assert listen is not None
            listen(data, start, end)
            if data.find(MARK, start, end) >= 0 and not self._arrived.done():
                self._arrived.set_result(None)

        self._talk.receiver.heard = heard

    async def send_and_wait(self) -> float:
        """How many ms a message takes to the other socket."""
        self._arrived: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._talk.send()
        async with asyncio.timeout(30):
            await self._arrived
        return self._tally.latencies[-1] / 1e6

    def close(self) -> None:
        """Closes the sockets."""
        self._talk.close()


def fill(data_dir: Path, plants: dict[str, Any], messages: tuple[int, int], chats: tuple[int, int]) -> float:
    """Fills the planted chats and lists of a stopped server, (small, large) each. Seconds that it took."""
    from sqlalchemy import create_engine, event

    start = time.perf_counter()
    engine = create_engine(f"sqlite:///{data_dir / 'messenger.db'}")

    @event.listens_for(engine, "connect")
    def hurry(connection: Any, _record: Any) -> None:
        for pragma in ("synchronous=OFF", "cache_size=-524288", "temp_store=MEMORY"):
            connection.execute(f"PRAGMA {pragma}")

    with engine.begin() as connection:
        for plant, number in zip(plants["pairs"], messages, strict=True):
            sender = UUID(plant["sender"][0]).bytes
            fill_chat(connection, UUID(plant["chat_id"]).bytes, sender, number)
        users = [UUID(user).bytes for user, _ in plants["users"]]
        for place, number in enumerate(chats):
            fill_list(connection, users[2 * place], users[2 * place + 1], number)
    engine.dispose()
    return time.perf_counter() - start


def fill_chat(connection: Any, chat_id: bytes, sender: bytes, number: int) -> None:
    """Writes `number` messages of `sender` into an empty chat."""
    from sqlalchemy import MetaData, Table

    from palaver.messenger.store.schema import chats, members, messages

    # As it stands in the file: that of an older version has fewer columns
    message_keys = Table("message_keys", MetaData(), autoload_with=connection)
    column_names = [column.name for column in message_keys.columns]
    now = time.time_ns() // 1000
    for first in range(1, number + 1, ROWS):
        rows = [
            message_row(chat_id, sender, seq, now - number + seq)
            for seq in range(first, min(first + ROWS, number + 1))
        ]
        connection.execute(messages.insert(), rows)
        keys = [{name: row[name] for name in column_names} for row in rows]
        connection.execute(message_keys.insert(), keys)
    connection.execute(chats.update().where(chats.c.id == chat_id).values(last_seq=number, active_at=now))
    connection.execute(members.update().where(members.c.chat_id == chat_id).values(active_at=now))


def message_row(chat_id: bytes, sender: bytes, seq: int, created_at: int) -> dict[str, Any]:
    """One row of `messages`."""
    # Random ids are the worst case for an index; the product's own sort by time
    return {
        "chat_id": chat_id,
        "seq": seq,
        "id": os.urandom(16),
        "sender_id": sender,
        "client_id": os.urandom(16),
        "text": f"{MARK.decode()} {'x' * 60}",
        "created_at": created_at,
    }


def fill_list(connection: Any, user: bytes, other: bytes, number: int) -> None:
    """Gives two users `number` groups with three messages each, which `user` has not read."""
    from palaver.messenger.store.schema import GROUP, chats, members, messages

    now = time.time_ns() // 1000
    for first in range(0, number, ROWS):
        places = range(first, min(first + ROWS, number))
        ids = [os.urandom(16) for _ in places]
        at = {"created_at": now, "active_at": now}
        connection.execute(
            chats.insert(),
            [
                {
                    "id": id_,
                    "kind": GROUP,
                    "title": f"Group {place}",
                    "created_by": other,
                    "last_seq": 3,
                    **at,
                }
                for id_, place in zip(ids, places, strict=True)
            ],
        )
        connection.execute(
            members.insert(),
            [
                {"chat_id": id_, "user_id": member, "joined_at": now, "active_at": now}
                for id_ in ids
                for member in (user, other)
            ],
        )
        connection.execute(
            messages.insert(), [message_row(id_, other, seq, now) for id_ in ids for seq in (1, 2, 3)]
        )
