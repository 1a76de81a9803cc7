"""P2 and P4: order without holes, and client ids that write once, whatever breaks in between.

A state machine drives two replicas on one journal and two gateways, whose streams stall, break, and come back
to either replica. What every socket was told is compared with the journal and with what clients asked.
"""

import asyncio
import os
import tempfile
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import Connection, select

from palaver.contracts.errors import NOT_FOUND, PalaverError
from palaver.contracts.ids import new_id, text_from_id
from palaver.gateway.upstream import stream as link
from palaver.gateway.upstream.pending_sends import PendingSend
from palaver.messenger.domain import Message
from palaver.messenger.events import Event, MembersChanged
from palaver.messenger.store.chats import remove_member
from palaver.messenger.store.opening import Store
from palaver.messenger.store.schema import chats
from palaver.messenger.use_cases import add_members
from tests.harness.mariadb import MariadbSchema
from tests.harness.memory_channel import MemoryChannel
from tests.harness.memory_transport import MemoryTransport
from tests.harness.messenger_database import MessengerDatabase
from tests.harness.realtime import Cluster, GatewaySockets, Replica, replica_of
from tests.harness.waiting import eventually

SETTLE_SECONDS = 5.0


def id_of(text: str) -> bytes:
    """The id that a frame names."""
    return UUID(text).bytes


@dataclass
class Sent:
    """One client id of one sender in one chat, and every socket that has sent it. `began`: when it was first
    sent, in steps of the program; `seqs`: what its acknowledgements said."""

    chat_id: bytes
    sender: int
    client_id: bytes
    began: int
    sockets: set[int] = field(default_factory=set)
    seqs: set[int] = field(default_factory=set)
    # Requests, of sockets and unary ones, and how many of them were refused
    asked: int = 0
    refused: int = 0
    errors: list[str] = field(default_factory=list)


@dataclass
class Open:
    """One socket of a user. `helloed`: the step in which its hello had come. `asked`: how often it has sent
    which client id (of a request with several, the first)."""

    client: MemoryTransport
    gateway: int
    user: int
    helloed: int | None = None
    # chat id -> (cursor, how many frames there were when it asked): its one resume
    resumed: dict[bytes, tuple[int, int]] = field(default_factory=dict)
    closed_at: int | None = None
    asked: Counter[str] = field(default_factory=Counter)

    @property
    def unanswered(self) -> Counter[str]:
        """Client ids that wait for an acknowledgement or an error, and how many of them."""
        frames = [frame for frame in self.client.frames if frame["type"] in ("sent", "error")]
        return self.asked - Counter(frame.get("client_id") for frame in frames)

    def told(self, chat_id: bytes) -> list[tuple[int, int, str]]:
        """(number of the frame, seq, client id) of each message that it was told."""
        name = text_from_id(chat_id)
        return [
            (number, frame["seq"], frame["client_id"])
            for number, frame in enumerate(self.client.frames)
            if frame["type"] == "message" and frame["chat_id"] == name
        ]


