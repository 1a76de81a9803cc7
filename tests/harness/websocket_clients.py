"""Light WebSocket clients: hundreds of them in one process, which keep what they are told."""

import json
from typing import Any, Self
from uuid import UUID

from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

from palaver.contracts.ids import new_id, text_from_id
from tests.harness.realtime import Gateway


class WebSocketClient(WSListener):
    """One socket of a user. `told`: payloads of its frames; `closed`: its close code, 0 without one."""

    def __init__(self, user_id: bytes) -> None:
        self.user_id = user_id
        self.received: list[bytes] = []
        self.closed: int | None = None
        self.transport: WSTransport | None = None

    @classmethod
    async def open(cls, gateway: Gateway, path: str, user_id: bytes) -> Self:
        """Connects as a new session of the user."""
        token = gateway.keys.token(user_id)
        _, listener = await ws_connect(
            lambda: cls(user_id), gateway.url(path), extra_headers={"Authorization": token}
        )
        return listener  # type: ignore[return-value] # what the factory made

    def on_ws_connected(self, transport: WSTransport) -> None:
        """See `WSListener`."""
        self.transport = transport

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """See `WSListener`."""
        if frame.msg_type == WSMsgType.TEXT:
            self.received.append(frame.get_payload_as_bytes())
        elif frame.msg_type == WSMsgType.CLOSE:
            self.closed = int(frame.get_close_code())
            transport.disconnect()

    def on_ws_disconnected(self, transport: WSTransport) -> None:  # noqa: ARG002 - the signature is picows'
        """See `WSListener`."""
        if self.closed is None:
            self.closed = 0

    def send_frame(self, frame: dict[str, Any]) -> None:
        """Sends a frame."""
        assert self.transport is not None
        self.transport.send(WSMsgType.TEXT, json.dumps(frame).encode())

    def disconnect(self) -> None:
        """Drops the connection."""
        assert self.transport is not None
        self.transport.disconnect(False)


class WebSocketClientV1(WebSocketClient):
    """A socket of v1."""

    def send(self, chat_id: bytes, *texts: str) -> None:
        """Sends messages, all in one frame."""
        payload = {
            "chat_id": text_from_id(chat_id),
            "messages": [{"text": text, "status": "created"} for text in texts],
        }
        self.send_frame({"topic": "messenger", "action": "send-message", "payload": json.dumps(payload)})

    @property
    def texts(self) -> list[str]:
        """The texts of all messages that it was told."""
        found = []
        for told in self.received:
            envelope = json.loads(told)
            if envelope["action"] == "send-message":
                found += [message["text"] for message in json.loads(envelope["payload"])["messages"]]
        return found

    @property
    def errors(self) -> list[bytes]:
        """Error frames."""
        return [told for told in self.received if b'"action":"error"' in told]


class WebSocketClientV2(WebSocketClient):
    """A socket of v2."""

    def send(self, chat_id: bytes, text: str, client_id: bytes | None = None) -> bytes:
        """Sends a message. Returns its client id."""
        client_id = client_id or new_id()
        self.send_frame(
            {
                "type": "send",
                "chat_id": text_from_id(chat_id),
                "client_id": text_from_id(client_id),
                "text": text,
            }
        )
        return client_id

    def resume(self, cursors: dict[bytes, int]) -> None:
        """Asks for what came behind the cursors."""
        self.send_frame(
            {"type": "resume", "cursors": {text_from_id(chat): seq for chat, seq in cursors.items()}}
        )

    def frames(self, kind: str) -> list[dict[str, Any]]:
        """All frames of a type."""
        return [frame for frame in map(json.loads, self.received) if frame["type"] == kind]

    @property
    def seqs(self) -> list[int]:
        """The seqs of all messages that it was told, of whatever chat."""
        return [frame["seq"] for frame in self.frames("message")]

    @property
    def acks(self) -> dict[bytes, list[int]]:
        """Client id -> seqs that acknowledged it."""
        found: dict[bytes, list[int]] = {}
        for frame in self.frames("sent"):
            found.setdefault(UUID(frame["client_id"]).bytes, []).append(frame["seq"])
        return found
