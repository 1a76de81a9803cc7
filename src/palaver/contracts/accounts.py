"""Bodies of auth's private REST: accounts, sessions, tokens. The newest model; old ones live at the edge."""

from datetime import date, datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

Sex = Literal["male", "female", "other"]
Name = Annotated[str, Field(min_length=1, max_length=100)]
# Auth bounds its bytes more closely
Password = Annotated[str, Field(max_length=10_000)]
ProfileText = Annotated[str, Field(max_length=1000)]


class Model(BaseModel):
    """Refuses fields that it does not know, so that a misspelt one is an error and not a loss."""

    # An error of validation reaches logs; its input may be a password
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)


class SignUp(Model):
    """A new account. Auth normalises the email; `old_rules` admits any non-empty password (v0, v1)."""

    email: str = Field(max_length=320)
    password: Password
    name: Name
    surname: Name
    birthday: date
    sex: Sex
    city: ProfileText
    interests: ProfileText
    old_rules: bool = False


class ProfileChange(Model):
    """The fields of a profile to change; absent ones stay."""

    name: Name | None = None
    surname: Name | None = None
    birthday: date | None = None
    sex: Sex | None = None
    city: ProfileText | None = None
    interests: ProfileText | None = None


class User(Model):
    """An account as others see it (its email too: the directory of a social network is open)."""

    id: UUID
    email: str
    name: str
    surname: str
    birthday: date
    sex: Sex
    city: str
    interests: str
    created_at: datetime


class UserPage(Model):
    """Users by surname, name and id. `next_cursor` is null on the last page; `total` counts all pages."""

    users: list[User]
    next_cursor: str | None = None
    total: int | None = None


class UserName(Model):
    """The names of a user, for lists of members."""

    id: UUID
    name: str
    surname: str


class UserLookup(Model):
    """Ids of users to look up, at most 1,000."""

    ids: Annotated[list[UUID], Field(fail_fast=True, max_length=1000)]


class UserNames(Model):
    """The users that exist among those looked up."""

    users: list[UserName]


class SignIn(Model):
    """A pair to sign in with."""

    email: str = Field(max_length=320)
    password: Password


class Refresh(Model):
    """A refresh token to change for a new pair of tokens."""

    refresh_token: str = Field(max_length=1_000)


class TokenPair(Model):
    """The tokens of one session. `expires_in`: seconds that the access token lives."""

    access_token: str
    refresh_token: str
    expires_in: int
    user_id: UUID
    session_id: UUID


class Session(Model):
    """One signed-in device of a user."""

    id: UUID
    created_at: datetime
    last_used_at: datetime
    agent: str
    address: str
    current: bool


class Sessions(Model):
    """The live sessions of a user, newest first."""

    sessions: list[Session]


class Revocations(Model):
    """Sessions that ended after a position, and the position to go on from."""

    session_ids: list[UUID]
    position: int
