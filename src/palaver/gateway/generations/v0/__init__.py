"""v0: the monolith's public API, as its clients know it. A translation of the newest model."""

from fastapi import APIRouter

from palaver.gateway.generations.v0 import accounts

router = APIRouter(tags=["v0"])
router.include_router(accounts.router)
