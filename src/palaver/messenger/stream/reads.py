"""Pages of history that gateways request on their streams, each in the name of a token's user."""

from palaver.contracts.messenger_pb2 import ListMessagesRequest, ReadRequest
from palaver.messenger.authentication import SERVICE, note_chat, user_of
from palaver.messenger.realtime.gateway_connection import GatewayConnection
from palaver.messenger.store.messages import Page
from palaver.messenger.use_cases import UseCases
from palaver.runtime.grpc.instrumentation import Method
from palaver.runtime.tokens import TokenVerifier


class Reads:
    """Answers read requests."""

    def __init__(self, use_cases: UseCases, verifier: TokenVerifier) -> None:
        self._use_cases = use_cases
        self._verifier = verifier
        self._method = Method(SERVICE, "ListMessages")

    async def answer(self, gateway: GatewayConnection, request: ReadRequest) -> None:
        """Puts the page, or why there is none, into the gateway's outbox. Raises nothing."""
        try:
            page = await self._method.serve(request.traceparent, self._read(gateway, request))
        except Exception as error:
            gateway.refuse_read(request.number, error)
        else:
            gateway.answer_read(request.number, page)

    async def _read(self, gateway: GatewayConnection, request: ReadRequest) -> Page:
        user_id = await user_of(request.token, self._verifier)
        note_chat(request.list_messages)
        # One at a time, since each is read on the event loop; the next one sees what this one has added
        async with gateway.reading_turns.turn(user_id):
            await gateway.room()
            return await list_messages(self._use_cases, user_id, request.list_messages)


async def list_messages(use_cases: UseCases, user_id: bytes, request: ListMessagesRequest) -> Page:
    """See `UseCases.list_messages`."""
    return await use_cases.list_messages(
        user_id,
        request.chat_id,
        request.limit,
        before=request.before_seq,
        after=request.after_seq,
        from_start=request.from_start,
        mark_read=request.mark_read,
    )
