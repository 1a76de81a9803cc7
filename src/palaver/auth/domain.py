"""Accounts and sessions as auth stores them, and what their texts may be."""

import unicodedata
from dataclasses import dataclass
from datetime import date

from email_validator import EmailNotValidError, validate_email

from palaver.contracts.accounts import Sex
from palaver.contracts.errors import INVALID, PalaverError
from palaver.runtime.texts import bytes_of, check_text, has_surrogate

PASSWORD_CHARACTERS = (8, 256)
# 256 characters of any Unicode, and more than old clients send
PASSWORD_BYTES = 1024
NAME_CHARACTERS = 100
NAME_BYTES = 512
PROFILE_CHARACTERS = 1000
# 1,000 characters of any Unicode, where each is one code point
PROFILE_BYTES = 4096
EMAIL_BYTES = 320


@dataclass(frozen=True, slots=True)
class User:
    """An account without its password. `created_at`: microseconds since the epoch."""

    id: bytes
    email: str
    name: str
    surname: str
    birthday: date
    sex: Sex
    city: str
    interests: str
    created_at: int


@dataclass(frozen=True, slots=True)
class Session:
    """One signed-in device of a user. Times in microseconds since the epoch."""

    id: bytes
    user_id: bytes
    created_at: int
    last_used_at: int
    expires_at: int
    agent: str
    address: str


@dataclass(frozen=True, slots=True)
class Client:
    """The device that a request came from."""

    address: str
    agent: str


def normalise_email(text: str, field: str = "email") -> str:
    """The one form of an email that is stored and compared: NFC, case-folded, without white space around it.

    Whether mail gets there is not checked. Raises `invalid`, naming `field`.
    """
    if has_surrogate(text):
        raise PalaverError(INVALID, f"{field} is not valid Unicode", field=field)
    # Before it is taken apart: normalising a domain can make eighteen code points of one
    if bytes_of(text) > EMAIL_BYTES:
        raise PalaverError(INVALID, f"{field} must have at most {EMAIL_BYTES} bytes", field=field)
    stripped = unicodedata.normalize("NFC", text.strip())
    try:
        # test_environment admits the domains that examples and tests use
        found = validate_email(stripped, check_deliverability=False, test_environment=True)
    except EmailNotValidError as error:
        raise PalaverError(INVALID, f"{field} is not an email address: {error}", field=field) from None
    return casefold(found.normalized)


def check_password(password: str, old_rules: bool = False, field: str = "password") -> None:
    """Accepts 8 to 256 characters, or under `old_rules` any non-empty password. Raises `invalid`."""
    check_hashable(password, field)
    least, most = PASSWORD_CHARACTERS
    if not old_rules and not least <= len(password) <= most:
        raise PalaverError(INVALID, f"{field} must have {least} to {most} characters", field=field)


def check_hashable(password: str, field: str = "password") -> None:
    """Accepts what can be a password by any rules. Raises `invalid`."""
    if not password:
        raise PalaverError(INVALID, f"{field} must not be empty", field=field)
    # bcrypt reads up to the first NUL: the rest would not matter
    if "\0" in password:
        raise PalaverError(INVALID, f"{field} must not contain the character NUL", field=field)
    if has_surrogate(password):
        raise PalaverError(INVALID, f"{field} is not valid Unicode", field=field)
    if len(password.encode()) > PASSWORD_BYTES:
        raise PalaverError(INVALID, f"{field} must have at most {PASSWORD_BYTES:,} bytes", field=field)


def clean_name(text: str, field: str) -> str:
    """A name or surname, NFC and without white space around it. Raises `invalid`."""
    name = unicodedata.normalize("NFC", text.strip())
    check_text(name, field, NAME_CHARACTERS, NAME_BYTES)
    return name


def clean_profile_text(text: str, field: str) -> str:
    """A city or interests; may be empty. Raises `invalid`."""
    cleaned = unicodedata.normalize("NFC", text.strip())
    if cleaned:
        check_text(cleaned, field, PROFILE_CHARACTERS, PROFILE_BYTES)
    return cleaned


def check_birthday(birthday: date, today: date) -> None:
    """Raises `invalid` for a day to come."""
    # It may be tomorrow where the user is
    if birthday.toordinal() > today.toordinal() + 1:
        raise PalaverError(INVALID, "birthday must not be in the future", field="birthday")


def casefold(text: str) -> str:
    """`text` as it is compared without regard to case. Folding twice changes nothing."""
    # Folding may undo the composition, and composing may leave what folds again
    folded = unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())
    return unicodedata.normalize("NFC", folded.casefold())
