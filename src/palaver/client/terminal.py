"""`palaver chat EMAIL`: one direct chat in the terminal, line by line."""

import asyncio
import getpass
import sys
import threading
from collections.abc import Callable
from datetime import datetime

from rich.console import Console
from rich.text import Text

from palaver.client.client import Client
from palaver.client.models import User
from palaver.client.protocol import Event
from palaver.client.socket import Socket
from palaver.contracts.errors import NOT_FOUND, PalaverError
from palaver.contracts.frames import Error, Message, Presence, Typing
from palaver.runtime.printable import printable

SHOWN = 20
TYPING_SECONDS = 5.0

Prompt = Callable[[str], str]


def run(email: str, url: str, me: str | None = None) -> int:
    """Chats with the user who has `email` until Ctrl-D. Returns the process's exit code.

    Prompts for the own email, unless `me` is it, and for the password: at the terminal, or, where there is
    none, as the first lines of the standard input.
    """
    at_terminal = sys.stdin.isatty()
    prompt: Prompt = input if at_terminal else read_line
    hide: Prompt = getpass.getpass if at_terminal else read_line
    try:
        me = me or prompt("Your email: ")
        password = hide(f"Password of {me}: ")
        asyncio.run(chat(email, url, me, password))
    except PalaverError as error:
        print(f"palaver: {error.message}", file=sys.stderr)  # noqa: T201 - it is what the command shows
        return 1
    except (EOFError, KeyboardInterrupt):
        return 0
    return 0


def read_line(_prompt: str) -> str:
    """A line of an input that is no terminal. Raises `EOFError`."""
    line = sys.stdin.readline()
    if not line:
        raise EOFError
    return line.rstrip("\n")


async def chat(email: str, url: str, me: str, password: str) -> None:
    """Signs in, shows the end of the chat, then passes lines on, both ways."""
    async with Client(url) as client:
        tokens = await client.sign_in(me, password)
        companion = await client.find_user(email)
        if companion is None:
            raise PalaverError(NOT_FOUND, f"nobody has the email {shown(email)}")
        opened = await client.open_chat(companion.id)
        page = await client.messages(opened.id, limit=SHOWN)
        screen = Screen(Console(highlight=False, soft_wrap=True), tokens.user_id, companion)
        for message in page.messages:
            screen.show(message)
        screen.print_note(f"Chatting with {companion.name} {companion.surname}. Ctrl-D leaves.")
        async with client.socket({opened.id: page.last_seq}, find_chats=False) as socket:
            if page.messages:
                await socket.receipt(opened.id, read_seq=page.messages[-1].seq)
            await run_chat(socket, opened.id, screen)
        await client.sign_out()


async def run_chat(socket: Socket, chat_id: str, screen: "Screen") -> None:
    """Shows what comes and sends what is typed, until the input ends. Raises what ended the socket."""
    tasks = {
        asyncio.create_task(show_events(socket, chat_id, screen)),
        asyncio.create_task(send_lines(socket, chat_id, screen)),
    }
    done, waiting = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    for task in done:
        task.result()


async def show_events(socket: Socket, chat_id: str, screen: "Screen") -> None:
    """Shows what comes in this chat, and sends that it was read."""
    async for event in socket:
        if isinstance(event, Message | Typing) and event.chat_id != chat_id:
            continue
        screen.show(event)
        if isinstance(event, Message):
            await socket.receipt(chat_id, read_seq=event.seq)


async def send_lines(socket: Socket, chat_id: str, screen: "Screen") -> None:
    """Sends each line that is typed."""
    lines = stdin_lines()
    while (line := await lines.get()) is not None:
        if not line.strip():
            continue
        try:
            await socket.send(chat_id, line)
        except PalaverError as error:
            screen.print_note(f"not sent: {error.message}")


def stdin_lines() -> "asyncio.Queue[str | None]":
    """Lines of the standard input as they come; None: its end.

    A thread reads them, one that does not keep the process alive: a non-blocking stdin would make the
    terminal's output non-blocking too, and lose a part of it.
    """
    lines: asyncio.Queue[str | None] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def put(line: str | None) -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(lines.put_nowait, line)

    def read() -> None:
        for line in sys.stdin:
            put(line.rstrip("\n"))
        put(None)

    threading.Thread(target=read, name="stdin", daemon=True).start()
    return lines


class Screen:
    """What the user sees."""

    def __init__(self, console: Console, user_id: str, companion: User) -> None:
        self._console = console
        self._user_id = user_id
        self._companion = companion
        self._name = shown(companion.name)
        self._typing_shown_at = float("-inf")

    def show(self, event: Event) -> None:
        """Shows a message, or news of the companion."""
        match event:
            case Message():
                self._show_message(event)
            case Typing():
                now = asyncio.get_running_loop().time()
                if now - self._typing_shown_at >= TYPING_SECONDS:
                    self._typing_shown_at = now
                    self.print_note(f"{self._name} is typing …")
            case Presence() if event.user_id == self._companion.id:
                self.print_note(f"{self._name} is {'here' if event.online else 'away'}")
            case Error():
                self.print_note(event.message)

    def print_note(self, text: str) -> None:
        """Shows a remark of the program's own."""
        self._console.print(Text(shown(text), style="dim"))

    def _show_message(self, message: Message) -> None:
        own = message.sender_id == self._user_id
        at = datetime.fromisoformat(message.created_at).astimezone()
        line = Text(f"{at:%H:%M} ", style="dim")
        line.append("you" if own else self._name, style="bold cyan" if own else "bold green")
        line.append(": ")
        if message.deleted_at:
            line.append("(deleted)", style="dim")
        else:
            line.append(shown(message.text))
            line.append(" (edited)" if message.edited_at else "", style="dim")
        self._console.print(line)


def shown(text: str) -> str:
    """`text` without control characters: a message could otherwise command the reader's terminal."""
    return printable(text, keep="\n\t", instead="\N{REPLACEMENT CHARACTER}")
