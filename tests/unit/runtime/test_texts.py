"""What a text may be."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palaver.contracts.errors import INVALID, PalaverError
from palaver.runtime.texts import check_text

FAMILY = "👩‍👩‍👧‍👦"  # 7 code points, one character


def refusal(text: str, limit: int = 16_384) -> PalaverError:
    with pytest.raises(PalaverError) as caught:
        check_text(text, "text", limit)
    assert caught.value.kind is INVALID
    assert caught.value.field == "text"
    return caught.value


def test_limit_counts_what_readers_see() -> None:
    """Without it a text of emoji would be refused at a seventh of the promised length."""
    check_text(FAMILY * 100, "text", 100)
    check_text("e\N{COMBINING ACUTE ACCENT}" * 100, "text", 100)
    refusal(FAMILY * 101, 100)


def test_limit_is_exact_for_plain_texts() -> None:
    """Without it the documented longest text would be refused, or a longer one taken."""
    check_text("a" * 16_384, "text", 16_384)
    assert "16,384" in refusal("a" * 16_385).message


def test_empty_is_refused() -> None:
    """Without it members would get messages that say nothing, which is how deleted ones look."""
    refusal("")


@pytest.mark.parametrize("text", ["\0", "before\0after", "ü\0"])
def test_nul_is_refused(text: str) -> None:
    """Without it a text would be cut at the NUL by clients and databases written in C."""
    assert "NUL" in refusal(text).message


@pytest.mark.parametrize("text", ["\ud800", "a\udfffb"])
def test_half_of_a_surrogate_pair_is_refused(text: str) -> None:
    """Without it one such message would break every list that it is on, since UTF-8 cannot say it."""
    assert "surrogate" in refusal(text).message


ANY_UNICODE = st.characters(exclude_categories=("Cs",), exclude_characters="\0")


@given(st.text(alphabet=ANY_UNICODE, min_size=1, max_size=50))
def test_any_unicode_is_welcome(text: str) -> None:
    """Without it somebody's language or emoji could not be sent."""
    check_text(text, "text", 50)
