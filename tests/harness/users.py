"""Users of a running Palaver, by HTTP and WebSocket clients that know nothing of Palaver's own client."""

import contextlib
import json
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import aiohttp

from tests.harness.http_client import HttpClient, HttpResponse
from tests.harness.nginx import Nginx
from tests.harness.palaver_process import PalaverProcess
from tests.harness.services import PalaverServices
from tests.harness.websocket_client import WebSocketClient

PASSWORD = "correct horse"


@dataclass
class ApiUser:
    """A signed-in user. `api`: how to reach Palaver."""

    api: "ApiClient"
    email: str
    user_id: str
    session_id: str
    token: str
    refresh_token: str
    name: str

    async def v2(self, method: str, path: str, body: Any = None, **options: Any) -> HttpResponse:
        """A request of v2, `path` behind `/v2`."""
        return await self.api.call(method, "/v2" + path, body, token="Bearer " + self.token, **options)

    async def legacy(self, method: str, path: str, body: Any = None, **options: Any) -> HttpResponse:
        """A request of v1 or v0: the token has no prefix."""
        return await self.api.call(method, path, body, token=self.token, **options)

    async def chat_with(self, other: "ApiUser") -> str:
        """The id of the direct chat of the two."""
        answer = await self.v2("POST", "/chats", {"companion_id": other.user_id})
        assert answer.status in (200, 201), answer.body
        return str(answer.json["id"])

    async def send(self, chat_id: str, *texts: str) -> list[dict[str, Any]]:
        """Sends over REST; the messages as stored."""
        body = {"messages": [{"text": text} for text in texts]}
        sent = (await self.v2("POST", f"/chats/{chat_id}/messages", body)).ok(201)
        return list(sent["messages"])

    async def history(self, chat_id: str) -> list[dict[str, Any]]:
        """All messages of a chat, by seq."""
        found: list[dict[str, Any]] = []
        while True:
            query = f"after_seq={len(found)}&limit=200"
            page = (await self.v2("GET", f"/chats/{chat_id}/messages?{query}")).ok()
            found += page["messages"]
            if len(found) >= page["last_seq"]:
                return found

    @contextlib.asynccontextmanager
    async def socket_v1(self) -> AsyncIterator[WebSocketClient]:
        """A socket of v1, attached: it gets all that is sent from now on."""
        socket = await WebSocketClient.connect(f"{self.api.ws_url}/messenger/ws?token={self.token}")
        try:
            socket.send("no frame of v1")
            assert "error" in await socket.receive()
            yield socket
        finally:
            await socket.close()

    @contextlib.asynccontextmanager
    async def socket_v2(self) -> AsyncIterator[WebSocketClient]:
        """A socket of v2, attached, its `hello` received."""
        socket = await WebSocketClient.connect(self.api.ws_url + "/v2/ws", "Bearer " + self.token)
        try:
            await socket.receive_type("hello")
            yield socket
        finally:
            await socket.close()


class ApiClient(HttpClient):
    """The public address of a running Palaver."""

    def __init__(self, http: aiohttp.ClientSession, url: str, ws_url: str) -> None:
        super().__init__(http, url)
        self.ws_url = ws_url

    async def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        token: str = "",
        headers: dict[str, str] | None = None,
        data: bytes | None = None,
    ) -> HttpResponse:
        """One request. `body` goes as JSON, `data` as it is; `token` is the authorization header."""
        given = {"content-type": "application/json", **(headers or {})}
        if token:
            given["authorization"] = token
        content = data if body is None else body
        return await self.request(method, path, content, given, follow_redirects=True)

    async def sign_up(self, name: str = "Bob", surname: str = "Tallor", email: str = "") -> ApiUser:
        """A new user, signed in."""
        email = email or f"{name.lower()}-{uuid.uuid4().hex}@example.org"
        account = {**profile_of(name, surname), "email": email, "password": PASSWORD}
        (await self.call("POST", "/v2/users", account)).ok(201)
        return await self.sign_in(email, name=name)

    async def sign_in(self, email: str, password: str = PASSWORD, name: str = "") -> ApiUser:
        """One more session of a user."""
        tokens = (await self.call("POST", "/v2/sessions", {"email": email, "password": password})).ok(201)
        return ApiUser(
            self,
            email,
            tokens["user_id"],
            tokens["session_id"],
            tokens["access_token"],
            tokens["refresh_token"],
            name,
        )


@contextlib.asynccontextmanager
async def api_client(running: PalaverProcess | PalaverServices | Nginx) -> AsyncIterator[ApiClient]:
    """The public address of a running Palaver, for the block."""
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as http:
        yield ApiClient(http, running.base_url, running.ws_url)


def profile_of(name: str, surname: str) -> dict[str, str]:
    """A profile as v2 takes it."""
    return {
        "name": name,
        "surname": surname,
        "birthday": "1994-04-10",
        "sex": "male",
        "city": "New York",
        "interests": "programming",
    }


def v1_frame(chat_id: str, *texts: str) -> str:
    """`send-message` as the first clients write it: compact, keys in order, JSON inside a string."""
    messages = [{"text": text, "status": "created"} for text in texts]
    payload = json.dumps(
        {"chat_id": chat_id, "messages": messages}, separators=(",", ":"), ensure_ascii=False
    )
    frame = {"topic": "messenger", "action": "send-message", "payload": payload}
    return json.dumps(frame, separators=(",", ":"), ensure_ascii=False)


def v2_send(chat_id: str, text: str, client_id: str = "") -> dict[str, str]:
    """v2's `send`."""
    return {"type": "send", "chat_id": chat_id, "client_id": client_id or str(uuid.uuid4()), "text": text}