class World:
    """Two replicas, two gateways, four users and three chats."""

    def __init__(self, place: Path | MariadbSchema) -> None:
        self.messenger_db = MessengerDatabase(place)
        self.users = [new_id() for _ in range(4)]
        u = self.users
        self.chats = [
            self.messenger_db.direct(u[0], u[1]),
            self.messenger_db.group(u),
            self.messenger_db.group(u[:3]),
        ]
        # (chat, user) -> the chat's last seq when the user was removed, while removed
        self.left: dict[tuple[bytes, int], int] = {}
        # (chat, user) -> steps in which the membership changed
        self.changes: dict[tuple[bytes, int], list[int]] = defaultdict(list)
        self.members = {
            self.chats[0]: {0, 1},
            self.chats[1]: {0, 1, 2, 3},
            self.chats[2]: {0, 1, 2},
        }
        self.cluster = Cluster()
        self.stores: list[Store] = []
        self.replicas: list[Replica] = []
        self.channels: list[MemoryChannel] = []
        self.gateways: list[GatewaySockets] = []
        self.sockets: list[Open] = []
        self.sent: dict[tuple[bytes, int, bytes], Sent] = {}
        self.unary: set[asyncio.Task[None]] = set()
        self.step = 0

    async def start(self) -> None:
        """Starts replicas and gateways."""
        for _ in range(2):
            store = self.messenger_db.open_store()
            replica = replica_of(self.messenger_db, store, self.cluster)
            await replica.start()
            self.stores.append(store)
            self.replicas.append(replica)
        for number in range(2):
            channel = MemoryChannel(self.replicas[number].attach)
            gateway = GatewaySockets(channel, self.messenger_db.keys, drain_seconds=0)
            await gateway.server.start()
            self.channels.append(channel)
            self.gateways.append(gateway)

    async def stop(self) -> None:
        """Ends everything."""
        for task in self.unary:
            task.cancel()
        for gateway in self.gateways:
            await gateway.stop()
        for channel in self.channels:
            channel.break_stream(None)
        for replica in self.replicas:
            await replica.stop()
        for store in self.stores:
            await store.close()
        self.messenger_db.close()

    # ---- what clients do ----

    async def open(self, gateway: int, user: int) -> None:
        token = self.messenger_db.keys.token(self.users[user])
        client = await MemoryTransport().open(self.gateways[gateway].server, "/v2/ws", token)
        self.sockets.append(Open(client, gateway, user))

    def close(self, number: int) -> None:
        self.sockets[number].closed_at = self.step
        self.sockets[number].client.close()

    def live(self) -> list[int]:
        """Numbers of the sockets that are open."""
        return [n for n, opened in enumerate(self.sockets) if opened.closed_at is None]

    def note(self, user: int, chat_id: bytes, client_id: bytes, socket: int | None) -> Sent:
        sent = self.sent.setdefault((chat_id, user, client_id), Sent(chat_id, user, client_id, self.step))
        sent.asked += 1
        if socket is not None:
            sent.sockets.add(socket)
        return sent

    def send(self, number: int, chat_id: bytes, client_ids: list[bytes]) -> None:
        opened = self.sockets[number]
        for client_id in client_ids:
            self.note(opened.user, chat_id, client_id, number)
        opened.asked[text_from_id(client_ids[0])] += 1
        texts = [f"text of {client_id.hex()}" for client_id in client_ids]
        if len(client_ids) == 1:
            opened.client.send_frame(
                type="send",
                chat_id=text_from_id(chat_id),
                client_id=text_from_id(client_ids[0]),
                text=texts[0],
            )
            return
        # As v1's frames of several messages are sent
        server = self.gateways[opened.gateway].server
        server.handle_command(opened.client.socket, PendingSend(chat_id, client_ids, texts))

    def call(self, replica: int, user: int, chat_id: bytes, client_ids: list[bytes], *, retry: bool) -> None:
        """Sends by a unary call, which goes on in the background."""
        asked = [self.note(user, chat_id, client_id, None) for client_id in client_ids]
        texts = [f"text of {client_id.hex()}" for client_id in client_ids]

        async def wait() -> None:
            try:
                stored = await self.replicas[replica].engine.send(
                    chat_id, self.users[user], client_ids, texts, retry=retry
                )
            except PalaverError as error:
                for sent in asked:
                    sent.refused += 1
                    sent.errors.append(error.kind.code)
            else:
                for sent, key in zip(asked, stored, strict=True):
                    sent.seqs.add(key.seq)

        task = asyncio.create_task(wait())
        self.unary.add(task)
        task.add_done_callback(self.finish_call)

    def finish_call(self, task: "asyncio.Task[None]") -> None:
        self.unary.discard(task)
        if not task.cancelled():
            task.result()

    def resume(self, number: int, chat_id: bytes, cursor: int) -> None:
        opened = self.sockets[number]
        opened.resumed[chat_id] = (cursor, len(opened.client.frames))
        opened.client.send_frame(type="resume", cursors={text_from_id(chat_id): cursor})

    # ---- what happens to them ----

    def break_stream(self, gateway: int, replica: int) -> None:
        self.channels[gateway].break_stream(self.replicas[replica].attach)

    async def remove(self, chat_id: bytes, user: int) -> None:
        commit = self.replicas[0].engine.commit
        last_seq = await commit(remove_now, chat_id, self.users[0], self.users[user])
        self.members[chat_id].discard(user)
        self.left[chat_id, user] = last_seq
        self.changes[chat_id, user].append(self.step)

    async def add(self, chat_id: bytes, user: int) -> None:
        await self.replicas[1].engine.commit(add_members, chat_id, self.users[0], [self.users[user]], 100)
        self.members[chat_id].add(user)
        del self.left[chat_id, user]
        self.changes[chat_id, user].append(self.step)

    # ---- what must be ----

    async def settle(self) -> None:
        """Lets everything arrive, then compares all of it."""
        for channel in self.channels:
            if channel.stream is not None:
                channel.stream.up.change(stalled=False)
                channel.stream.down.change(stalled=False)
        last: list[str] = []

        def is_complete() -> bool:
            last[:] = self.what_lacks()
            return not last

        try:
            await eventually(is_complete, "everything told", SETTLE_SECONDS)
        except AssertionError:
            raise AssertionError("\n".join(last)) from None
        # What is told twice comes late
        await asyncio.sleep(0.02)
        assert not self.what_lacks()
        self.check_journal()
        for number in range(len(self.sockets)):
            self.check_socket(number)

    def what_lacks(self) -> list[str]:
        """What has not happened yet, in words."""
        self.read_acks()
        lacks = [f"{len(self.unary)} calls"] if self.unary else []
        lacks += [f"gateway {n}: {len(g.sends)} in flight" for n, g in enumerate(self.gateways) if g.sends]
        histories = {chat_id: self.messenger_db.history(chat_id) for chat_id in self.chats}
        for number in self.live():
            opened = self.sockets[number]
            if not any(frame["type"] == "hello" for frame in opened.client.frames):
                lacks.append(f"socket {number}: hello")
                continue
            if opened.unanswered:
                lacks.append(f"socket {number}: answers to {opened.unanswered}")
            for chat_id, history in histories.items():
                seqs = [seq for _, seq, _ in opened.told(chat_id)]
                missing = self.must_hear(number, chat_id, history) - set(seqs)
                if missing:
                    where = f"socket {number} of user {opened.user}, chat {self.chats.index(chat_id)}"
                    lacks.append(f"{where}: {sorted(missing)}; told {seqs}")
            asked = sum(frame["type"] == "resumed" for frame in opened.client.frames)
            if asked < len(opened.resumed):
                lacks.append(f"socket {number}: {asked} of {len(opened.resumed)} resumes")
        return lacks

    def must_hear(self, number: int, chat_id: bytes, history: list[Message]) -> set[int]:
        """The seqs that a socket must have been told by message frames, by now."""
        opened = self.sockets[number]
        user = opened.user
        is_member = user in self.members[chat_id]
        if opened.helloed is None or not is_member:
            return set()
        since = max([opened.helloed, *self.changes[chat_id, user]])
        cursor = opened.resumed[chat_id][0] if chat_id in opened.resumed else None
        if cursor is not None and not self.changes[chat_id, user]:
            return {
                message.seq
                for message in history
                if message.seq > cursor and not self.is_own(number, message)
            }
        return {
            message.seq
            for message in history
            if not self.is_own(number, message) and self.sent_of(message).began > since
        }

    def sent_of(self, message: Message) -> Sent:
        return self.sent[message.chat_id, self.users.index(message.sender_id), message.client_id]

    def is_own(self, number: int, message: Message) -> bool:
        return number in self.sent_of(message).sockets

    def read_acks(self) -> None:
        """Takes what sockets were told of their sends."""
        for number, opened in enumerate(self.sockets):
            if opened.helloed is None and any(f["type"] == "hello" for f in opened.client.frames):
                opened.helloed = self.step
            for frame in opened.client.frames:
                if frame["type"] == "sent":
                    key = (id_of(frame["chat_id"]), opened.user, id_of(frame["client_id"]))
                    assert number in self.sent[key].sockets, "an acknowledgement of somebody else's send"
                    self.sent[key].seqs.add(frame["seq"])

    def check_journal(self) -> None:
        """Seqs without holes, client ids once, acknowledged seqs as they were said."""
        for chat_id in self.chats:
            history = self.messenger_db.history(chat_id)
            assert [message.seq for message in history] == list(range(1, len(history) + 1))
            times = [message.created_at for message in history]
            assert times == sorted(times)
            stored: dict[tuple[int, bytes], int] = {}
            for message in history:
                key = (self.users.index(message.sender_id), message.client_id)
                assert key not in stored, f"seqs {stored[key]} and {message.seq} have one client id"
                stored[key] = message.seq
                assert message.text == f"text of {message.client_id.hex()}"
                assert not self.wrote_after_leaving(message)
            for sent in self.sent.values():
                if sent.chat_id == chat_id:
                    assert sent.seqs <= {stored.get((sent.sender, sent.client_id), 0)}, sent
                    assert set(sent.errors) <= {NOT_FOUND.code}, sent

    def wrote_after_leaving(self, message: Message) -> bool:
        left_seq = self.left.get((message.chat_id, self.users.index(message.sender_id)))
        return left_seq is not None and message.seq > left_seq

    def check_socket(self, number: int) -> None:
        """Each message once, in order, and nothing that is not for its user."""
        opened = self.sockets[number]
        for chat_id in self.chats:
            told = opened.told(chat_id)
            outsider = opened.user not in self.members[chat_id] and (chat_id, opened.user) not in self.left
            assert not (outsider and told), "an outsider was told"
            left_seq = self.left.get((chat_id, opened.user))
            assert left_seq is None or all(seq <= left_seq for _, seq, _ in told), "told after leaving"
            cursor, at_frame = opened.resumed.get(chat_id, (0, 0))
            live = [seq for frame, seq, _ in told if chat_id not in opened.resumed or frame < at_frame]
            assert live == sorted(set(live)), f"socket {number}: {live}"
            behind = [seq for frame, seq, _ in told if chat_id in opened.resumed and frame >= at_frame]
            assert behind == sorted(set(behind)), f"socket {number} behind its resume: {behind}"
            assert all(seq > cursor for seq in behind)
            if chat_id not in opened.resumed:
                self.check_no_echo(number, chat_id, told)
        for frame in opened.client.frames:
            if frame["type"] == "error":
                assert frame["code"] == NOT_FOUND.code, frame
                chat_id = id_of(frame["chat_id"])
                assert self.changes[chat_id, opened.user] or opened.user not in self.members[chat_id], frame

    def check_no_echo(self, number: int, chat_id: bytes, told: list[tuple[int, int, str]]) -> None:
        """A socket that alone has sent a message is acknowledged, and not told, of it."""
        for _, seq, client_id in told:
            sent = self.sent.get((chat_id, self.sockets[number].user, id_of(client_id)))
            if sent is not None and sent.sockets == {number} and sent.asked == 1:
                raise AssertionError(f"socket {number} was told of its own message {seq}")


