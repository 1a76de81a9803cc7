"""v2: resources, Bearer tokens, cursors, problem details, idempotency keys."""

import re

from fastapi import APIRouter

from palaver.gateway.generations.registry import Generation, LargeBodies
from palaver.gateway.generations.v2 import chats, members, messages, sessions, users
from palaver.gateway.generations.v2.history_fast_path import history_fast_path
from palaver.gateway.generations.v2.problems import TRACERESPONSE
from palaver.gateway.generations.v2.socket import CodecV2
from palaver.gateway.http.authentication import BEARER
from palaver.gateway.http.problem_details import PROBLEM_SCHEMA, problem_details
from palaver.runtime.settings.gateway import GatewaySettings

# Where texts and lists of users are sent
_LARGE_BODIES = re.compile(r"/v2/chats(/[^/]+/(messages(/[^/]+)?|members))?")

router = APIRouter(prefix="/v2", tags=["v2"])
# The router tries routes in this order: the hottest first
for part in (messages, chats, members, users, sessions):
    router.include_router(part.router)


def build_generation(settings: GatewaySettings) -> Generation:
    """v2, within the limits of the settings."""
    return Generation(
        name="v2",
        tag={"name": "v2", "description": "For new clients."},
        router=router,
        errors=problem_details,
        error_schemas={"Problem": PROBLEM_SCHEMA},
        prefixes=("/v2/",),
        response_headers={"traceresponse": TRACERESPONSE},
        fast_path=history_fast_path,
        large_bodies=LargeBodies(_LARGE_BODIES, BEARER),
        sockets={"/v2/ws": CodecV2(settings)},
    )
