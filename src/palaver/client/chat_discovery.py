"""Where a socket begins with chats that it has no cursor for, because they appeared while it lived."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable
from datetime import datetime, timedelta

from palaver.client.models import Chat
from palaver.client.protocol import ClientProtocol
from palaver.contracts.errors import PalaverError
from palaver.contracts.seqs import LAST_SEQ

# Clocks of the server's replicas differ by less.
MARGIN = timedelta(minutes=1)

log = logging.getLogger("palaver.client")


class ChatDiscovery:
    """Looks for chats by REST, and starts each in the protocol."""

    def __init__(
        self,
        protocol: ClientProtocol,
        all_chats: Callable[[], AsyncGenerator[Chat, None]],
        chat: Callable[[str], Awaitable[Chat]],
    ) -> None:
        self._protocol = protocol
        self._all_chats = all_chats
        self._chat = chat
        # Chats without activity since then were looked at before
        self._since: datetime | None = None
        self._hello_at: datetime | None = None
        self._unknown: dict[str, None] = {}
        self._wake = asyncio.Event()

    async def begin_now(self) -> None:
        """Takes all that there is as seen, before the first connection. That one resumes what comes after
        this call."""
        async for chat in self._all_chats():
            self._since = self._since or datetime.fromisoformat(chat.active_at) - MARGIN
            self._protocol.start_chat(chat.id, chat.last_seq)

    @property
    def is_looking(self) -> bool:
        """Whether there may be chats that are not found yet."""
        return self._hello_at is not None or bool(self._unknown)

    def note_hello(self, server_time: str) -> None:
        """Notes a new connection: chats may have appeared before it, of which no live message comes."""
        self._hello_at = datetime.fromisoformat(server_time) - MARGIN
        self._wake.set()

    def add_unknown(self, chat_ids: Iterable[str]) -> None:
        """Adds chats without a cursor, of which messages came."""
        for chat_id in chat_ids:
            self._unknown[chat_id] = None
            self._wake.set()

    async def find(self) -> AsyncIterator[None]:
        """Finds chats as long as a connection lives; yields after each step that found some.

        Raises `PalaverError` where chats can't be listed.
        """
        while True:
            await self._wake.wait()
            self._wake.clear()
            if self._hello_at is not None:
                await self._find_missed()
                self._since, self._hello_at = self._hello_at, None
                yield
            while self._unknown:
                # Kept until its end: a cut in between must not forget the chat
                chat_id = next(iter(self._unknown))
                await self._find_one(chat_id)
                del self._unknown[chat_id]
                yield

    async def _find_missed(self) -> None:
        async with contextlib.aclosing(self._all_chats()) as chats:
            async for chat in chats:
                if self._since is not None and datetime.fromisoformat(chat.active_at) < self._since:
                    return
                if not self._protocol.knows_chat(chat.id):
                    self._protocol.start_chat(chat.id, start_of(chat))

    async def _find_one(self, chat_id: str) -> None:
        try:
            start = start_of(await self._chat(chat_id))
        except PalaverError as error:
            log.warning("chat %s begins with its live messages: %s", chat_id, error.message)
            start = LAST_SEQ
        self._protocol.start_chat(chat_id, start)


def start_of(chat: Chat) -> int:
    """The seq after which a chat is new to its user: a group may have had a history before they joined."""
    return 0 if chat.kind == "direct" else chat.last_seq - chat.unread
