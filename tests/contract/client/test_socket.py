"""The client's socket against a real server that breaks connections."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

import aiohttp
import pytest

from palaver.client import Client, Error, Message, PalaverError, SignedOut, Socket, Tokens
from tests.harness.faulty_server import Faults, running_server

PATIENCE = 20.0
PASSWORD = "correct horse"


@contextlib.asynccontextmanager
async def bounded(what: str) -> AsyncIterator[None]:
    """Fails, saying what was waited for, where the block takes too long."""
    try:
        async with asyncio.timeout(PATIENCE):
            yield
    except TimeoutError:
        raise AssertionError(f"not within {PATIENCE:g} s: {what}") from None


async def until(condition: Callable[[], object], what: str) -> None:
    """Returns when `condition()` is true. Fails in time, saying what was waited for."""
    async with bounded(what):
        while not condition():  # noqa: ASYNC110 - a server's state sets no Event
            await asyncio.sleep(0.005)


async def next_message(socket: Socket) -> Message:
    """The next event, which is a message."""
    event = await asyncio.wait_for(anext(socket), PATIENCE)
    assert isinstance(event, Message), event
    return event


async def collect(socket: Socket, into: list[Message]) -> None:
    """Takes messages for ever."""
    while True:
        into.append(await next_message(socket))


ALL_FAULTS = Faults(cut=0.02, restart=0.01, double=0.1, lose=0.1, late_ack_seconds=0.02, away=0.1, refuse=0.1)


@pytest.mark.parametrize("seed", range(3))
async def test_everything_is_told_once_and_in_order_whatever_breaks(seed: int) -> None:
    """Users would lose messages, read them twice or in the wrong order, or send one thing twice."""
    told: list[Message] = []
    async with running_server(ALL_FAULTS, seed=seed) as server, Client(server.base_url) as client:
        chats = [server.new_chat() for _ in range(3)]
        me = await client.sign_in("me@x.org", PASSWORD)
        async with client.socket({chats[0]: 0}, longest_pause=0.2) as socket:
            reader = asyncio.create_task(collect(socket, told))

            async def write(number: int) -> None:
                await asyncio.sleep(0.002 * number)
                await server.write(chats[number % 3], "other", f"theirs {number}")

            others = [write(number) for number in range(150)]
            own = [socket.send(chats[number % 3], f"own {number}", seconds=60) for number in range(60)]
            results = await asyncio.wait_for(asyncio.gather(*own, *others), 60)
            server.faults = Faults()
            # A loss behind which nothing comes shows at the next connection alone
            await server.close_all(1012)
            total = sum(map(len, server.histories.values()))
            await until(lambda: sum(socket.cursors.values()) == total, "caught up")
            await socket.caught_up()
            await until(lambda: len(told) == total - len(own), "all told")
            reader.cancel()
        acks = results[: len(own)]
        assert server.upgrades > 5, "hardly anything broke"
        assert len({(ack.chat_id, ack.seq) for ack in acks}) == len(own)
        for chat in chats:
            history = server.histories[chat]
            assert [m for m in told if m.chat_id == chat] == [m for m in history if m.sender_id != me.user_id]
            assert sorted(a.seq for a in acks if a.chat_id == chat) == [
                m.seq for m in history if m.sender_id == me.user_id
            ]


async def test_a_socket_begins_with_what_comes_after_it_was_asked_for() -> None:
    """A bot without cursors would answer a whole history, or miss the first message of a new chat."""
    async with running_server() as server, Client(server.base_url) as client:
        old = server.new_chat()
        await server.write(old, "other", "long ago")
        await client.sign_in("me@x.org", PASSWORD)
        async with client.socket() as socket:
            await server.write(old, "other", "now")
            assert (await next_message(socket)).text == "now"
            await server.write(server.new_chat(), "other", "first")
            assert (await next_message(socket)).text == "first"


async def test_chats_that_began_while_the_socket_was_away_are_found() -> None:
    """A new companion's words would be lost until they write again."""
    async with running_server() as server, Client(server.base_url) as client:
        await client.sign_in("me@x.org", PASSWORD)
        async with client.socket() as socket:
            await socket.caught_up()
            server.faults.away = 1.0
            await server.close_all(1012)
            await until(lambda: not socket.is_attached, "cut")
            await server.write(server.new_chat(), "other", "are you there?")
            server.faults.away = 0.0
            assert (await next_message(socket)).text == "are you there?"


