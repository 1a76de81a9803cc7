"""v2: resources, Bearer tokens, cursors, problem details, idempotency keys."""

from fastapi import APIRouter

from palaver.gateway.generations.v2 import chats, members, messages, sessions, users

router = APIRouter(prefix="/v2", tags=["v2"])
# The router tries routes in this order: the hottest first
for part in (messages, chats, members, users, sessions):
    router.include_router(part.router)
