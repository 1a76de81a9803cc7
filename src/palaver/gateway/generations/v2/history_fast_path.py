"""The short way to a page of history, which is read more often than all else.

FastAPI's routing and validation cost more than the page itself. A request that is plainly right is
answered here; any other goes on to the documented route, which knows what is wrong with it. Both give the
same answer, because both ask the same functions.
"""

import re
from collections.abc import Callable, Coroutine
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from palaver.gateway.generations.v1 import messages as v1
from palaver.gateway.generations.v2 import messages as v2
from palaver.gateway.http.authentication import BARE_TOKEN, BEARER
from palaver.gateway.services import services_of
from palaver.runtime.http.instrumentation import set_route

_V1_PATH = "/messenger/messages"
_V2_PATH = re.compile(r"/v2/chats/([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})/messages")
_V2_ROUTE = "/v2/chats/{chat_id}/messages"
_V1_QUERY = re.compile(
    rb"chat_id=([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})"
    rb"(?:&limit=([0-9]{1,3}))?(?:&offset=([0-9]{1,18}))?"
)
_V2_QUERY = re.compile(rb"(?:limit=([0-9]{1,3}))?(?:(?:^|&)(before|after)_seq=([0-9]{1,18}))?")

Answer = Callable[[Request], Coroutine[Any, Any, Response]]


class ShortWay:
    """Answers plain requests for history, and passes on all others."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Raises what the route would."""
        answer = read_request(scope) if scope["type"] == "http" and scope["method"] == "GET" else None
        if answer is None:
            await self._app(scope, receive, send)
            return
        set_route(scope, _V1_PATH if scope["path"] == _V1_PATH else _V2_ROUTE)
        response = await answer(Request(scope))
        await response(scope, receive, send)


def read_request(scope: Scope) -> Answer | None:
    """How to answer a plain request for history; None for every other request."""
    path: str = scope["path"]
    if path == _V1_PATH:
        return read_v1(scope["query_string"])
    found = _V2_PATH.fullmatch(path)
    return read_v2(found[1], scope["query_string"]) if found else None


def read_v1(query: bytes) -> Answer | None:
    """v1's page by offset."""
    found = _V1_QUERY.fullmatch(query)
    if found is None:
        return None
    chat_id = bytes.fromhex(found[1].decode().replace("-", ""))
    limit, offset = int(found[2] or 10), int(found[3] or 0)

    async def answer(request: Request) -> Response:
        caller = await BARE_TOKEN(request)
        return await v1.answer_page(services_of(request).messenger, caller.token, chat_id, limit, offset)

    return answer


def read_v2(chat: str, query: bytes) -> Answer | None:
    """v2's page by seq."""
    found = _V2_QUERY.fullmatch(query)
    if found is None:
        return None
    limit, seq = int(found[1] or 50), int(found[3] or 0)
    before_seq = seq if found[2] == b"before" else None
    after_seq = seq if found[2] == b"after" else None
    if not 1 <= limit <= v2.MOST_MESSAGES or before_seq == 0:
        return None
    chat_id = bytes.fromhex(chat.replace("-", ""))

    async def answer(request: Request) -> Response:
        caller = await BEARER(request)
        return await v2.answer_page(
            services_of(request).messenger, caller.token, chat_id, limit, before_seq, after_seq
        )

    return answer