async def test_cursors_go_on_where_another_socket_ended() -> None:
    """A bot that restarts would answer twice, or miss what was said meanwhile."""
    async with running_server() as server, Client(server.base_url) as client:
        chat = server.new_chat()
        await client.sign_in("me@x.org", PASSWORD)
        async with client.socket({}) as socket:
            await server.write(chat, "other", "one")
            assert (await next_message(socket)).text == "one"
            await socket.send(chat, "two")
            cursors = socket.cursors
        assert cursors == {chat: 2}
        await server.write(chat, "other", "three")
        async with client.socket(cursors) as socket:
            assert (await next_message(socket)).text == "three"


async def test_a_slow_user_of_the_socket_stops_the_reading_and_loses_nothing() -> None:
    """A bot that is busy for a minute would fill its memory, or lose messages."""
    async with running_server() as server, Client(server.base_url) as client:
        chat = server.new_chat()
        await client.sign_in("me@x.org", PASSWORD)
        async with client.socket({chat: 0}, events=10) as socket:
            await socket.caught_up()
            for number in range(200):
                await server.write(chat, "other", str(number))
            await until(lambda: socket.cursors[chat] >= 10, "the queue is full")
            for _ in range(100):
                await asyncio.sleep(0)
            assert socket.cursors[chat] == 10
            assert [(await next_message(socket)).text for _ in range(200)] == [str(n) for n in range(200)]
            assert server.upgrades == 1


async def test_an_answer_can_be_sent_while_the_queue_is_full() -> None:
    """A bot that answers each message would wait for ever for the acknowledgement behind them."""
    async with running_server() as server, Client(server.base_url) as client:
        chat = server.new_chat()
        await client.sign_in("me@x.org", PASSWORD)
        async with client.socket({chat: 0}, events=5) as socket:
            await socket.caught_up()
            for number in range(30):
                await server.write(chat, "other", str(number))
            for number in range(30):
                assert (await next_message(socket)).text == str(number)
                await asyncio.wait_for(socket.send(chat, f"answer {number}"), PATIENCE)


async def test_a_refused_send_says_why_and_the_socket_lives() -> None:
    """One wrong chat id would end a bot."""
    async with running_server() as server, Client(server.base_url) as client:
        chat = server.new_chat()
        await client.sign_in("me@x.org", PASSWORD)
        async with client.socket({chat: 0}) as socket:
            with pytest.raises(PalaverError) as refused:
                await socket.send(chat[:-1] + ("0" if chat[-1] != "0" else "1"), "hello")
            assert refused.value.kind.code == "not_found"
            assert (await socket.send(chat, "hello")).seq == 1


async def test_a_refusal_that_passes_is_waited_for() -> None:
    """A bot would end at the first busy moment of the server, or never learn why its sends fail."""
    async with running_server(Faults(refuse=1.0)) as server, Client(server.base_url) as client:
        chat = server.new_chat()
        await client.sign_in("me@x.org", PASSWORD)
        async with client.socket({chat: 0}) as socket:
            with pytest.raises(PalaverError) as refused:
                await socket.send(chat, "hello", seconds=0.3)
            assert refused.value.kind.code == "rate_limited"
            server.faults.refuse = 0.5
            assert (await asyncio.wait_for(socket.send(chat, "hello"), PATIENCE)).seq == 1


async def test_a_send_that_gets_no_answer_fails_and_can_be_repeated() -> None:
    """A sender would wait for ever, or store a message twice to be sure."""
    name = "5b1f6c2e-94f0-4a6e-9d0c-2f7a8b3c1d4e"
    async with running_server(Faults(late_ack_seconds=3600)) as server, Client(server.base_url) as client:
        chat = server.new_chat()
        await client.sign_in("me@x.org", PASSWORD)
        async with client.socket({chat: 0}) as socket:
            with pytest.raises(PalaverError) as failed:
                await socket.send(chat, "hello", client_id=name, seconds=0.2)
            assert failed.value.kind.code == "unavailable"
            assert name in failed.value.message
            server.faults = Faults()
            assert (await socket.send(chat, "hello", client_id=name.upper())).seq == 1
            assert len(server.histories[chat]) == 1


