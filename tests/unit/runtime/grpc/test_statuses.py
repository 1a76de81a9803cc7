"""Ends of calls in trailers, and back."""

import grpc
import pytest

from palaver.contracts.errors import INVALID, PalaverError
from palaver.runtime.grpc.errors import error_from_rpc
from palaver.runtime.grpc.http2.frames import ErrorCode
from palaver.runtime.grpc.messages import StatusError
from palaver.runtime.grpc.statuses import (
    error_of_http,
    error_of_reset,
    error_of_trailers,
    status_of,
    trailers_of,
)


def test_an_error_of_the_catalogue_survives() -> None:
    """A gateway would take each refusal for a broken messenger."""
    error = error_of_trailers(trailers_of(PalaverError(INVALID, "100 % ☃\n", field="hello")))
    assert error is not None
    assert (error.code(), error.details()) == (grpc.StatusCode.INVALID_ARGUMENT, "100 % ☃\n")
    found = error_from_rpc(error)
    assert (found.kind, found.field) == (INVALID, "hello")


def test_a_good_end_is_no_error() -> None:
    """Each stop of a messenger would be logged as a failure."""
    assert error_of_trailers(trailers_of(None)) is None


def test_what_is_not_foreseen_tells_nothing() -> None:
    """Parts of other people's messages could be in the text of an exception."""
    trailers = trailers_of(ValueError("a secret"))
    assert b"secret" not in b"".join(value for _, value in trailers)
    error = error_of_trailers(trailers)
    assert error is not None
    assert error.code() is grpc.StatusCode.INTERNAL


def test_a_status_alone_survives() -> None:
    """Nobody would see why a message was refused."""
    error = error_of_trailers(trailers_of(StatusError(grpc.StatusCode.UNIMPLEMENTED, "no compression")))
    assert error is not None
    assert (error.code(), error.details()) == (grpc.StatusCode.UNIMPLEMENTED, "no compression")


@pytest.mark.parametrize("value", [None, b"", b"17", b"-1", b"0x0", b"9" * 5_000, b"\xc2\xb2"])
def test_no_status_is_an_unknown_one(value: bytes | None) -> None:
    """What is no gRPC server would end a stream well, or the gateway's event loop."""
    assert status_of(value) is grpc.StatusCode.UNKNOWN


def test_a_broken_error_leaves_its_status() -> None:
    """What another server puts into our trailer would end the gateway's event loop."""
    error = error_of_trailers([(b"grpc-status", b"3"), (b"palaver-error-bin", b"\xff!")])
    assert error is not None
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_http_and_resets_have_a_status() -> None:
    """A gateway behind a proxy would log nothing of use."""
    assert error_of_http(b"503").code() is grpc.StatusCode.UNAVAILABLE
    assert error_of_http(b"").code() is grpc.StatusCode.UNKNOWN
    assert error_of_reset(ErrorCode.REFUSED_STREAM).code() is grpc.StatusCode.UNAVAILABLE
    assert error_of_reset(12_345).code() is grpc.StatusCode.INTERNAL
