"""Whatever the connection does, against a model server: cuts, doubles, losses, late acknowledgements."""

import random
from collections import defaultdict, deque

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from palaver.client.order import changed_at
from palaver.client.protocol import ClientProtocol
from palaver.contracts.errors import PalaverError
from palaver.contracts.frames import ClientFrame, Error, Message, Resume, Resumed, Send, Sent, ServerFrame
from tests.harness.client_events import HELLO, ME, message, sent

# The client has a cursor for A alone; B and C appear while it lives
CHATS = ("A", "B", "C")
chats = st.sampled_from(CHATS)


class ModelServer:
    """Chats' histories, and what was said about them."""

    def __init__(self) -> None:
        self.history: dict[str, list[Message]] = {chat: [] for chat in CHATS}
        self.stored: dict[str, Message] = {}
        self.edits = 0

    def append(self, chat: str, sender: str, client_id: str = "") -> Message:
        """Stores a message."""
        new = message(len(self.history[chat]) + 1, chat, sender=sender, client_id=client_id)
        self.history[chat].append(new)
        return new

    def edit(self, chat: str, seq: int) -> Message:
        """Changes a message."""
        self.edits += 1
        old = self.history[chat][seq - 1]
        new = message(seq, chat, sender=old.sender_id, client_id=old.client_id, edit=self.edits)
        self.history[chat][seq - 1] = new
        return new

    def send(self, frame: Send) -> Sent:
        """Stores a send once, and acknowledges it always."""
        if frame.client_id not in self.stored:
            self.stored[frame.client_id] = self.append(frame.chat_id, ME, frame.client_id)
        return sent(self.stored[frame.client_id].seq, frame.client_id, frame.chat_id)


