"""The Python client, the terminal chat and the tutorial against a whole Palaver."""

import asyncio
import os
import re
import subprocess
import sys
import uuid
from pathlib import Path
from typing import TypeVar

import pytest

from palaver.client import Client, Message, PalaverError, Receipt, SignedOut, Socket, Typing
from tests.harness.palaver_process import PalaverProcess

Kind = TypeVar("Kind")
PASSWORD = "correct horse"
PATIENCE = 30.0
TUTORIAL = Path(__file__).parents[2] / "docs" / "tutorial" / "first-bot.md"
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("PALAVER_")}


async def sign_up(client: Client, name: str, email: str = "") -> str:
    """A new user, signed in; their id."""
    email = email or f"{name.lower()}-{uuid.uuid4().hex}@example.org"
    await client.sign_up(email, PASSWORD, name=name, surname="Example")
    return (await client.sign_in(email, PASSWORD)).user_id


async def next_of(socket: Socket, kind: type[Kind]) -> Kind:
    """The next event of a kind; others are passed over."""
    async with asyncio.timeout(PATIENCE):
        async for event in socket:
            if isinstance(event, kind):
                return event
    raise AssertionError("the events ended")


async def test_two_users_talk(shared_palaver: PalaverProcess) -> None:
    """The client would not fit the server: bots, tests and the bench stand on it."""
    url = shared_palaver.base_url
    async with Client(url) as alice, Client(url) as bob:
        alice_id, bob_id = await sign_up(alice, "Alice"), await sign_up(bob, "Bob")
        chat = await alice.open_chat(bob_id)
        async with alice.socket() as here, bob.socket() as there:
            sent = await here.send(chat.id, "Hello, Bob!")
            heard = await next_of(there, Message)
            assert (heard.seq, heard.id, heard.text, heard.sender_id) == (1, sent.id, "Hello, Bob!", alice_id)
            await there.typing(chat.id)
            assert (await next_of(here, Typing)).user_id == bob_id
            await there.receipt(chat.id, read_seq=1)
            assert await next_of(here, Receipt) == Receipt(chat.id, bob_id, 1, 1)
            await alice.edit_message(chat.id, 1, "Hello, Robert!")
            assert (await next_of(there, Message)).text == "Hello, Robert!"
            await alice.delete_message(chat.id, 1)
            assert (await next_of(there, Message)).deleted_at
            again = await here.send(chat.id, "Hello, Bob!", client_id=sent.client_id)
            assert (again.seq, again.id) == (1, sent.id)


async def test_a_history_of_long_texts_is_read_to_its_end(shared_palaver: PalaverProcess) -> None:
    """The client would take a page that long texts have cut short for the end (messages would be missed)."""
    url = shared_palaver.base_url
    async with Client(url) as alice, Client(url) as bob:
        await sign_up(alice, "Alice")
        chat = await alice.open_chat(await sign_up(bob, "Bob"))
        for _ in range(3):
            await alice.send(chat.id, *["\N{FIRE}" * 16_384] * 15)
        await alice.send(chat.id, *map(str, range(46, 101)))
        first = await bob.messages(chat.id, after_seq=0, limit=200)
        assert len(first.messages) < 45
        assert first.has_more
        assert [message.seq async for message in bob.all_messages(chat.id)] == list(range(1, 101))
        listed = await bob.chats()
        assert [one.member_count for one in listed.chats] == [2]


async def test_every_call_fits_the_server(shared_palaver: PalaverProcess) -> None:
    """A method of the client would not know the server's answer."""
    url = shared_palaver.base_url
    async with Client(url) as alice, Client(url) as bob:
        alice_id, bob_id = await sign_up(alice, "Alice"), await sign_up(bob, "Bob")
        assert (await alice.me()).id == alice_id
        assert (await alice.change_profile(city="Nashville")).city == "Nashville"
        email = (await bob.me()).email
        found = await alice.find_user(email.upper())
        assert found is not None
        assert found.id == bob_id
        assert await alice.find_user("nobody+at@example.org") is None
        assert bob_id in {user.id for user in (await alice.search_users("Bob Exam", limit=100)).users}
        group = await alice.create_group("Tour", [bob_id], key="tour")
        assert (await alice.create_group("Tour", [bob_id], key="tour")).id == group.id
        messages = await alice.send(group.id, *(f"text {n}" for n in range(3)))
        assert [message.seq for message in messages] == [1, 2, 3]
        assert [m.text async for m in bob.all_messages(group.id, after_seq=1)] == ["text 1", "text 2"]
        page = await bob.messages(group.id, before_seq=3, limit=1)
        assert [message.seq for message in page.messages] == [2]
        assert (await bob.set_receipt(group.id, read_seq=2)).read_seq == 2
        assert (await bob.chat(group.id)).unread == 1
        direct = await alice.open_chat(bob_id)
        assert {chat.id async for chat in bob.all_chats()} == {group.id, direct.id}
        await alice.remove_member(group.id, bob_id)
        assert (await bob.chat(group.id)).left
        assert len((await alice.add_members(group.id, [bob_id])).members) == 2
        assert [session.current for session in await alice.sessions()] == [True]


