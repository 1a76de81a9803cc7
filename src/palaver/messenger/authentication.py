"""In whose name the messenger is asked, and about which chat."""

from typing import Any

from palaver.contracts.errors import UNAUTHENTICATED, PalaverError
from palaver.contracts.ids import text_from_id
from palaver.runtime.requester import work_for
from palaver.runtime.telemetry.log_context import bind_field
from palaver.runtime.tokens import TokenVerifier

# The gRPC service, as its spans name it
SERVICE = "palaver.v1.Messenger"
CHAT_ID_BYTES = 16
# A token of ours has about 350; each is looked at before its signature is
TOKEN_CHARACTERS = 4_096


async def user_of(token: str, verifier: TokenVerifier) -> bytes:
    """The token's user, for whom the task works from now on.

    Raises `unauthenticated`, and `unavailable` where auth is away.
    """
    if not token or len(token) > TOKEN_CHARACTERS:
        raise PalaverError(UNAUTHENTICATED, "an access token is needed")
    claims = verifier.verify_known(token) or await verifier.verify(token)
    bind_field("user_id", text_from_id(claims.user_id))
    work_for(claims.user_id)
    return claims.user_id


def note_chat(request: Any) -> None:
    """Names the chat that is asked about, if one is, on the call's span and in its lines."""
    chat_id = getattr(request, "chat_id", b"")
    # The use case refuses what is no id
    if len(chat_id) == CHAT_ID_BYTES:
        bind_field("chat_id", text_from_id(chat_id))
