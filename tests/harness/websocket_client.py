"""The WebSocket client of the tests: light enough for hundreds in one process."""

import asyncio
import json
from collections.abc import Callable
from typing import Any, Self
from uuid import UUID

from picows import WSCloseCode, WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

from palaver.contracts.ids import new_id, text_from_id
from tests.harness.realtime import Gateway

RECEIVE_SECONDS = 10.0


class WebSocketClient(WSListener):
    """One socket.

    `received`: payloads of all its text frames. `closed`: its close code, None while it is open, 0 where the
    connection ended without one. `receive` and its kin return frame after frame, and put those that they pass
    over in `skipped`.
    """

    def __init__(self) -> None:
        self.received: list[bytes] = []
        self.skipped: list[dict[str, Any]] = []
        self.closed: int | None = None
        self.transport: WSTransport | None = None
        self._next = 0
        self._changed = asyncio.Event()

    @classmethod
    async def connect(cls, url: str, token: str = "") -> Self:
        """Connects with `token` as the authorization header. Raises `picows.WSError` where it is refused."""
        headers = {"Authorization": token} if token else None
        _, client = await ws_connect(cls, url, extra_headers=headers)
        return client  # type: ignore[return-value] # what the factory made

    @classmethod
    async def open(cls, gateway: Gateway, path: str, user_id: bytes) -> Self:
        """Connects as a new session of the user."""
        return await cls.connect(gateway.url(path), gateway.keys.token(user_id))

    # ---- see `WSListener` ----

    def on_ws_connected(self, transport: WSTransport) -> None:
        """Keeps the transport."""
        self.transport = transport

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Keeps a text, and answers a close."""
        if frame.msg_type == WSMsgType.TEXT:
            self.received.append(frame.get_payload_as_bytes())
        elif frame.msg_type == WSMsgType.CLOSE:
            self.closed = int(frame.get_close_code())
            transport.send_close(self.closed)
            transport.disconnect()
        self._changed.set()

    def on_ws_disconnected(self, transport: WSTransport) -> None:  # noqa: ARG002 - the signature is picows'
        """Notes that the connection is gone."""
        if self.closed is None:
            self.closed = 0
        self._changed.set()

    # ---- what a test does ----

    def send(self, frame: Any) -> None:
        """Sends a text frame: a string as it is, anything else as JSON."""
        assert self.transport is not None
        text = frame if isinstance(frame, str) else json.dumps(frame, ensure_ascii=False)
        self.transport.send(WSMsgType.TEXT, text.encode())

    async def next_frame(self) -> str | None:
        """The next text frame; None behind the last one of a closed socket. Waits without end."""
        while self._next == len(self.received):
            if self.closed is not None:
                return None
            self._changed.clear()
            await self._changed.wait()
        self._next += 1
        return self.received[self._next - 1].decode()

    async def receive(self) -> str:
        """The next text frame. Raises `AssertionError` where the socket is closed before it."""
        frame = await asyncio.wait_for(self.next_frame(), RECEIVE_SECONDS)
        assert frame is not None, f"closed with {self.closed}"
        return frame

    async def receive_json(self) -> dict[str, Any]:
        """The next text frame, decoded."""
        found: dict[str, Any] = json.loads(await self.receive())
        return found

    async def receive_type(self, kind: str) -> dict[str, Any]:
        """The next frame of v2 of this type."""
        return await self.receive_matching(lambda frame: frame["type"] == kind)

    async def receive_matching(self, matches: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The next frame that `matches`."""
        while True:
            frame = await self.receive_json()
            if matches(frame):
                return frame
            self.skipped.append(frame)

    async def receive_close(self, seconds: float = RECEIVE_SECONDS) -> int:
        """The code with which the server closes the socket. Passes over text frames before it."""
        async with asyncio.timeout(seconds):
            while await self.next_frame() is not None:
                pass
        assert self.closed, "the connection ended without a close frame"
        return self.closed

    async def close(self) -> None:
        """Closes in order, and waits until the connection is gone."""
        assert self.transport is not None
        if self.closed is None:
            self.transport.send_close(WSCloseCode.OK)
        await asyncio.wait_for(self.transport.wait_disconnected(), RECEIVE_SECONDS)

    def disconnect(self) -> None:
        """Resets the connection, as a network does: without a close frame."""
        assert self.transport is not None
        self.transport.disconnect(False)


class WebSocketClientV1(WebSocketClient):
    """A client of v1."""

    def send_message(self, chat_id: bytes, *texts: str) -> None:
        """Sends messages, all in one frame."""
        payload = {
            "chat_id": text_from_id(chat_id),
            "messages": [{"text": text, "status": "created"} for text in texts],
        }
        self.send({"topic": "messenger", "action": "send-message", "payload": json.dumps(payload)})

    @property
    def texts(self) -> list[str]:
        """The texts of all messages that it received."""
        found = []
        for payload in self.received:
            envelope = json.loads(payload)
            if envelope["action"] == "send-message":
                found += [message["text"] for message in json.loads(envelope["payload"])["messages"]]
        return found

    @property
    def errors(self) -> list[bytes]:
        """Error frames."""
        return [payload for payload in self.received if b'"action":"error"' in payload]


class WebSocketClientV2(WebSocketClient):
    """A client of v2."""

    def send_message(self, chat_id: bytes, text: str, client_id: bytes | None = None) -> bytes:
        """Sends a message. Returns its client id."""
        client_id = client_id or new_id()
        self.send(
            {
                "type": "send",
                "chat_id": text_from_id(chat_id),
                "client_id": text_from_id(client_id),
                "text": text,
            }
        )
        return client_id

    def resume(self, cursors: dict[bytes, int]) -> None:
        """Requests the messages behind the cursors."""
        self.send({"type": "resume", "cursors": {text_from_id(chat): seq for chat, seq in cursors.items()}})

    def frames(self, kind: str) -> list[dict[str, Any]]:
        """All frames of a type."""
        return [frame for frame in map(json.loads, self.received) if frame["type"] == kind]

    @property
    def seqs(self) -> list[int]:
        """The seqs of all messages that it received, of any chat."""
        return [frame["seq"] for frame in self.frames("message")]

    @property
    def acks(self) -> dict[bytes, list[int]]:
        """Client id -> seqs that acknowledged it."""
        found: dict[bytes, list[int]] = {}
        for frame in self.frames("sent"):
            found.setdefault(UUID(frame["client_id"]).bytes, []).append(frame["seq"])
        return found
