"""What gateways ask on their streams: pages of history, each in the name of a token's user."""

from collections.abc import Awaitable, Callable

from palaver.contracts.errors import UNAVAILABLE, PalaverError
from palaver.contracts.messenger_pb2 import Ask, ListMessagesRequest
from palaver.messenger.attachment import Attachment
from palaver.messenger.history import Page
from palaver.runtime.telemetry import log
from palaver.runtime.tokens import TokenVerifier

# (user id, what is asked) -> the page. Raises what the use case raises.
ListMessages = Callable[[bytes, ListMessagesRequest], Awaitable[Page]]


class Asks:
    """Answers asks. `list_messages` is the use case, once there is one."""

    def __init__(self, verifier: TokenVerifier) -> None:
        self._verifier = verifier
        self.list_messages: ListMessages = refuse

    async def answer(self, attachment: Attachment, ask: Ask) -> None:
        """Puts the answer, or why there is none, into the gateway's outbox. Raises nothing."""
        await attachment.room()
        try:
            claims = self._verifier.verify_known(ask.token) or await self._verifier.verify(ask.token)
            attachment.answer(ask.number, await self.list_messages(claims.user_id, ask.list_messages))
        except PalaverError as error:
            if error.kind.http >= 500:
                log.warning("ask refused", code=error.kind.code, debug=error.debug)
            attachment.refuse_ask(ask.number, error)
        except Exception as error:
            log.exception("ask failed")
            attachment.refuse_ask(ask.number, error)


async def refuse(_user_id: bytes, _asked: ListMessagesRequest) -> Page:
    """Nobody has said yet how pages are read."""
    raise PalaverError(UNAVAILABLE, retry_after=1.0)
