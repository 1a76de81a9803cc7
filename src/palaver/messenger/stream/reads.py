"""Pages of history that gateways request on their streams, each in the name of a token's user."""

from collections.abc import Iterable, Iterator

from palaver.contracts.messenger_pb2 import ListMessagesRequest, ReadRequest
from palaver.messenger.authentication import SERVICE, note_chat, user_of
from palaver.messenger.realtime.gateway_connection import GatewayConnection
from palaver.messenger.store.messages import Page
from palaver.messenger.use_cases import UseCases
from palaver.runtime.grpc.instrumentation import Method
from palaver.runtime.tokens import TokenVerifier

# Reads of one page that are begun in one turn of the event loop, in which messages wait
MOST_TOGETHER = 16


class SharedPage:
    """The page of reads that came together and ask for the same. Each reader's rights are checked.

    None of them gets an older state than there was when it came.
    """

    __slots__ = ("page",)

    def __init__(self) -> None:
        self.page: Page | None = None


class Reads:
    """Answers read requests."""

    def __init__(self, use_cases: UseCases, verifier: TokenVerifier) -> None:
        self._use_cases = use_cases
        self._verifier = verifier
        self._method = Method(SERVICE, "ListMessages")

    async def answer(self, gateway: GatewayConnection, request: ReadRequest, shared: SharedPage) -> None:
        """Puts the page, or why there is none, into the gateway's outbox. Raises nothing."""
        try:
            page = await self._method.serve(request.traceparent, self._read(gateway, request, shared))
        except Exception as error:
            gateway.refuse_read(request.number, error)
        else:
            gateway.answer_read(request.number, page)

    async def _read(self, gateway: GatewayConnection, request: ReadRequest, shared: SharedPage) -> Page:
        user_id = await user_of(request.token, self._verifier)
        note_chat(request.list_messages)
        # One at a time, since each is read on the event loop; the next one sees what this one has added
        async with gateway.reading_turns.turn(user_id):
            await gateway.room()
            page = await list_messages(self._use_cases, user_id, request.list_messages, shared.page)
            if not page.left:
                shared.page = page
            return page


def together(requests: Iterable[ReadRequest]) -> Iterator[tuple[list[ReadRequest], SharedPage]]:
    """The requests, with those that ask for the same page beside each other, `MOST_TOGETHER` at most; and the
    page that they share."""
    groups: dict[bytes, list[ReadRequest]] = {}
    for request in requests:
        groups.setdefault(request.list_messages.SerializeToString(), []).append(request)
    for group in groups.values():
        shared = SharedPage()
        for start in range(0, len(group), MOST_TOGETHER):
            yield group[start : start + MOST_TOGETHER], shared


async def list_messages(
    use_cases: UseCases, user_id: bytes, request: ListMessagesRequest, known: Page | None = None
) -> Page:
    """See `UseCases.list_messages`."""
    return await use_cases.list_messages(
        user_id,
        request.chat_id,
        request.limit,
        before=request.before_seq,
        after=request.after_seq,
        from_start=request.from_start,
        mark_read=request.mark_read,
        known=known,
    )
