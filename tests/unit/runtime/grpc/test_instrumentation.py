"""gRPC calls as traces, lines and metrics tell of them."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import grpc
import pytest

from palaver.contracts.errors import NOT_FOUND, UNAVAILABLE, PalaverError
from palaver.runtime.grpc.instrumentation import CALLS, SECONDS, Method, client_span, set_status
from palaver.runtime.telemetry.configuration import log
from palaver.runtime.telemetry.log_context import bind_field
from palaver.runtime.telemetry.tracing import tracer
from tests.harness.tracing import PARENT, SAMPLED, TRACE, UNSAMPLED, recording

SERVICE = "test.Service"


async def answer() -> str:
    """A call that goes well."""
    bind_field("user_id", "bob")
    log.info("answered")
    return "yes"


async def fail(error: BaseException) -> str:
    """A call that does not."""
    raise error


def calls(method: str, code: str) -> float:
    """How many calls ended so."""
    return float(CALLS.labels(method, code)._value.get())


async def test_a_call_goes_on_with_its_callers_trace() -> None:
    """The messenger's part of a request would be missing from its trace."""
    with recording() as recorded:
        assert await Method(SERVICE, "Ask").serve(SAMPLED, answer()) == "yes"
    span = recorded.span("test.Service/Ask")
    assert (span.kind, span.trace_id, span.parent_id, span.error) == ("server", TRACE, PARENT, "")
    assert span.attributes == {
        "rpc.system": "grpc",
        "rpc.service": SERVICE,
        "rpc.method": "Ask",
        "rpc.grpc.status_code": 0,
        "user.id": "bob",
    }
    assert [(line["trace_id"], line["user_id"]) for line in recorded.lines] == [(TRACE, "bob")]
    assert calls("Ask", "ok") == 1
    [metric] = SECONDS.labels("Ask").collect()
    assert [sample.value for sample in metric.samples if sample.name.endswith("_count")] == [1]


@pytest.mark.parametrize(
    ("error", "code", "status", "kept_as", "event"),
    [
        (PalaverError(UNAVAILABLE), "unavailable", 14, "unavailable", "call_refused"),
        (PalaverError(NOT_FOUND), "not_found", 5, "", ""),
        (LookupError("inside"), "internal", 13, "LookupError", "call_failed"),
        (asyncio.CancelledError(), "cancelled", 1, "CancelledError", ""),
    ],
    ids=lambda value: str(value)[:20],
)
async def test_a_failed_call_says_how(
    error: BaseException, code: str, status: int, kept_as: str, event: str
) -> None:
    """Failures would be counted as successes, or callers' mistakes as failures that wake somebody up."""
    method = f"Fail{code}"
    with recording() as recorded:
        for traceparent in (SAMPLED, UNSAMPLED):
            with pytest.raises(type(error)):
                await Method(SERVICE, method).serve(traceparent, fail(error))
    assert calls(method, code) == 2
    assert len(recorded.spans) == (2 if kept_as else 1)
    for span in recorded.spans:
        assert (span.error, span.attributes["rpc.grpc.status_code"]) == (kept_as, status)
    assert {line["event"] for line in recorded.lines} == ({event} if event else set())
    assert {line["trace_id"] for line in recorded.lines} <= {TRACE}


async def test_calls_at_the_same_time_do_not_mix() -> None:
    """Lines of one user's call would name another user."""

    async def nobody() -> str:
        log.info("nobody")
        return ""

    async def in_turn(*served: Coroutine[Any, Any, str]) -> None:
        for one in served:
            await asyncio.create_task(Method(SERVICE, "Mix").serve(SAMPLED, one))

    with recording() as recorded:
        await asyncio.gather(in_turn(answer(), nobody()), in_turn(nobody(), answer()))
    assert {line.get("user_id") for line in recorded.lines if line["event"] == "nobody"} == {None}


async def test_a_caller_notes_what_it_heard() -> None:
    """The caller's half of a call would not say how the call ended."""
    with (
        recording() as recorded,
        tracer.serve("request", SAMPLED, {}, is_edge=True) as work,
        client_span(SERVICE, "Ask") as call,
    ):
        set_status(call, grpc.StatusCode.UNAVAILABLE)
    span = recorded.span("test.Service/Ask")
    assert (span.kind, span.parent_id) == ("client", work.span_id)
    assert span.attributes["rpc.grpc.status_code"] == 14
