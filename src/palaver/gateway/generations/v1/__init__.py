"""v1: the first microservices' public API, as its clients know it. A translation of the newest model."""

from fastapi import APIRouter

from palaver.gateway.generations.v1 import accounts, chats, messages, users

router = APIRouter(tags=["v1"])
for part in (accounts, users, chats, messages):
    router.include_router(part.router)
