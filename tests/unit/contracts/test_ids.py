"""Ids."""

import re
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palaver.contracts.errors import INVALID, PalaverError
from palaver.contracts.ids import derived_id, id_from_text, new_id, text_from_id


def test_new_ids_are_version_7_and_sort_by_time() -> None:
    """Indexes would grow in random places, and ids be told twice."""
    ids = [new_id() for _ in range(2_000)]
    assert ids == sorted(set(ids))
    assert {UUID(bytes=one).version for one in ids} == {7}


@given(st.uuids())
def test_text_and_bytes_are_one_id(uuid: UUID) -> None:
    """A client's id would name something else in the database."""
    assert text_from_id(uuid.bytes) == str(uuid)
    assert id_from_text(str(uuid), "id") == uuid.bytes
    assert id_from_text(str(uuid).upper(), "id") == uuid.bytes


@pytest.mark.parametrize(
    "text",
    [
        "",
        "me",
        "6f1d3c4e7f5b5c1e9b0a0d9a3a3f6c11",
        "{6f1d3c4e-7f5b-5c1e-9b0a-0d9a3a3f6c11}",
        "6f1d3c4e-7f5b-5c1e-9b0a-0d9a3a3f6c1",
        "6f1d3c4e-7f5b-5c1e-9b0a-0d9a3a3f6c1g",
        "6f1d3c4e-7f5b-5c1e-9b0a-0d9a3a3f6c  ",
        "6f1d3c4e-7f5b-5c1e-9b0a-0d9a3a3f6c\u0661\u0661",
        "6f1d3c4e_7f5b_5c1e_9b0a_0d9a3a3f6c11",
        "\ud800" * 36,
    ],
)
def test_other_texts_are_refused_by_name(text: str) -> None:
    """Two texts would name one thing, or a client would not know which field is wrong."""
    with pytest.raises(PalaverError, match=r"^chat_id must be a UUID$") as caught:
        id_from_text(text, "chat_id")
    assert caught.value.kind is INVALID
    assert caught.value.field == "chat_id"


@given(st.text(max_size=50))
def test_any_text_is_an_id_or_refused(text: str) -> None:
    """A strange id would crash a request."""
    try:
        found = id_from_text(text, "id")
    except PalaverError:
        assert not re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", text)
    else:
        assert len(found) == 16


def test_derived_ids_stay() -> None:
    """A request that is repeated after an upgrade would be done twice."""
    owner = UUID(int=7).bytes
    assert derived_id(owner, "key") == UUID("6ad9056a-ad9e-5a3f-a98b-beb83eb438cf").bytes
    assert (
        len({derived_id(owner, "key"), derived_id(owner, "other"), derived_id(UUID(int=8).bytes, "key")}) == 3
    )
