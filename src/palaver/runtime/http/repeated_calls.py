"""Calls between services that may be made twice, and are where nobody responds: one layer of retries."""

from collections.abc import Callable
from typing import Any

import stamina

from palaver.runtime.http.rest_client import NoResponseError, RestClient

ATTEMPTS = 3

# Each attempt is a span. By itself stamina logs each as a warning, at every start of services one by one
stamina.instrumentation.set_on_retry_hooks(())


def has_no_response(error: Exception) -> bool:
    """Whether a call that may be made twice is worth it."""
    return isinstance(error, NoResponseError)


async def repeated_call(
    rest: RestClient,
    method: str,
    path: str,
    *,
    is_worth_it: Callable[[Exception], bool] = has_no_response,
    **options: Any,
) -> bytes:
    """What `rest.call` returns, made again almost at once where nobody responds: at another replica where
    there is one. For calls alone that do no harm when they are executed twice. Raises what the last one
    raises."""
    async for attempt in stamina.retry_context(
        on=is_worth_it,
        attempts=ATTEMPTS,
        # One that took all its time is not made again
        timeout=rest.timeout,
        wait_initial=0.02,
        wait_max=0.4,
        wait_jitter=0.05,
    ):
        with attempt:
            return await rest.call(method, path, will_repeat=attempt.num < ATTEMPTS, **options)
    raise AssertionError("the last attempt returns or raises")
