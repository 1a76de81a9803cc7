"""A relay that stores nothing: what this machine gives at most with the same frames. `python -m bench.relay`.

A token `relay-PAIR-SIDE` names both ends of a pair: no accounts, no chats, no checks.
"""

import asyncio
from urllib.parse import parse_qs, urlsplit

import uvloop
from picows import WSFrame, WSListener, WSMsgType, WSTransport, WSUpgradeRequest, ws_create_server

_ID = b"01890000-0000-7000-8000-000000000000"
_NOW = b"2020-12-13T00:43:34.231222Z"

sockets: dict[str, WSTransport] = {}


class RelaySocket(WSListener):
    """Hands each frame to the other side."""

    def __init__(self, token: str, newest: bool) -> None:
        super().__init__()
        self._token = token
        _, pair, side = token.split("-")
        self._other = f"relay-{pair}-{1 - int(side)}"
        self._newest = newest

    def on_ws_connected(self, transport: WSTransport) -> None:
        """Becomes somebody's other side."""
        sockets[self._token] = transport

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Relays; in v2 acknowledges too."""
        if frame.msg_type != WSMsgType.TEXT:
            return
        payload = frame.get_payload_as_bytes()
        other = sockets.get(self._other)
        if not self._newest:
            if other is not None:
                other.send(WSMsgType.TEXT, payload)
            return
        chat, client, text = fields_of_send(payload)
        middle = b'","chat_id":"' + chat + b'","seq":1,"id":"' + _ID
        if other is not None:
            told = b'{"type":"message' + middle + b'","sender_id":"' + _ID + b'","client_id":"' + client
            other.send(WSMsgType.TEXT, told + b'","text":"' + text + b'","created_at":"' + _NOW + b'"}')
        sent = b'{"type":"sent","client_id":"' + client + middle + b'","created_at":"' + _NOW + b'"}'
        transport.send(WSMsgType.TEXT, sent)


def fields_of_send(payload: bytes) -> tuple[bytes, bytes, bytes]:
    """Chat id, client id and text of a v2 `send` as the bench writes it."""
    parts = payload.split(b'"')
    return parts[7], parts[11], parts[15]


def accept(request: WSUpgradeRequest) -> RelaySocket:
    """A socket by its path and token."""
    url = urlsplit(request.path.decode())
    return RelaySocket(parse_qs(url.query)["token"][0], newest=url.path.startswith("/v2"))


async def serve() -> None:
    """Prints its port, then relays until it is killed."""
    server = await ws_create_server(accept, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve())
