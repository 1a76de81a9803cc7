"""What emails, passwords and profiles may be."""

import unicodedata
from collections.abc import Callable
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palaver.auth.domain import (
    casefold,
    check_birthday,
    check_hashable,
    check_password,
    clean_name,
    clean_profile_text,
    normalise_email,
)
from palaver.contracts.errors import INVALID, PalaverError


def refusal(check: Callable[..., object], *args: object) -> PalaverError:
    with pytest.raises(PalaverError) as caught:
        check(*args)
    assert caught.value.kind is INVALID
    return caught.value


@pytest.mark.parametrize(
    "written",
    ["alice@email.com", "ALICE@Email.COM", "  alice@email.com\n", "Alice@EMAIL.com"],
)
def test_one_email_in_all_its_spellings(written: str) -> None:
    """A user could not sign in with another keyboard, or would sign up twice."""
    assert normalise_email(written) == "alice@email.com"


def test_composed_and_decomposed_are_one_email() -> None:
    """A user of macOS could not sign in to an account that was made on Windows."""
    composed = "zoë@email.com"
    decomposed = unicodedata.normalize("NFD", composed)
    assert composed != decomposed
    assert normalise_email(decomposed) == normalise_email(composed) == composed


@pytest.mark.parametrize(
    "email", ["a@b.test", "a@sub.example", "a@example.com", "o'neil+tag@email.com", "И@почта.рф"]
)
def test_unusual_emails_are_taken(email: str) -> None:
    """People with such addresses, and everybody's tests, could not sign up."""
    assert normalise_email(email) == email.casefold()


@pytest.mark.parametrize(
    "email",
    [
        *("", "alice", "alice@", "@email.com", "a b@email.com", "a\0@email.com", "\ud800@email.com"),
        *("a@b@c.com", "a@" + "b" * 300 + ".com", "Alice <alice@email.com>"),
        "a" * 300 + "@email.com",
    ],
)
def test_what_is_no_email_is_refused_by_name(email: str) -> None:
    """Accounts would be made that nobody can reach, or a strange text would crash the request."""
    assert refusal(normalise_email, email).field == "email"


@given(st.emails())
def test_normalising_twice_changes_nothing(email: str) -> None:
    """An email that auth itself has told would not find its account."""
    try:
        once = normalise_email(email)
    except PalaverError:
        return
    assert normalise_email(once) == once


@given(st.text())
def test_folding_twice_changes_nothing(text: str) -> None:
    """A name would not be found by itself."""
    assert casefold(casefold(text)) == casefold(text)
    assert casefold(unicodedata.normalize("NFD", text)) == casefold(unicodedata.normalize("NFC", text))


def test_passwords_have_8_to_256_characters() -> None:
    """Users would have passwords that are guessed, or could not have a long one."""
    for good in ("12345678", "x" * 256, "\U0001f600" * 256, " " * 8):
        check_password(good)
    for bad in ("1234567", "x" * 257):
        assert refusal(check_password, bad).field == "password"


def test_old_clients_passwords_are_taken() -> None:
    """Users of old clients could not sign up as they used to."""
    for good in ("1", "x" * 1024):
        check_password(good, True)
    for bad in ("", "x" * 1025, "ä" * 513):
        assert refusal(check_password, bad, True).field == "password"


@pytest.mark.parametrize("bad", ["1234\x005678", "1234\ud8005678", "", "x" * 1025])
def test_what_cannot_be_hashed_is_refused(bad: str) -> None:
    """bcrypt reads up to the first NUL: the rest of a password would not matter; others crash the hash."""
    assert refusal(check_hashable, bad).field == "password"
    assert refusal(check_password, bad, True).field == "password"


def test_names_are_trimmed_and_composed() -> None:
    """Users would be listed under a space, or not be found."""
    assert clean_name("  Zoë\t", "name") == "Zoë"
    assert clean_name(unicodedata.normalize("NFD", "Zoë"), "name") == "Zoë"


@pytest.mark.parametrize("bad", ["", "   ", "x" * 101, "a\0b", "a\ud800b"])
def test_bad_names_are_refused_by_name(bad: str) -> None:
    """Users would have no name, or one that breaks every client's list."""
    assert refusal(clean_name, bad, "surname").field == "surname"


def test_words_may_be_empty_or_long() -> None:
    """A user without interests could not sign up."""
    assert clean_profile_text("  ", "interests") == ""
    assert clean_profile_text("x" * 1000, "interests") == "x" * 1000
    for bad in ("x" * 1001, "\0", "\udfff"):
        assert refusal(clean_profile_text, bad, "city").field == "city"


def test_nobody_is_born_tomorrow() -> None:
    """Profiles would hold what cannot be; who lives east of us is a day ahead."""
    today = date(2026, 2, 28)
    check_birthday(date(2026, 3, 1), today)
    check_birthday(date.min, today)
    assert refusal(check_birthday, date(2026, 3, 2), today).field == "birthday"
