"""A v2 socket that comes back by itself: drives `ClientProtocol` over aiohttp's WebSocket."""

import asyncio
import contextlib
import logging
import random
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from types import TracebackType
from typing import Self

import aiohttp

from palaver.client.backoff import Backoff
from palaver.client.chat_discovery import ChatDiscovery
from palaver.client.checks import canonical_id, check_send, check_seq, checked_cursors
from palaver.client.events import EventQueue
from palaver.client.models import Chat
from palaver.client.protocol import ClientProtocol, Event
from palaver.client.rest import Rest, bearer, cause_of
from palaver.client.sending import Sending
from palaver.client.wire import frame_bytes, is_final, read_frame, refusal_of_close, refusal_of_upgrade
from palaver.contracts.errors import TOO_LARGE, UNAUTHENTICATED, UNAVAILABLE, PalaverError
from palaver.contracts.frames import Hello, Send, Sent
from palaver.contracts.ids import new_id, text_from_id

# A server that is silent for so long, and half as long again after a ping, is gone.
HEARTBEAT_SECONDS = 20.0
HANDSHAKE_SECONDS = 15.0
CLOSE_SECONDS = 2.0

log = logging.getLogger("palaver.client")


class Socket:
    """Live events of a session, and sends that are acknowledged. Made by `Client.socket`.

    Use it as `async with`, which returns once it is attached, and iterate over it: `Message`, `Receipt`,
    `Typing`, `Presence`, and `Error` for a refused receipt or typing. Each message of a chat comes once and
    in the order of seqs, across cut connections; a changed one comes again, with `edited_at` or
    `deleted_at`. What this socket sent itself does not come: `send` returns its place. What was changed
    while the socket was away does not come either: read it from the history.

    Events wait in a bounded queue. When it is full nothing more is read, until the server cuts the socket
    off; it then comes back and resumes. Nothing is dropped.
    """

    def __init__(
        self,
        rest: Rest,
        all_chats: Callable[[], AsyncGenerator[Chat, None]],
        chat: Callable[[str], Awaitable[Chat]],
        cursors: Mapping[str, int] | None,
        *,
        find_chats: bool,
        events: int,
        unacked: int,
        connect_seconds: float,
        longest_pause: float,
    ) -> None:
        self._rest = rest
        self._protocol = ClientProtocol(checked_cursors(cursors or {}), find_chats=find_chats)
        self._discovery = ChatDiscovery(self._protocol, all_chats, chat)
        self._begin_now = cursors is None and find_chats
        self._finds_chats = find_chats
        self._connect_seconds = connect_seconds
        self._events = EventQueue(events)
        self._room = asyncio.Semaphore(unacked)
        self._sending: dict[str, Sending] = {}
        self._due = asyncio.Event()
        self._attached = asyncio.Event()
        self._caught_up = asyncio.Event()
        self._backoff = Backoff(random.random, longest=longest_pause)
        self._runner: asyncio.Task[None] | None = None
        self._ended: BaseException | None = None
        self._last_cut = PalaverError(UNAVAILABLE, "no connection in time")

    # ---- for the user ----

    async def __aenter__(self) -> Self:
        self._runner = asyncio.create_task(self._run(), name="palaver socket")
        attached = asyncio.create_task(self._attached.wait())
        try:
            await asyncio.wait(
                (attached, self._runner),
                timeout=self._connect_seconds,
                return_when=asyncio.FIRST_COMPLETED,
            )
            if not self._attached.is_set():
                raise self._ended or self._last_cut
        except BaseException:
            await self.close()
            raise
        finally:
            attached.cancel()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes the connection. Sends that wait fail with `unavailable`; the events end."""
        if self._runner is not None:
            self._runner.cancel()
            await asyncio.gather(self._runner, return_exceptions=True)
        self._end(None)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        event = await self._events.get()
        if event is None:
            raise StopAsyncIteration
        return event

    @property
    def cursors(self) -> dict[str, int]:
        """Chat id -> the last seq that was put into the queue of events, or sent. To go on from there later,
        keep it when all events have been taken."""
        return self._protocol.cursors

    @property
    def is_attached(self) -> bool:
        """Whether there is a connection now."""
        return self._protocol.is_attached

    async def caught_up(self) -> None:
        """Returns when all that was missed is in the queue of events. Raises what ended the socket."""
        while not self._is_caught_up():
            if self._ended is not None:
                raise self._ended
            self._caught_up.clear()
            await self._caught_up.wait()

    async def send(
        self, chat_id: str, text: str, *, client_id: str | None = None, seconds: float = 30.0
    ) -> Sent:
        """Sends a message, and returns its place when it is on disk. Repeats it after each cut, and after a
        refusal that passes (`rate_limited`, `overloaded`, `unavailable`, `restarting`).

        Raises what refused it last, or `unavailable`, after `seconds`, and `unavailable` when the socket is
        closed: the message may have been stored then, and a later call with the same `client_id` (a UUID)
        finds out without storing it twice. Raises any other refusal at once, e.g. `not_found`, `invalid`.
        """
        chat_id = canonical_id(chat_id, "chat_id")
        client_id = text_from_id(new_id()) if client_id is None else canonical_id(client_id, "client_id")
        check_send(Send(chat_id, client_id, text))
        reason = f"not acknowledged within {seconds:g} s: send it again with client_id {client_id}"
        sending = Sending(PalaverError(UNAVAILABLE, reason))
        try:
            async with asyncio.timeout(seconds), self._room:
                return await self._send(Send(chat_id, client_id, text), sending)
        except TimeoutError:
            raise sending.refusal from None

    async def _send(self, frame: Send, sending: Sending) -> Sent:
        if self._ended is not None:
            raise self._ended
        self._protocol.send(frame.chat_id, frame.client_id, frame.text)
        self._sending[frame.client_id] = sending
        self._due.set()
        self._events.recheck()
        try:
            return await sending.outcome
        finally:
            del self._sending[frame.client_id]
            self._protocol.give_up(frame.client_id)

    async def typing(self, chat_id: str) -> None:
        """Sends that the user is typing, where there is a connection. Others show it for 5 seconds."""
        self._protocol.send_typing(canonical_id(chat_id, "chat_id"))
        self._due.set()

    async def receipt(self, chat_id: str, *, received_seq: int = 0, read_seq: int = 0) -> None:
        """Sends how far the user has received and read a chat, now or when there is a connection again."""
        for field, seq in (("received_seq", received_seq), ("read_seq", read_seq)):
            check_seq(seq, field)
        self._protocol.set_receipt(canonical_id(chat_id, "chat_id"), received_seq, read_seq)
        self._due.set()

    # ---- connections ----

    async def _run(self) -> None:
        """Connects again and again, until the session is over or the server refuses it for good."""
        loop = asyncio.get_running_loop()
        error: BaseException | None = None
        try:
            while True:
                began = loop.time()
                try:
                    await self._connect()
                except PalaverError as cut:
                    if is_final(cut):
                        raise
                    self._last_cut = cut
                    log.info("socket cut: %s", cut.message)
                finally:
                    self._protocol.connection_lost()
                pause = self._backoff.pause_after(loop.time() - began, self._last_cut.retry_after)
                await asyncio.sleep(pause)
        except PalaverError as final:
            error = final
        except Exception as broken:
            log.exception("socket broken")
            error = broken
        finally:
            self._end(error)

    async def _connect(self) -> None:
        """One connection, from its handshake to its end. Raises why it ended."""
        if self._begin_now:
            await self._discovery.begin_now()
            self._begin_now = False
        token = await self._rest.token()
        try:
            # Not `wait_for`: on Python 3.11 it loses a cancellation that comes with the result, and `close`
            # would wait for ever
            async with asyncio.timeout(HANDSHAKE_SECONDS):
                ws = await self._handshake(token)
        except aiohttp.WSServerHandshakeError as error:
            if error.status == UNAUTHENTICATED.http:
                await self._rest.refresh(token)
            raise refusal_of_upgrade(error) from error
        except (aiohttp.ClientError, TimeoutError) as error:
            text = f"no answer from {self._rest.base_url}: {cause_of(error)}"
            raise PalaverError(UNAVAILABLE, text) from error
        tasks = [
            asyncio.create_task(self._read_frames(ws)),
            asyncio.create_task(self._write_frames(ws)),
            asyncio.create_task(self._look_up_chats()),
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CLOSE_SECONDS):
                    await ws.close()
        await self._raise_close(ws.close_code, token)

    async def _handshake(self, token: str) -> aiohttp.ClientWebSocketResponse:
        url = re.sub("^http", "ws", self._rest.base_url) + "/v2/ws"
        return await self._rest.session.ws_connect(url, headers=bearer(token), heartbeat=HEARTBEAT_SECONDS)

    async def _raise_close(self, code: int | None, token: str) -> None:
        """Raises the error of a close code."""
        if code == UNAUTHENTICATED.close:
            # Either the token is too old, or the session is over: the refresh shows which
            await self._rest.refresh(token)
        elif code == TOO_LARGE.close:
            self._protocol.give_up_longest(PalaverError(TOO_LARGE, "the message is too large", field="text"))
            self._publish()
        raise refusal_of_close(code)

    async def _read_frames(self, ws: aiohttp.ClientWebSocketResponse) -> None:
        while True:
            await self._events.wait_for_room(lambda: self._protocol.unacked > 0)
            message = await ws.receive()
            if message.type not in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
                return
            frame = read_frame(message.data)
            if frame is not None:
                self._protocol.receive_frame(frame)
                if isinstance(frame, Hello):
                    self._attached.set()
                    self._discovery.note_hello(frame.server_time)
                self._publish()
                self._due.set()

    async def _write_frames(self, ws: aiohttp.ClientWebSocketResponse) -> None:
        while True:
            self._due.clear()
            for frame in list(self._protocol.frames_to_send()):
                try:
                    await ws.send_frame(frame_bytes(frame), aiohttp.WSMsgType.TEXT)
                except ConnectionError:
                    # The close code is not read yet: the reading task finds it
                    await asyncio.Event().wait()
            await self._due.wait()

    async def _look_up_chats(self) -> None:
        """Finds out where to begin with chats that appeared. Raises `unavailable`: try it again then."""
        if not self._finds_chats:
            await asyncio.Event().wait()
        async for _ in self._discovery.find():
            self._publish()
            self._due.set()

    # ---- outcomes ----

    def _publish(self) -> None:
        """Hands out what the protocol has."""
        self._events.put(self._protocol.take_events())
        for client_id, outcome in self._protocol.take_outcomes():
            if client_id in self._sending:
                self._sending[client_id].end(outcome)
        for client_id, refusal in self._protocol.take_postponed():
            if client_id in self._sending:
                pause = self._sending[client_id].postpone(refusal)
                asyncio.get_running_loop().call_later(pause, self._send_again, client_id)
        self._discovery.add_unknown(self._protocol.take_unknown_chats())
        if self._is_caught_up():
            self._caught_up.set()

    def _send_again(self, client_id: str) -> None:
        self._protocol.send_again(client_id)
        self._due.set()

    def _is_caught_up(self) -> bool:
        return self._protocol.is_caught_up and not (self._finds_chats and self._discovery.is_looking)

    def _end(self, error: BaseException | None) -> None:
        if self._ended is None:
            self._ended = error or PalaverError(UNAVAILABLE, "the socket is closed")
        for sending in self._sending.values():
            sending.end(self._ended)
        self._events.end(error)
        self._caught_up.set()
