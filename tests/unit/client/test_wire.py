"""Frames as bytes, and what it means when a server ends a connection."""

import json

import pytest

from palaver.client.checks import FRAME_BYTES, check_send, checked_cursors
from palaver.client.rest import SignedOut, refusal_of
from palaver.client.wire import is_final, read_frame, refusal_of_close
from palaver.contracts.errors import CATALOGUE, NOT_FOUND, RATE_LIMITED, UNAVAILABLE, PalaverError
from palaver.contracts.frames import Resumed, Send

CHAT = "01940B81-03DE-7D44-9A1B-6B0C5E8F2A17"


def test_what_a_newer_server_says_is_passed_over() -> None:
    """An old bot would stop at the first frame or field that it does not know."""
    assert read_frame('{"type":"resumed","new_field":1}') == Resumed()
    assert read_frame('{"type":"reaction","emoji":"x"}') is None


@pytest.mark.parametrize("text", ["", "[]", '"resumed"', '{"type":1}', '{"type":"sent"}', "\ud800"])
def test_what_is_no_frame_does_not_break_the_client(text: str) -> None:
    """One broken frame, told again after each connection, would keep a bot away for ever."""
    assert read_frame(text.encode("utf-8", "surrogatepass")) is None


def test_only_what_will_not_pass_is_final() -> None:
    """A bot would give up at a restart of the server, or knock for ever where it is not wanted."""
    assert is_final(SignedOut())
    assert is_final(PalaverError(NOT_FOUND))
    assert not is_final(PalaverError(RATE_LIMITED))
    assert not is_final(PalaverError(UNAVAILABLE))
    final = {kind.close for kind in CATALOGUE.values() if is_final(refusal_of_close(kind.close))}
    assert final == {1003, 1007}
    assert not is_final(refusal_of_close(1006))
    assert not is_final(refusal_of_close(None))


def test_problem_details_become_errors_of_the_catalogue() -> None:
    """A bot could not tell what was refused, nor when to come back."""
    problem = {
        "type": "urn:palaver:error:rate_limited",
        "title": "Too many requests",
        "status": 429,
        "detail": "slow down",
        "code": "rate_limited",
        "errors": [{"field": "text", "message": "too often"}],
    }
    error = refusal_of(429, json.dumps(problem).encode(), "7")
    assert (error.kind, error.message, error.field, error.retry_after) == (
        RATE_LIMITED,
        "slow down",
        "text",
        7.0,
    )


def test_what_a_proxy_answers_becomes_an_error_too() -> None:
    """A bot behind a proxy would break at a page of HTML."""
    assert refusal_of(502, b"<html>", "").kind is UNAVAILABLE
    assert refusal_of(404, b"", "soon").kind is NOT_FOUND


@pytest.mark.parametrize(
    ("text", "code"),
    [("", "invalid"), ("a\0b", "invalid"), ("\ud800", "invalid"), ("x" * FRAME_BYTES, "too_large")],
)
def test_a_send_that_no_server_takes_is_refused_here(text: str, code: str) -> None:
    """The server would close the connection for it, and take all other sends with it."""
    with pytest.raises(PalaverError) as refused:
        check_send(Send(CHAT, CHAT, text))
    assert (refused.value.kind.code, refused.value.field) == (code, "text")


def test_cursors_are_checked_before_they_are_used() -> None:
    """One broken entry of a bot's file would be refused after each connection, without a word."""
    assert checked_cursors({CHAT: 3}) == {CHAT.lower(): 3}
    for cursors in ({CHAT: -1}, {CHAT: 2**63}, {"A": 1}):
        with pytest.raises(PalaverError) as refused:
            checked_cursors(cursors)
        assert refused.value.field == "cursors"