class AnyConnection(RuleBasedStateMachine):
    """A client, a server, and the frames between them."""

    def __init__(self) -> None:
        super().__init__()
        self.server = ModelServer()
        self.client = ClientProtocol({"A": 0})
        self.connected = False
        self.to_client: deque[ServerFrame] = deque()
        self.acks: list[Sent] = []
        self.to_server: deque[ClientFrame] = deque()
        self.told: dict[str, list[Message]] = defaultdict(list)
        self.outcomes: dict[str, list[Sent | PalaverError]] = defaultdict(list)
        self.sends: list[str] = []
        self.given_up: set[str] = set()
        self.resumes_under_way = 0
        self.unknown: list[str] = []
        self.postponed: list[str] = []

    # ---- what people do ----

    @rule(chat=chats, lost=st.booleans())
    def somebody_writes(self, chat: str, lost: bool) -> None:
        """`lost`: the live message does not arrive, a later one shows the hole."""
        new = self.server.append(chat, "other")
        if self.connected and not lost:
            self.to_client.append(new)

    @precondition(lambda self: any(self.server.history.values()))
    @rule(pick=st.randoms(use_true_random=False))
    def somebody_edits(self, pick: random.Random) -> None:
        """Any message, old or new."""
        chat = pick.choice([chat for chat, history in self.server.history.items() if history])
        changed = self.server.edit(chat, pick.randint(1, len(self.server.history[chat])))
        if self.connected:
            self.to_client.append(changed)

    @rule(chat=chats)
    def user_sends(self, chat: str) -> None:
        """With or without a connection."""
        client_id = f"send-{len(self.sends)}"
        self.sends.append(client_id)
        self.client.send(chat, client_id, "text")

    @precondition(lambda self: self.sends)
    @rule(pick=st.randoms(use_true_random=False))
    def user_gives_up(self, pick: random.Random) -> None:
        """A time-out."""
        client_id = pick.choice(self.sends)
        if client_id not in self.outcomes:
            self.client.give_up(client_id)
            self.given_up.add(client_id)

    # ---- what the connection does ----

    @precondition(lambda self: not self.connected)
    @rule()
    def connect(self) -> None:
        """A new connection begins with `hello`."""
        self.connected = True
        self.to_client.append(HELLO)

    @precondition(lambda self: self.connected)
    @rule()
    def cut(self) -> None:
        """What was on its way is gone, both ways."""
        self.connected = False
        self.to_client.clear()
        self.acks.clear()
        self.to_server.clear()
        self.resumes_under_way = 0
        self.client.connection_lost()

    @precondition(lambda self: self.connected)
    @rule(frames=st.integers(0, 3), fails=st.integers(0, 9).map(lambda n: n == 0))
    def client_writes(self, frames: int, fails: bool) -> None:
        """All that is due, of which the server reads some. `fails`: the store can't be reached."""
        self.to_server.extend(self.client.frames_to_send())
        for _ in range(min(frames, len(self.to_server))):
            self.server_reads(fails)

    def server_reads(self, fails: bool) -> None:
        """One frame."""
        frame = self.to_server.popleft()
        if isinstance(frame, Send):
            if fails:
                self.to_client.append(Error("overloaded", "busy", client_id=frame.client_id))
            else:
                self.acks.append(self.server.send(frame))
        elif isinstance(frame, Resume):
            self.resumes_under_way += 1
            assert self.resumes_under_way == 1, "two resumes at once"
            self.answer_resume(frame, fails)

    def answer_resume(self, asked: Resume, fails: bool) -> None:
        """Tells what was missed, then that this was all."""
        for chat, seq in asked.cursors.items():
            if fails:
                self.to_client.append(Error("unavailable", "away"))
                break
            self.to_client.extend(self.server.history[chat][seq:])
        self.to_client.append(Resumed())

    @precondition(lambda self: self.to_client)
    @rule(frames=st.integers(1, 5))
    def client_reads(self, frames: int) -> None:
        """Some frames."""
        for _ in range(min(frames, len(self.to_client))):
            if self.connected:
                frame = self.to_client.popleft()
                self.resumes_under_way -= isinstance(frame, Resumed)
                self.hear(frame)

    @precondition(lambda self: self.acks and self.client.is_attached)
    @rule(pick=st.randoms(use_true_random=False))
    def client_reads_an_ack(self, pick: random.Random) -> None:
        """Acknowledgements come late and in any order."""
        self.hear(self.acks.pop(pick.randrange(len(self.acks))))

    @precondition(lambda self: self.client.is_attached and any(self.server.history.values()))
    @rule(pick=st.randoms(use_true_random=False))
    def client_reads_a_double(self, pick: random.Random) -> None:
        """Any message of the past, or any acknowledgement, again."""
        chat = pick.choice([chat for chat, history in self.server.history.items() if history])
        again = pick.choice(self.server.history[chat])
        if again.client_id in self.server.stored and pick.random() < 0.5:
            self.hear(sent(again.seq, again.client_id, chat))
        else:
            self.hear(again)

    @precondition(lambda self: self.unknown)
    @rule()
    def client_looks_up_a_chat(self) -> None:
        """The user has seen nothing of it."""
        self.client.start_chat(self.unknown.pop(), 0)
        self.take()

    @precondition(lambda self: self.postponed)
    @rule()
    def client_sends_again(self) -> None:
        """After the pause for a busy server."""
        self.client.send_again(self.postponed.pop())

    # ---- what the user sees ----

    def hear(self, frame: ServerFrame) -> None:
        """Gives a frame to the client."""
        try:
            self.client.receive_frame(frame)
        except PalaverError:
            self.take()
            self.cut()
        self.take()

    def take(self) -> None:
        """Takes what there is to take, and checks each piece."""
        for event in self.client.take_events():
            if isinstance(event, Message):
                self.see(event)
        for client_id, outcome in self.client.take_outcomes():
            assert client_id not in self.given_up
            self.outcomes[client_id].append(outcome)
        self.unknown += self.client.take_unknown_chats()
        self.postponed += [client_id for client_id, _ in self.client.take_postponed()]

    def see(self, new: Message) -> None:
        """A message is new, or a newer state of one that was seen or sent."""
        seen = self.told[new.chat_id]
        earlier = [old for old in seen if old.seq == new.seq]
        if earlier or new.client_id in self.outcomes:
            assert changed_at(new) > max(map(changed_at, earlier), default=""), f"twice: {new}"
        else:
            assert all(old.seq < new.seq for old in seen if not is_change(old, seen)), f"out of order: {new}"
        seen.append(new)

    @invariant()
    def each_send_has_one_outcome_at_most(self) -> None:
        """None is acknowledged twice."""
        assert all(len(outcomes) == 1 for outcomes in self.outcomes.values())

    def teardown(self) -> None:
        """When the connection holds for a while, everything is there."""
        if self.connected:
            # A loss behind which nothing comes shows at the next connection alone
            self.cut()
        for _ in range(200):
            if not self.connected:
                self.connect()
            for chat in CHATS:
                self.client.start_chat(chat, 0)
            self.take()
            self.client_writes(0, False)
            if not self.to_server and not self.to_client and not self.acks:
                break
            self.pass_everything_on()
        else:
            raise AssertionError("the client never comes to rest")
        assert self.client.is_caught_up
        for client_id in self.sends:
            assert client_id in self.given_up or isinstance(self.outcomes[client_id][0], Sent)
        for chat, history in self.server.history.items():
            self.check_history(chat, history)

    def pass_everything_on(self) -> None:
        """Until a cut, or until nothing is on its way."""
        while self.connected and self.to_server:
            self.server_reads(False)
        while self.connected and self.to_client:
            self.client_reads(5)
        while self.connected and self.acks:
            self.hear(self.acks.pop())

    def check_history(self, chat: str, history: list[Message]) -> None:
        """Each message was told, or is an acknowledged own one."""
        told = {m.seq for m in self.told[chat]}
        for entry in history:
            own = entry.client_id in self.outcomes
            assert own or entry.seq in told, f"never told: {entry}"
        assert self.client.cursors[chat] == len(history)


def is_change(one: Message, seen: list[Message]) -> bool:
    """Whether a message that was told is a change of an earlier one, or of one that the user sent."""
    return changed_at(one) != "" and (
        one.sender_id == ME or any(o.seq == one.seq and o is not one for o in seen)
    )


AnyConnection.TestCase.settings = settings(max_examples=100, stateful_step_count=70, deadline=None)


class TestAnyConnection(AnyConnection.TestCase):  # type: ignore[name-defined,misc] # made by hypothesis
    """Users would lose messages, read them twice or in the wrong order, or send one thing twice."""
