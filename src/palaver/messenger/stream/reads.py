"""What gateways ask on their streams: pages of history, each in the name of a token's user."""

from collections.abc import Awaitable, Callable

from palaver.contracts.errors import UNAVAILABLE, PalaverError
from palaver.contracts.messenger_pb2 import ListMessagesRequest, ReadRequest
from palaver.messenger.authentication import SERVICE, note_chat, user_of
from palaver.messenger.realtime.gateway_connection import GatewayConnection
from palaver.messenger.store.messages import Page
from palaver.runtime.grpc.instrumentation import Method
from palaver.runtime.tokens import TokenVerifier

# (user id, what is asked) -> the page. Raises what the use case raises.
ListMessages = Callable[[bytes, ListMessagesRequest], Awaitable[Page]]


class Asks:
    """Answers asks. `list_messages` is the use case, once there is one."""

    def __init__(self, verifier: TokenVerifier) -> None:
        self._verifier = verifier
        self._method = Method(SERVICE, "ListMessages")
        self.list_messages: ListMessages = refuse

    async def answer(self, gateway: GatewayConnection, ask: ReadRequest) -> None:
        """Puts the answer, or why there is none, into the gateway's outbox. Raises nothing."""
        await gateway.room()
        try:
            page = await self._method.serve(ask.traceparent, self._read(ask))
        except Exception as error:
            gateway.refuse_ask(ask.number, error)
        else:
            gateway.answer(ask.number, page)

    async def _read(self, ask: ReadRequest) -> Page:
        user_id = await user_of(ask.token, self._verifier)
        note_chat(ask.list_messages)
        return await self.list_messages(user_id, ask.list_messages)


async def refuse(_user_id: bytes, _asked: ListMessagesRequest) -> Page:
    """Nobody has said yet how pages are read."""
    raise PalaverError(UNAVAILABLE, retry_after=1.0)