def remove_now(connection: Connection, chat_id: bytes, by: bytes, user: bytes) -> tuple[int, list[Event]]:
    """Removes a member. Returns the chat's last seq at that moment."""
    remove_member(connection, chat_id, by, user)
    last_seq: int = connection.execute(select(chats.c.last_seq).where(chats.c.id == chat_id)).scalar_one()
    return last_seq, [MembersChanged(chat_id, (user,))]


USERS = st.integers(0, 3)
PAIR = st.integers(0, 1)
CHATS = st.integers(0, 2)
GROUPS = st.integers(1, 2)
COUNTS = st.integers(1, 3)
PICK = st.integers(0, 10_000)


class Journal(RuleBasedStateMachine):
    """Each rule does something in the world, then lets a few turns of the event loop pass."""

    # None: a new file for each program
    schema: MariadbSchema | None = None

    @initialize()
    def start(self) -> None:
        self.directory = tempfile.TemporaryDirectory()
        self.runner = asyncio.Runner()
        if self.schema is not None:
            self.schema.empty("alembic_version", "proof_key")
        self.world = World(self.schema or Path(self.directory.name))
        self.runner.run(self.world.start())
        for user in range(3):
            self.run(lambda user=user: self.world.open(user % 2, user))
        self.run(self.world.settle)

    def run(self, work: Callable[[], Awaitable[None] | None], turns: int = 0) -> None:
        """Does something on the event loop, then lets `turns` pass."""
        self.world.step += 1

        async def step() -> None:
            if (rest := work()) is not None:
                await rest
            for _ in range(turns):
                await asyncio.sleep(0)
            self.world.read_acks()

        self.failed = True
        self.runner.run(step())
        self.failed = False

    def teardown(self) -> None:
        if not hasattr(self, "runner"):
            return
        try:
            if not self.failed:
                self.run(self.world.settle)
        finally:
            self.runner.run(self.world.stop())
            self.runner.close()
            self.directory.cleanup()

    def socket(self, pick: int) -> int:
        live = self.world.live()
        return live[pick % len(live)]

    @precondition(lambda self: len(self.world.live()) < 8)
    @rule(gateway=PAIR, user=USERS, turns=PICK)
    def open_socket(self, gateway: int, user: int, turns: int) -> None:
        self.run(lambda: self.world.open(gateway, user), turns % 12)

    @precondition(lambda self: len(self.world.live()) > 1)
    @rule(pick=PICK)
    def close_socket(self, pick: int) -> None:
        self.run(lambda: self.world.close(self.socket(pick)))

    @precondition(lambda self: self.world.live())
    @rule(pick=PICK, chat=CHATS, count=COUNTS, turns=PICK)
    def send(self, pick: int, chat: int, count: int, turns: int) -> None:
        client_ids = [new_id() for _ in range(count)]
        number = self.socket(pick)
        self.run(lambda: self.world.send(number, self.world.chats[chat], client_ids), turns % 12)

    @precondition(lambda self: self.world.live())
    @rule(pick=PICK, chat=CHATS, sends=st.integers(5, 30))
    def send_many(self, pick: int, chat: int, sends: int) -> None:
        def burst() -> None:
            for _ in range(sends):
                self.world.send(self.socket(pick), self.world.chats[chat], [new_id()])

        self.run(burst)

    @rule(replica=PAIR, user=USERS, chat=CHATS, count=COUNTS, turns=PICK)
    def call(self, replica: int, user: int, chat: int, count: int, turns: int) -> None:
        client_ids = [new_id() for _ in range(count)]
        self.run(
            lambda: self.world.call(replica, user, self.world.chats[chat], client_ids, retry=False),
            turns % 12,
        )

    @precondition(lambda self: self.world.sent)
    @rule(pick=PICK, replica=PAIR, retry=st.booleans(), turns=PICK)
    def repeat(self, pick: int, replica: int, retry: bool, turns: int) -> None:
        """A client id again: from every open socket of its sender, and by a unary call, all at once."""
        known = list(self.world.sent.values())
        sent = known[pick % len(known)]

        def again() -> None:
            for number in self.world.live():
                if self.world.sockets[number].user == sent.sender:
                    self.world.send(number, sent.chat_id, [sent.client_id])
            self.world.call(replica, sent.sender, sent.chat_id, [sent.client_id], retry=retry)

        self.run(again, turns % 12)

    @precondition(lambda self: self.world.live())
    @rule(pick=PICK, chat=CHATS, back=st.integers(0, 6), turns=PICK)
    def resume(self, pick: int, chat: int, back: int, turns: int) -> None:
        """A socket resumes a chat from where its client may have been."""
        number, chat_id = self.socket(pick), self.world.chats[chat]
        opened = self.world.sockets[number]
        is_member = opened.user in self.world.members[chat_id]
        if opened.resumed or not is_member:
            return
        last_seq = len(self.world.messenger_db.history(chat_id))
        self.run(lambda: self.world.resume(number, chat_id, max(0, last_seq - back)), turns % 12)

    @rule(gateway=PAIR, replica=PAIR, turns=PICK)
    def break_stream(self, gateway: int, replica: int, turns: int) -> None:
        self.run(lambda: self.world.break_stream(gateway, replica), turns % 30)

    @rule(gateway=PAIR, down=st.booleans())
    def stall(self, gateway: int, down: bool) -> None:
        """From now on nothing arrives in one direction, until everything settles or the stream breaks."""
        stream = self.world.channels[gateway].stream
        if stream is not None:
            self.run(lambda: (stream.down if down else stream.up).change(stalled=True))

    @rule(seconds=st.sampled_from([0.001, 0.005, 0.02]))
    def wait(self, seconds: float) -> None:
        self.run(lambda: asyncio.sleep(seconds))

    @rule(group=GROUPS, user=st.integers(1, 2), turns=PICK)
    def remove(self, group: int, user: int, turns: int) -> None:
        chat_id = self.world.chats[group]
        if user in self.world.members[chat_id]:
            self.run(lambda: self.world.remove(chat_id, user), turns % 12)

    @rule(group=GROUPS, user=st.integers(1, 2), turns=PICK)
    def add(self, group: int, user: int, turns: int) -> None:
        chat_id = self.world.chats[group]
        if (chat_id, user) in self.world.left:
            # What was told until now is judged by who was a member until now
            self.run(self.world.settle)
            self.run(lambda: self.world.add(chat_id, user), turns % 12)

    @rule()
    def settle(self) -> None:
        self.run(self.world.settle)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A link comes back without a pause."""
    monkeypatch.setattr(link, "FIRST_PAUSE_SECONDS", 0.002)
    monkeypatch.setattr(link, "LONGEST_PAUSE_SECONDS", 0.002)


# SEARCH_PROGRAMS=200: another 200 programs each time, to look for what the usual ones do not find
SEARCH = int(os.environ.get("SEARCH_PROGRAMS", "0"))


def programs(examples: int, steps: int = 30) -> settings:
    """The same programs each time. A failure is not made smaller: what fails late fails slowly."""
    return settings(
        max_examples=SEARCH or examples,
        stateful_step_count=steps,
        deadline=None,
        derandomize=not SEARCH,
        database=None,
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
        phases=[Phase.generate],
    )


def test_p2_members_see_one_order_without_holes() -> None:
    """Members would read different conversations, or miss messages without knowing."""
    run_state_machine_as_test(Journal, settings=programs(25))


def test_p2_members_see_one_order_on_mariadb(messenger_schema: MariadbSchema) -> None:
    """The same where each replica has writers of its own."""

    class OnMariadb(Journal):
        schema = messenger_schema

    run_state_machine_as_test(OnMariadb, settings=programs(2))


ACTS = st.one_of(
    st.tuples(st.just("send"), st.integers(0, 3), st.integers(0, 2)),
    st.tuples(st.just("call"), PAIR, st.integers(0, 2), st.booleans()),
    st.tuples(st.just("break"), PAIR, PAIR),
    st.tuples(st.just("stall"), PAIR, st.booleans()),
    st.tuples(st.just("turns"), st.integers(1, 40)),
)


async def repeat_client_ids(world: World, program: list[tuple[Any, ...]]) -> None:
    """Three client ids of one user, from four sockets on two gateways and by calls to both replicas."""
    await world.start()
    try:
        chat_id, client_ids = world.chats[0], [new_id() for _ in range(3)]
        for number in range(4):
            await world.open(number % 2, 0)
        await world.settle()
        for name, *how in program:
            world.step += 1
            if name == "send":
                world.send(how[0], chat_id, [client_ids[how[1]]])
            elif name == "call":
                world.call(how[0], 0, chat_id, [client_ids[how[1]]], retry=how[2])
            elif name == "break":
                world.break_stream(how[0], how[1])
            elif name == "stall" and (stream := world.channels[how[0]].stream) is not None:
                (stream.down if how[1] else stream.up).change(stalled=True)
            else:
                for _ in range(how[0]):
                    await asyncio.sleep(0)
        await world.settle()
        assert all(len(sent.seqs) == 1 and not sent.refused for sent in world.sent.values())
        assert len(world.messenger_db.history(chat_id)) == len(world.sent)
    finally:
        await world.stop()


@programs(40)
@given(program=st.lists(ACTS, min_size=5, max_size=40))
def test_p4_a_client_id_writes_once_from_wherever_it_comes(program: list[tuple[Any, ...]]) -> None:
    """A client that repeats a send, because it heard nothing, would say everything twice."""
    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(repeat_client_ids(World(Path(directory)), program))


def test_p4_a_client_id_writes_once_on_mariadb(messenger_schema: MariadbSchema) -> None:
    """The same where no write lock keeps replicas apart."""

    @programs(3)
    @given(program=st.lists(ACTS, min_size=5, max_size=40))
    def run(program: list[tuple[Any, ...]]) -> None:
        messenger_schema.empty("alembic_version", "proof_key")
        asyncio.run(repeat_client_ids(World(messenger_schema), program))

    run()