async def test_no_more_than_the_bound_is_on_its_way() -> None:
    """A bot that sends without waiting would fill its own memory and the server's."""
    async with running_server(Faults(late_ack_seconds=3600)) as server, Client(server.base_url) as client:
        chat = server.new_chat()
        await client.sign_in("me@x.org", PASSWORD)
        async with client.socket({chat: 0}, unacked=3) as socket:
            sends = [asyncio.create_task(socket.send(chat, str(n))) for n in range(10)]
            await until(lambda: len(server.histories[chat]) == 3, "three are on their way")
            await socket.receipt(chat, read_seq=3)
            await until(lambda: server.receipts, "what was written behind them has arrived")
            assert len(server.histories[chat]) == 3
        failed = await asyncio.gather(*sends, return_exceptions=True)
        assert all(isinstance(error, PalaverError) for error in failed)


async def test_a_socket_whose_token_expired_comes_back_with_a_new_one() -> None:
    """Bots would fall silent after half an hour."""
    kept: list[Tokens | None] = []
    async with running_server() as server, Client(server.base_url, on_tokens=kept.append) as client:
        chat = server.new_chat()
        await client.sign_in("me@x.org", PASSWORD)
        async with client.socket({chat: 0}) as socket:
            server.expire_tokens()
            await server.close_all(4001)
            assert (await socket.send(chat, "still here")).seq == 1
            assert server.refreshes == 1
            assert kept[-1] == client.tokens
            server.expire_tokens()
            await server.close_all(1012)
            assert (await socket.send(chat, "and again")).seq == 2
            assert server.refreshes == 2


async def test_a_socket_whose_session_ended_says_so() -> None:
    """A device that was signed out would knock for ever instead of asking for the password."""
    async with running_server() as server, Client(server.base_url) as client:
        chat = server.new_chat()
        await client.sign_in("me@x.org", PASSWORD)
        async with client.socket({chat: 0}) as socket:
            server.expire_tokens()
            server.refresh_tokens.clear()
            await server.close_all(4001)
            with pytest.raises(SignedOut):
                await asyncio.wait_for(anext(socket), PATIENCE)
            with pytest.raises(SignedOut):
                await socket.send(chat, "hello?")
            assert client.tokens is None


async def test_a_frame_too_large_fails_alone() -> None:
    """One text that the server never takes would cut the connection for ever, or take other sends with it."""
    async with running_server(Faults(late_ack_seconds=0.3)) as server, Client(server.base_url) as client:
        chat = server.new_chat()
        await client.sign_in("me@x.org", PASSWORD)
        async with client.socket({chat: 0}) as socket:
            small, large = socket.send(chat, "small"), socket.send(chat, "large" * 100)
            sends = asyncio.gather(small, large, return_exceptions=True)
            await until(lambda: len(server.histories[chat]) == 2, "both are stored")
            server.histories[chat].pop()
            server.client_ids = {key: seq for key, seq in server.client_ids.items() if seq == 1}
            await server.close_all(1009)
            first, second = await asyncio.wait_for(sends, PATIENCE)
            assert first.seq == 1
            assert second.kind.code == "too_large"


async def test_changes_and_refusals_are_told() -> None:
    """An edit, or a refused receipt, would go unnoticed."""
    async with running_server() as server, Client(server.base_url) as client:
        chat = server.new_chat()
        await client.sign_in("me@x.org", PASSWORD)
        async with client.socket({chat: 0}) as socket:
            await socket.caught_up()
            await server.write(chat, "other", "helo")
            await next_message(socket)
            changed = await server.edit(chat, 1, "hello")
            assert await next_message(socket) == changed
            [line] = server.connections
            refused = Error("not_found", "no chat", chat_id=chat)
            await server.send_frame(line, refused)
            assert await asyncio.wait_for(anext(socket), PATIENCE) == refused