async def test_refusals_are_errors_of_the_catalogue(shared_palaver: PalaverProcess) -> None:
    """A bot could not tell what it did wrong."""
    async with Client(shared_palaver.base_url) as client:
        with pytest.raises(SignedOut):
            await client.me()
        await sign_up(client, "Alice")
        nobody = str(uuid.uuid4())
        with pytest.raises(PalaverError) as refused:
            await client.chat(nobody)
        assert refused.value.kind.code == "not_found"
        with pytest.raises(PalaverError) as refused:
            await client.open_chat("bob")
        assert (refused.value.kind.code, refused.value.field) == ("invalid", "companion_id")
        async with client.socket() as socket:
            with pytest.raises(PalaverError) as refused:
                await socket.send(nobody, "hello")
            assert refused.value.kind.code == "not_found"


async def test_a_text_too_long_fails_at_once(shared_palaver: PalaverProcess) -> None:
    """The sender would wait for a time-out instead of learning that the text is too long."""
    url = shared_palaver.base_url
    async with Client(url) as alice, Client(url) as bob:
        await sign_up(alice, "Alice")
        chat = await alice.open_chat(await sign_up(bob, "Bob"))
        async with alice.socket() as socket:
            with pytest.raises(PalaverError) as refused:
                await socket.send(chat.id, "x" * 20_000, seconds=PATIENCE)
            assert (refused.value.kind.code, refused.value.field) == ("invalid", "text")


async def test_signing_out_ends_the_sockets(shared_palaver: PalaverProcess) -> None:
    """A device that was signed out from another one would go on hearing everything."""
    url = shared_palaver.base_url
    async with Client(url) as alice, Client(url) as elsewhere:
        await sign_up(alice, "Alice")
        await elsewhere.sign_in((await alice.me()).email, PASSWORD)
        async with alice.socket() as socket:
            tokens = alice.tokens
            assert tokens is not None
            await elsewhere.end_session(tokens.session_id)
            with pytest.raises(SignedOut):
                await next_of(socket, Message)


async def test_a_conversation_outlives_killed_services(palaver: PalaverProcess) -> None:
    """Each restart of the server would lose or double messages of every bot."""
    async with Client(palaver.base_url) as alice, Client(palaver.base_url) as bob:
        await sign_up(alice, "Alice")
        chat = await alice.open_chat(await sign_up(bob, "Bob"))
        heard: list[Message] = []
        async with (
            alice.socket(longest_pause=0.5) as here,
            bob.socket({chat.id: 0}, longest_pause=0.5) as there,
        ):

            async def hear() -> None:
                while len(heard) < 300:
                    heard.append(await next_of(there, Message))

            hearing = asyncio.create_task(hear())
            sends = [asyncio.create_task(here.send(chat.id, f"text {n}", seconds=60)) for n in range(300)]
            for service in ("messenger", "gateway"):
                async with asyncio.timeout(PATIENCE):
                    await sends[50 if service == "messenger" else 150]
                await asyncio.to_thread(palaver.kill, service)
            acks = await asyncio.gather(*sends)
            async with asyncio.timeout(PATIENCE):
                await hearing
        history = [message async for message in alice.all_messages(chat.id)]
        assert [m.seq for m in heard] == [m.seq for m in history] == list(range(1, 301))
        assert [m.id for m in heard] == [m.id for m in history]
        assert {(ack.seq, ack.id) for ack in acks} == {(m.seq, m.id) for m in history}


