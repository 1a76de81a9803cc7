"""A connection to Redis that is subscribed to channels, and made anew wherever it breaks.

It is a plain connection of redis-py's, and not its `PubSub`: that one connects and subscribes again without a
word, and what was published meanwhile is lost.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from palaver.runtime.redis import metrics
from palaver.runtime.redis.client import RedisClient, pause_of
from palaver.runtime.telemetry.configuration import log

# Channels of one command. Each is confirmed with a reply of its own, and the next command waits for those
CHANNELS_AT_ONCE = 500
# A connection that is silent for so long is pinged, and given up after as long again
SILENT_SECONDS = 1.0
# So many messages are handled before others get their turn
MESSAGES_AT_ONCE = 100
# Commands of a subscribed connection
SUBSCRIBE, UNSUBSCRIBE = b"SUBSCRIBE", b"UNSUBSCRIBE"


class Command(NamedTuple):
    """What is to be sent, and who waits until it is confirmed."""

    name: bytes
    channels: list[bytes]
    waiter: asyncio.Future[None] | None = None


class Subscriber:
    """Receives what is published on some channels.

    `receive` gets channel and content of each message while the subscriber is whole: subscribed to all that
    is wanted. `become_whole` is called at the very confirmation that makes it so, the first time and after
    each loss: what was published before it may be missing, what is published after it is not.
    """

    def __init__(
        self,
        client: RedisClient,
        receive: Callable[[bytes, bytes], None],
        become_whole: Callable[[], None],
    ) -> None:
        self._client = client
        self._receive = receive
        self._become_whole = become_whole
        self._wanted: set[bytes] = set()
        self._confirmed: set[bytes] = set()
        self._outgoing: deque[Command] = deque()
        # Of the command that was sent last
        self._unconfirmed: set[bytes] = set()
        self._waiters: list[asyncio.Future[None]] = []
        self._is_connected = False
        self._go_on = asyncio.Event()
        self._whole = asyncio.Event()

    @property
    def is_whole(self) -> bool:
        """Whether all that is published on wanted channels arrives."""
        return self._whole.is_set()

    async def until_whole(self, seconds: float) -> None:
        """Waits until it is whole, but not for longer than that."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._whole.wait()

    async def subscribe(self, channels: Iterable[bytes]) -> None:
        """Adds channels. On return their messages arrive, or do so once the subscriber is whole."""
        new = [channel for channel in dict.fromkeys(channels) if channel not in self._confirmed]
        self._wanted.update(new)
        if not self.is_whole or not new:
            # Not whole: what is wanted is subscribed to before it is
            self._go_on.set()
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._outgoing.append(Command(SUBSCRIBE, new, waiter))
        self._go_on.set()
        await waiter

    def unsubscribe(self, channels: Iterable[bytes]) -> None:
        """Takes channels away, soon."""
        old = [channel for channel in channels if channel in self._wanted]
        self._wanted.difference_update(old)
        self._confirmed.difference_update(old)
        if self._is_connected:
            # The next connection subscribes to what is wanted then; until it is made, nothing is kept for it
            self._outgoing.append(Command(UNSUBSCRIBE, old))
            self._go_on.set()

    async def run(self) -> None:
        """Keeps the connection until cancelled."""
        failures = 0
        while True:
            connection = self._client.new_connection()
            try:
                await connection.connect()  # type: ignore[no-untyped-call] # redis-py's own
                await self._serve(connection)
            except Exception as error:
                # Whatever it was, without a subscription the replica would never be whole again
                failures = 1 if self.is_whole else failures + 1
                await self._lose(error)
            finally:
                self._whole.clear()
                await connection.disconnect(nowait=True)
            await asyncio.sleep(pause_of(failures))

    async def _lose(self, error: Exception) -> None:
        was_whole = self.is_whole
        self._whole.clear()
        self._release_waiters()
        # One line: where Redis itself is away, the client writes it
        if was_whole and await self._client.is_usable():
            log.warning("subscriptions_lost", cause=type(error).__name__, channels=len(self._wanted))

    async def _serve(self, connection: AbstractConnection) -> None:
        """Runs until the connection breaks, which raises."""
        self._confirmed.clear()
        self._unconfirmed.clear()
        self._release_waiters()
        self._is_connected = True
        self._go_on.set()
        sending = asyncio.create_task(self._send(connection), name="subscriptions")
        try:
            await self._read(connection)
        finally:
            self._is_connected = False
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)

    async def _read(self, connection: AbstractConnection) -> None:
        handled, was_pinged = 0, False
        while True:
            reply = await connection.read_response(timeout=SILENT_SECONDS)
            if reply is not None:
                was_pinged = False
                self._handle(reply)
            elif was_pinged or not connection.is_connected:
                # Half-open: the other side may have forgotten it long ago
                raise RedisConnectionError("no answer")
            else:
                was_pinged = True
                await send(connection, b"PING")
            handled += 1
            if not handled % MESSAGES_AT_ONCE:
                await asyncio.sleep(0)

    def _handle(self, reply: Any) -> None:
        match reply:
            case [b"message", channel, content]:
                if self.is_whole:
                    self._receive(channel, content)
            case [b"subscribe", channel, _]:
                self._unconfirmed.discard(channel)
                if channel in self._wanted:
                    self._confirmed.add(channel)
                self._note_confirmation()
            case [b"unsubscribe", *_]:
                # It may have been the last one that was missing
                self._note_confirmation()

    def _note_confirmation(self) -> None:
        if self._unconfirmed:
            return
        self._release(self._waiters)
        self._go_on.set()
        if not self.is_whole and len(self._confirmed) == len(self._wanted):
            self._whole.set()
            metrics.SUBSCRIPTIONS_MADE.inc()
            self._become_whole()

    async def _send(self, connection: AbstractConnection) -> None:
        """Sends commands in their order, each when those before it are confirmed; until cancelled."""
        try:
            while True:
                await self._go_on.wait()
                self._go_on.clear()
                while not self._unconfirmed and (command := self._take()) is not None:
                    if not command.channels:
                        continue
                    if command.name is SUBSCRIBE:
                        self._unconfirmed.update(command.channels)
                    await send(connection, command.name, *command.channels)
        except (RedisError, OSError):
            # The reader sees it too
            await connection.disconnect(nowait=True)

    def _take(self) -> Command | None:
        """The next command: of all that waits in a row and is of one kind, as many channels as one takes."""
        missing = self._wanted - self._confirmed if not (self._outgoing or self.is_whole) else None
        if missing:
            # Wanted by a new connection, or since it was made
            self._outgoing.append(Command(SUBSCRIBE, list(missing)))
        if not self._outgoing:
            return None
        channels: list[bytes] = []
        name = self._outgoing[0].name
        while self._outgoing and self._outgoing[0].name is name and len(channels) < CHANNELS_AT_ONCE:
            _, more, waiter = self._outgoing.popleft()
            if name is UNSUBSCRIBE:
                # Those that are wanted again stay, without a moment between
                more = [channel for channel in more if channel not in self._wanted]
            room = CHANNELS_AT_ONCE - len(channels)
            channels += more[:room]
            if more[room:]:
                self._outgoing.appendleft(Command(name, more[room:], waiter))
            elif waiter is not None:
                self._waiters.append(waiter)
        return Command(name, channels)

    def _release_waiters(self) -> None:
        """Nobody waits for a connection that is lost: the next one is subscribed to all, and then whole."""
        self._waiters += [command.waiter for command in self._outgoing if command.waiter is not None]
        self._outgoing.clear()
        self._release(self._waiters)

    @staticmethod
    def _release(waiters: list[asyncio.Future[None]]) -> None:
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)
        waiters.clear()


async def send(connection: AbstractConnection, *words: bytes) -> None:
    """Sends a command. Raises redis-py's `ConnectionError` where the connection is lost.

    redis-py itself would make another one, without the subscriptions.
    """
    if not connection.is_connected:
        raise RedisConnectionError("not connected")
    await connection.send_packed_command(connection.pack_command(*words), check_health=False)
