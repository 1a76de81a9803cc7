"""v0: the monolith's public API, as its clients know it. A translation of the newest model."""

from fastapi import APIRouter

from palaver.gateway.generations.legacy import ERROR_SCHEMAS, legacy_error
from palaver.gateway.generations.registry import Generation
from palaver.gateway.generations.v0 import accounts

router = APIRouter(tags=["v0"])
router.include_router(accounts.router)

GENERATION = Generation(
    name="v0",
    tag={"name": "v0", "description": "For clients of the monolith. Errors: `{code: 0, message}`."},
    router=router,
    errors=legacy_error,
    error_schemas=ERROR_SCHEMAS,
    paths=frozenset(("/auth/user",)),
    prefixes=("/questionnaires", "/ws"),
    schema_prefix="V0",
    requires_json=False,
)
