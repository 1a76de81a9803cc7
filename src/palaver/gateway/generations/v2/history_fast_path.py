"""The fast path to a page of v2's history. A request that is plainly right is answered here; any other goes
on to the documented route, which knows what is wrong with it. Both answer by the same function.
"""

import re

from starlette.requests import Request
from starlette.responses import Response

from palaver.gateway.generations.registry import FastAnswer
from palaver.gateway.generations.v2.messages import MOST_MESSAGES, answer_page
from palaver.gateway.http.authentication import BEARER
from palaver.gateway.services import services_of

_ROUTE = "/v2/chats/{chat_id}/messages"
_PATH = re.compile(r"/v2/chats/([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})/messages")
_QUERY = re.compile(rb"(?:limit=([0-9]{1,3}))?(?:(?:^|&)(before|after)_seq=([0-9]{1,18}))?")


def history_fast_path(path: str, query: bytes) -> FastAnswer | None:
    """See `FastPath`."""
    found_path = _PATH.fullmatch(path)
    found = _QUERY.fullmatch(query) if found_path is not None else None
    if found_path is None or found is None:
        return None
    limit, seq = int(found[1] or 50), int(found[3] or 0)
    before_seq = seq if found[2] == b"before" else None
    after_seq = seq if found[2] == b"after" else None
    if not 1 <= limit <= MOST_MESSAGES or before_seq == 0:
        return None
    chat_id = bytes.fromhex(found_path[1].replace("-", ""))

    async def respond(request: Request) -> Response:
        caller = await BEARER(request)
        messenger = services_of(request).messenger
        return await answer_page(messenger, caller.token, chat_id, limit, before_seq, after_seq)

    return FastAnswer(_ROUTE, respond)
