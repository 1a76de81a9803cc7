"""v2: resources, Bearer tokens, cursors, problem details, idempotency keys."""

from fastapi import APIRouter

from palaver.gateway.v2 import chats, members, messages, sessions, users

router = APIRouter(prefix="/v2", tags=["v2"])
for part in (users, sessions, chats, members, messages):
    router.include_router(part.router)