async def test_receipts_and_typing_reach_the_server() -> None:
    """Others would never see that something was read, or that somebody types."""
    async with running_server() as server, Client(server.base_url) as client:
        chat = server.new_chat()
        await client.sign_in("me@x.org", PASSWORD)
        async with client.socket({chat: 0}) as socket:
            await socket.receipt(chat, received_seq=2, read_seq=1)
            await socket.typing(chat)
            await until(lambda: server.receipts and server.typings, "both came")
            [receipt] = server.receipts
            assert (receipt.chat_id, receipt.received_seq, receipt.read_seq) == (chat, 2, 1)


async def test_nobody_there_is_an_error_and_not_a_wait() -> None:
    """A bot with a wrong address would hang without a word."""
    async with running_server() as server:
        url = server.base_url
        async with Client(url) as client:
            tokens = await client.sign_in("me@x.org", PASSWORD)
    async with Client(url, tokens) as client:
        with pytest.raises(PalaverError) as away:
            async with client.socket({}, connect_seconds=0.5):
                pass
        assert away.value.kind.code == "unavailable"
        assert url in away.value.message


async def test_concurrent_calls_share_one_refresh() -> None:
    """A refresh token is good for one use: a second refresh at once would end the session."""
    async with running_server() as server, Client(server.base_url) as client:
        await client.sign_in("me@x.org", PASSWORD)
        server.expire_tokens()
        pages = await asyncio.gather(*(client.chats() for _ in range(20)))
        assert len(pages) == 20
        assert server.refreshes == 1


async def test_a_token_is_refreshed_before_it_expires() -> None:
    """Each half hour a call would be made in vain first, and a socket be opened with a dying token."""
    async with running_server(expires_in=0) as server, Client(server.base_url) as client:
        await client.sign_in("me@x.org", PASSWORD)
        server.expires_in = 3600
        await client.chats()
        await client.chats()
        assert server.refreshes == 1


async def test_a_cancelled_caller_does_not_lose_the_new_tokens() -> None:
    """A time-out during a refresh would sign the user out."""
    async with running_server() as server, Client(server.base_url) as client:
        await client.sign_in("me@x.org", PASSWORD)
        server.expire_tokens()
        call = asyncio.create_task(client.chats())
        await until(lambda: server.refreshes, "the refresh is on its way")
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        await client.chats()
        assert server.refreshes == 1


async def test_refresh_whose_answer_was_lost_is_repeated() -> None:
    """A connection that breaks at the wrong moment would sign a bot out."""
    async with running_server() as server, Client(server.base_url) as client:
        await client.sign_in("me@x.org", PASSWORD)
        server.expire_tokens()
        server.lost_refreshes = 1
        assert (await asyncio.wait_for(client.chats(), PATIENCE)).chats == []
        assert server.refreshes == 2


async def test_calls_that_may_be_repeated_outlive_a_restart() -> None:
    """A bot would stop at each restart of the server."""
    async with running_server(Faults(away=1.0)) as server, Client(server.base_url) as client:
        await client.sign_in("me@x.org", PASSWORD)
        call = asyncio.create_task(client.chats())
        await asyncio.sleep(0)
        server.faults.away = 0.5
        assert (await asyncio.wait_for(call, PATIENCE)).chats == []


async def test_a_socket_that_is_closed_as_it_connects_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program would hang for ever at its end, connected to the server."""
    async with running_server() as server, Client(server.base_url) as client:
        await client.sign_in("me@x.org", PASSWORD)
        socket = client.socket({})
        handshake = socket._handshake

        async def close_at_its_end(token: str) -> aiohttp.ClientWebSocketResponse:
            connected = await handshake(token)
            # What `close` does, in the turn of the event loop in which the handshake ends
            assert socket._runner is not None
            socket._runner.cancel()
            return connected

        monkeypatch.setattr(socket, "_handshake", close_at_its_end)
        socket._runner = asyncio.create_task(socket._run())
        ended, _ = await asyncio.wait((socket._runner,), timeout=2.0)
        await socket.close()
        assert ended
