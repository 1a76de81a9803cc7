"""Clients that go away before they are answered."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from starlette.requests import Request

from palaver.contracts.errors import PEER_SILENT, PalaverError


@contextlib.asynccontextmanager
async def until_disconnect(request: Request) -> AsyncIterator[None]:
    """Cancels the block where the client goes away: dear work that nobody waits for is not done.

    Call it once the body is read. Raises `peer_silent` then, which nobody receives.
    """
    task = asyncio.current_task()
    assert task is not None, "requests are served in tasks"
    is_gone = False

    async def watch() -> None:
        nonlocal is_gone
        while (await request.receive())["type"] != "http.disconnect":
            pass
        is_gone = True
        task.cancel()

    watcher = asyncio.create_task(watch())
    try:
        yield
    except asyncio.CancelledError:
        if not is_gone or task.uncancel():
            raise
        raise PalaverError(PEER_SILENT, "the client has gone away") from None
    finally:
        watcher.cancel()
