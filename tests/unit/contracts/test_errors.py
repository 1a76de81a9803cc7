"""The error catalogue."""

from http import HTTPStatus

import grpc
import msgspec
import pytest

from palaver.contracts.errors import (
    CATALOGUE,
    INTERNAL,
    RATE_LIMITED,
    ErrorKind,
    PalaverError,
    WireError,
    error_from_wire,
    error_to_wire,
)


def test_names_and_numbers_are_unique() -> None:
    """One error would be taken for another; numbers go over gRPC and must stay."""
    kinds = list(CATALOGUE.values())
    assert [kind.number for kind in kinds] == list(range(1, len(kinds) + 1))
    assert all(code == kind.code for code, kind in CATALOGUE.items())


@pytest.mark.parametrize("kind", CATALOGUE.values(), ids=lambda kind: kind.code)
def test_each_protocol_knows_each_kind(kind: ErrorKind) -> None:
    """A refusal would crash the protocol that has to say it."""
    assert HTTPStatus(kind.http) >= 400
    assert isinstance(getattr(grpc.StatusCode, kind.grpc), grpc.StatusCode)
    # What a server may send: RFC 6455 §7.4.1, and the private range
    assert kind.close in {1003, 1007, 1008, 1009, 1011, 1012, 1013} or 4000 <= kind.close <= 4999


@pytest.mark.parametrize("kind", CATALOGUE.values(), ids=lambda kind: kind.code)
def test_error_crosses_a_border_unchanged(kind: ErrorKind) -> None:
    """A client of the gateway would be told something else than the service meant."""
    error = PalaverError(kind, "a text", field="a.field", retry_after=1.5, password="hunter2")
    wire = msgspec.json.encode(error_to_wire(error))
    assert b"hunter2" not in wire
    back = error_from_wire(msgspec.json.decode(wire, type=WireError))
    assert (back.kind, back.message, back.field, back.retry_after) == (kind, "a text", "a.field", 1.5)


def test_unknown_errors_are_internal() -> None:
    """The text of a crash may hold a secret; a newer service may have kinds that this one does not know."""
    assert error_to_wire(KeyError("hunter2")) == WireError("internal", INTERNAL.title)
    assert error_from_wire(WireError("of_the_future", "a text")).kind is INTERNAL


def test_kind_has_a_text_where_nobody_gives_one() -> None:
    """Clients would show an empty error."""
    assert PalaverError(RATE_LIMITED).message == str(PalaverError(RATE_LIMITED)) == RATE_LIMITED.title
