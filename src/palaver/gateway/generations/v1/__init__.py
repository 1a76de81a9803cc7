"""v1: the first microservices' public API, as its clients know it. A translation of the newest model."""

from fastapi import APIRouter

from palaver.gateway.generations.legacy import ERROR_SCHEMAS, legacy_error
from palaver.gateway.generations.registry import Generation
from palaver.gateway.generations.v1 import accounts, chats, messages, users
from palaver.gateway.generations.v1.history_fast_path import history_fast_path
from palaver.gateway.generations.v1.socket import CodecV1
from palaver.runtime.settings.gateway import GatewaySettings

router = APIRouter(tags=["v1"])
for part in (accounts, users, chats, messages):
    router.include_router(part.router)


def build_generation(settings: GatewaySettings) -> Generation:
    """v1, within the limits of the settings."""
    return Generation(
        name="v1",
        tag={
            "name": "v1",
            "description": "For clients of the first microservices. Errors: `{code: 0, message}`.",
        },
        router=router,
        errors=legacy_error,
        error_schemas=ERROR_SCHEMAS,
        prefixes=("/auth/", "/social/", "/messenger/"),
        schema_prefix="V1",
        requires_json=False,
        fast_path=history_fast_path,
        sockets={"/messenger/ws": CodecV1(settings)},
    )
