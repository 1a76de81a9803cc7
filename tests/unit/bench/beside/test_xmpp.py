"""The bench's own XMPP client: stanzas out of a stream, and the opening of one."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.beside.xmpp import XmppSocket, message_template, open_xmpp, stanza_bounds, xmpp_pairs
from bench.talk import Talk, Tally, text_template, watch
from bench.wire import MARK

NAMES = st.sampled_from(["message", "messages", "body", "a", "iq", "x:message"])
TEXTS = st.text(st.characters(exclude_characters="<&", codec="utf-8"), max_size=8)
ATTRIBUTES = st.lists(
    st.one_of(
        TEXTS.map(lambda text: " k='" + text.replace("'", "") + "'"),
        TEXTS.map(lambda text: ' k="' + text.replace('"', "") + '"'),
        st.just(" h='a>b/>\"'"),
    ),
    max_size=2,
).map("".join)


def element(content: "st.SearchStrategy[str]") -> "st.SearchStrategy[str]":
    """Elements with attributes, empty or with one of the contents."""
    whole = st.tuples(NAMES, ATTRIBUTES, st.lists(content, max_size=3).map("".join))
    return st.one_of(
        whole.map(lambda parts: f"<{parts[0]}{parts[1]}>{parts[2]}</{parts[0]}>"),
        st.tuples(NAMES, ATTRIBUTES).map(lambda parts: f"<{parts[0]}{parts[1]}/>"),
    )


STANZAS = st.lists(element(st.recursive(TEXTS, element, max_leaves=6)).map(str.encode), max_size=5)


@given(
    stanzas=STANZAS,
    gaps=st.lists(st.sampled_from([b"", b" ", b"\n"]), min_size=5, max_size=5),
    step=st.data(),
)
def test_stanzas_are_found_however_they_arrive(
    stanzas: list[bytes], gaps: list[bytes], step: st.DataObject
) -> None:
    """A stanza that is cut wrongly is counted twice or never, and the comparison is of nothing."""
    heard: list[bytes] = []
    # A future is only made by `ask`: outside of a loop a socket can still be fed
    socket = XmppSocket(lambda data, start, end: heard.append(data[start:end]))
    stream = b"".join(gap + stanza for gap, stanza in zip(gaps, stanzas, strict=False))
    while stream:
        size = step.draw(st.integers(1, len(stream)))
        socket.data_received(stream[:size])
        stream = stream[size:]
    assert heard == stanzas


@pytest.mark.parametrize("cut", [1, 8, 20, -1])
def test_a_stanza_that_is_not_all_here_has_no_bounds(cut: int) -> None:
    """A message that is read before its end has no time of sending in it yet."""
    stanza = b"<message to='b'><body>~t1</body></message>"
    assert stanza_bounds(stanza[:cut], 0) == (0, 0)
    assert stanza_bounds(b"\n" + stanza, 0) == (1, len(stanza) + 1)


def test_a_message_is_one_stanza_and_one_question() -> None:
    """A message without a question for its acknowledgement would cost ejabberd less than Palaver's."""
    filled = message_template("pair0-1", text_template()) % (7, 123)
    start, end = stanza_bounds(filled, 0)
    assert filled[start:end].startswith(b"<message to='pair0-1@localhost' type='chat' id='00000007'>")
    assert MARK + b"0000000000000123" in filled[start:end]
    assert filled[end:] == b"<r xmlns='urn:xmpp:sm:3'/>"


FEATURES = b"<?xml version='1.0'?><stream:stream id='1'><stream:features><bind/></stream:features>"
OPENING = [
    FEATURES,
    b"<success xmlns='s'/>",
    FEATURES,
    b"<iq type='result' id='bind'><bind/></iq>",
    b"<presence/>",
]
ENABLED = b"<enabled xmlns='urn:xmpp:sm:3'/>"


class Answers(asyncio.Protocol):
    """Gives one answer after the other, one for each packet, whatever it says."""

    def __init__(self, answers: Sequence[bytes]) -> None:
        self.answers = list(answers)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keeps the transport."""
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, _data: bytes) -> None:
        """Gives the next."""
        if self.answers:
            self.transport.write(self.answers.pop(0))


@contextlib.asynccontextmanager
async def serving(answers: Sequence[bytes]) -> AsyncIterator[tuple[str, int]]:
    """The address of a server that gives the same answers to everybody."""
    server = await asyncio.get_running_loop().create_server(lambda: Answers(answers), "127.0.0.1", 0)
    async with server:
        host, port = server.sockets[0].getsockname()[:2]
        yield host, port


async def test_what_comes_behind_the_opening_is_heard() -> None:
    """A first message in the packet that ends the opening would be lost, and its pair stand still."""
    heard: list[bytes] = []
    first = b"<message><body>~t1</body></message>"
    async with serving([*OPENING, ENABLED + first]) as address:
        socket = await open_xmpp(
            address, "pair0-0", lambda data, start, end: heard.append(data[start:end]), acks=True
        )
        socket.transport.close()
    assert heard == [first]


@pytest.mark.parametrize(
    "answers",
    [[FEATURES, b"<failure xmlns='s'><not-authorized/></failure>"], [b"<stream:stream><stream:error/>"]],
)
async def test_a_refusal_ends_the_opening(answers: list[bytes]) -> None:
    """A sign-in that is refused must end the bench with the server's words, not with a timeout."""
    async with serving(answers) as address:
        with pytest.raises(ConnectionError, match="refused"):
            await open_xmpp(address, "pair0-0", None)


async def test_a_talk_counts_acknowledgements_and_ends_at_errors() -> None:
    """A server that stores nothing, or refuses, must not look like a quick one."""
    tally = Tally()
    talk = Talk(xmpp_pairs(1)[0], "xmpp", 1, tally)
    async with serving([*OPENING, ENABLED, b"<a h='1' xmlns='urn:xmpp:sm:3'/>"]) as address:
        await talk.open(address)
        talk.send()
        async with asyncio.timeout(5):
            while not tally.acked:  # noqa: ASYNC110 - the tally has no event, which would cost each message
                await asyncio.sleep(0)
        error = b"<message type='error' from='pair0-1@localhost'/>"
        talk.answered(error, 0, len(error))
        with pytest.raises(RuntimeError, match="pair0-1@localhost"):
            await watch(tally, 0.01)
        talk.close()