async def test_the_terminal_chat(shared_palaver: PalaverProcess) -> None:
    """`palaver chat` would not chat."""
    url = shared_palaver.base_url
    async with Client(url) as alice, Client(url) as bob:
        await sign_up(bob, "Bob")
        chat = await bob.open_chat(await sign_up(alice, "Alice"))
        await bob.send(chat.id, "are you there?")
        emails = (await bob.me()).email, (await alice.me()).email
        async with bob.socket() as socket:
            process = await start_chat(url, *emails)
            assert process.stdin is not None
            process.stdin.write(f"{PASSWORD}\nyes, I am\n".encode())
            await process.stdin.drain()
            assert (await next_of(socket, Message)).text == "yes, I am"
            await socket.send(chat.id, "good\x1b[2J")
            async with asyncio.timeout(PATIENCE):
                while (await next_of(socket, Receipt)).read_seq < 3:
                    pass
            output, errors = await asyncio.wait_for(process.communicate(b""), PATIENCE)
    assert process.returncode == 0, errors
    lines = [line[6:] for line in output.decode().splitlines()]
    assert "Bob: are you there?" in lines
    assert "Bob: good\N{REPLACEMENT CHARACTER}[2J" in lines


async def test_the_terminal_chat_says_what_is_wrong(shared_palaver: PalaverProcess) -> None:
    """A wrong password would be a page of Python."""
    async with Client(shared_palaver.base_url) as alice:
        await sign_up(alice, "Alice")
        email = (await alice.me()).email
        for word, companion, reason in (
            ("wrong horse", email, "password"),
            (PASSWORD, "nobody@example.org", "nobody has the email nobody@example.org"),
        ):
            process = await start_chat(shared_palaver.base_url, companion, email)
            output, errors = await asyncio.wait_for(process.communicate(f"{word}\n".encode()), PATIENCE)
            assert process.returncode == 1
            assert output == b""
            assert reason in errors.decode()
            assert errors.decode().count("\n") == 1


async def start_chat(url: str, companion: str, me: str) -> asyncio.subprocess.Process:
    """`palaver chat`, with pipes."""
    words = [sys.executable, "-m", "palaver", "chat", companion, "--as", me, "--url", url]
    pipe = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(*words, stdin=pipe, stdout=pipe, stderr=pipe, env=ENVIRONMENT)


async def test_the_tutorials_bot_works_as_it_is_written(palaver: PalaverProcess, tmp_path: Path) -> None:
    """A reader's first bot would not run, or not do what the page promises."""
    programs = [
        text.replace("http://localhost:10000", palaver.base_url)
        for text in re.findall(r"```python\n(.*?)```", TUTORIAL.read_text(), re.DOTALL)
    ]
    accounts, first, remembering = programs
    made = await asyncio.to_thread(run_program, accounts, tmp_path)
    assert made.returncode == 0, made.stderr
    async with Client(palaver.base_url) as alice:
        await alice.sign_in("alice@example.org", PASSWORD)
        echo = await alice.find_user("echo@example.org")
        assert echo is not None
        chat = await alice.open_chat(echo.id)
        async with alice.socket() as socket:
            bot = start_program(remembering, tmp_path)
            try:
                await socket.send(chat.id, "one")
                assert (await next_of(socket, Message)).text == "You said: one"
            finally:
                bot.kill()
                bot.wait()
            await socket.send(chat.id, "two")
            bot = start_program(remembering, tmp_path)
            try:
                assert (await next_of(socket, Message)).text == "You said: two"
            finally:
                bot.kill()
                bot.wait()
            bot = start_program(first, tmp_path)
            try:
                # It begins with what comes once it is there, so it is asked until it answers
                answer = asyncio.create_task(next_of(socket, Message))
                async with asyncio.timeout(PATIENCE):
                    while not answer.done():
                        await socket.send(chat.id, "three")
                        await asyncio.wait({answer}, timeout=0.2)
                assert answer.result().text == "You said: three"
            finally:
                bot.kill()
                bot.wait()
        texts = [message.text async for message in alice.all_messages(chat.id)]
        assert texts[:4] == ["one", "You said: one", "two", "You said: two"]


def start_program(text: str, directory: Path) -> "subprocess.Popen[bytes]":
    """Starts a program of the tutorial."""
    return subprocess.Popen([sys.executable, "-c", text], cwd=directory, env=ENVIRONMENT)


def run_program(text: str, directory: Path) -> "subprocess.CompletedProcess[str]":
    """Runs a program of the tutorial to its end."""
    return subprocess.run(
        [sys.executable, "-c", text],
        cwd=directory,
        env=ENVIRONMENT,
        timeout=PATIENCE,
        capture_output=True,
        text=True,
        check=False,
    )
