"""The fast path to a page of v1's history. A request that is plainly right is answered here; any other goes
on to the documented route, which knows what is wrong with it. Both answer by the same function.
"""

import re

from starlette.requests import Request
from starlette.responses import Response

from palaver.gateway.generations.registry import FastAnswer
from palaver.gateway.generations.v1.messages import answer_page
from palaver.gateway.http.authentication import BARE_TOKEN
from palaver.gateway.services import services_of

_PATH = "/messenger/messages"
_QUERY = re.compile(
    rb"chat_id=([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})"
    rb"(?:&limit=([0-9]{1,3}))?(?:&offset=([0-9]{1,18}))?"
)


def history_fast_path(path: str, query: bytes) -> FastAnswer | None:
    """See `FastPath`."""
    found = _QUERY.fullmatch(query) if path == _PATH else None
    if found is None:
        return None
    chat_id = bytes.fromhex(found[1].decode().replace("-", ""))
    limit, offset = int(found[2] or 10), int(found[3] or 0)

    async def respond(request: Request) -> Response:
        caller = await BARE_TOKEN(request)
        return await answer_page(services_of(request).messenger, caller.token, chat_id, limit, offset)

    return FastAnswer(_PATH, respond)
