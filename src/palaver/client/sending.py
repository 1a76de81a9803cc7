"""One send on its way."""

import asyncio
import random

from palaver.client.backoff import Backoff
from palaver.contracts.errors import PalaverError
from palaver.contracts.frames import Sent


class Sending:
    """Waits for the outcome of a send. `refusal`: why it has none yet."""

    def __init__(self, refusal: PalaverError) -> None:
        self.outcome: asyncio.Future[Sent] = asyncio.get_running_loop().create_future()
        self.refusal = refusal
        self._backoff = Backoff(random.random)

    def end(self, outcome: Sent | BaseException) -> None:
        """It was acknowledged, or it failed."""
        if self.outcome.done():
            return
        if isinstance(outcome, Sent):
            self.outcome.set_result(outcome)
        else:
            self.outcome.set_exception(outcome)

    def postpone(self, refusal: PalaverError) -> float:
        """It was refused for now. Seconds to wait before it is sent again."""
        self.refusal = refusal
        return self._backoff.pause_after(retry_after=refusal.retry_after)
