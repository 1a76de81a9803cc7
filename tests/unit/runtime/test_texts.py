"""What a text may be."""

import contextlib
import itertools
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palaver.contracts.errors import INVALID, PalaverError
from palaver.runtime.texts import bytes_of, check_text, cut_text

FAMILY = "👩‍👩‍👧‍👦"  # 7 code points, one character


MOST_BYTES = 65_536


def refusal(text: str, limit: int = 16_384) -> PalaverError:
    with pytest.raises(PalaverError) as caught:
        check_text(text, "text", limit, MOST_BYTES)
    assert caught.value.kind is INVALID
    assert caught.value.field == "text"
    return caught.value


def test_limit_counts_what_readers_see() -> None:
    """Without it a text of emoji would be refused at a seventh of the promised length."""
    check_text(FAMILY * 100, "text", 100, MOST_BYTES)
    check_text("e\N{COMBINING ACUTE ACCENT}" * 100, "text", 100, MOST_BYTES)
    refusal(FAMILY * 101, 100)


def test_limit_is_exact_for_plain_texts() -> None:
    """Without it the documented longest text would be refused, or a longer one taken."""
    check_text("a" * 16_384, "text", 16_384, MOST_BYTES)
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
    check_text(text, "text", 50, MOST_BYTES)


def test_bytes_are_bounded_too() -> None:
    """One character with a megabyte of accents would be a valid text, and fill the lists of all members."""
    check_text("e" + "\N{COMBINING ACUTE ACCENT}" * 32_767, "text", 10, MOST_BYTES)
    assert "65,536 bytes" in refusal("e" + "\N{COMBINING ACUTE ACCENT}" * 32_768).message
    check_text("\N{FIRE}" * 16_384, "text", 16_384, MOST_BYTES)


# One of each kind that UAX #29 distinguishes, and what joins others
KINDS = [
    "a",
    "\r",
    "\n",
    "\x01",
    "\N{COMBINING ACUTE ACCENT}",
    "\N{ZERO WIDTH JOINER}",
    "\N{DEVANAGARI SIGN VISARGA}",
    "\N{ARABIC NUMBER SIGN}",
    "\N{MAN}",
    "\N{HANGUL CHOSEONG KIYEOK}",
    "\N{HANGUL JUNGSEONG A}",
    "\N{HANGUL JONGSEONG KIYEOK}",
    "\N{REGIONAL INDICATOR SYMBOL LETTER A}",
    "\N{DEVANAGARI LETTER KA}",
    "\N{DEVANAGARI SIGN VIRAMA}",
]


def cpu_seconds(text: str) -> float:
    """The CPU time of counting a text's characters: the least of three tries."""
    found = []
    for _ in range(3):
        began = time.process_time()
        # Where every code point is a character the text is refused, after its last one was counted
        with contextlib.suppress(PalaverError):
            check_text(text, "text", len(text) - 1, len(text) * 4)
        found.append(time.process_time() - began)
    return min(found)


@pytest.mark.parametrize("unit", [*KINDS, *map("".join, itertools.permutations(KINDS[4:], 2))])
def test_characters_are_counted_in_linear_time(unit: str) -> None:
    """One text of 30,000 flags would stop everybody for many seconds."""
    text = unit * (3_000 // len(unit))
    few, many = cpu_seconds(text), cpu_seconds(text * 8)
    # Eight times as much; a square would be sixty-four times as much. The least time hides the clock's steps
    assert many < 24 * max(few, 0.0005)


def test_flags_are_counted_in_pairs() -> None:
    """A text of flags would be refused at half of its length, or taken at twice."""
    flag = "\N{REGIONAL INDICATOR SYMBOL LETTER A}"
    check_text(flag * 200, "text", 100, MOST_BYTES)
    refusal(flag * 201, 100)
    check_text((flag * 2 + "\N{COMBINING ACUTE ACCENT}") * 100, "text", 100, MOST_BYTES)


@given(st.text(alphabet=st.sampled_from(KINDS), max_size=60), st.integers(1, 20), st.integers(4, 80))
def test_a_cut_is_within_its_bounds(text: str, characters: int, most_bytes: int) -> None:
    """A list of chats would grow with what others write, or show half of a character."""
    cut = cut_text(text, characters, most_bytes)
    assert text.startswith(cut)
    assert bytes_of(cut) <= most_bytes
    assert bool(cut) == bool(text)
    if cut:
        check_text(cut, "text", characters, most_bytes)


def test_a_cut_keeps_characters_whole() -> None:
    """A preview would end in a part of somebody's family."""
    assert cut_text("abc" + FAMILY, 4, 100) == "abc" + FAMILY
    assert cut_text("abc" + FAMILY, 100, 20) == "abc"
    assert cut_text("abcd", 3, 100) == "abc"
    # The first character alone is too large: a part of it shows that there is a text
    assert cut_text("e" + "\N{COMBINING ACUTE ACCENT}" * 99, 5, 10) == "e" + "\N{COMBINING ACUTE ACCENT}" * 4
