"""What v2's REST answers. Ids are UUIDs as text, times RFC 3339 as text. Unknown fields are passed over."""

import msgspec

from palaver.contracts.frames import Message


class Tokens(msgspec.Struct, frozen=True):
    """The tokens of a session. `expires_in`: seconds that the access token lives."""

    access_token: str
    refresh_token: str
    expires_in: int
    user_id: str
    session_id: str

    def __repr__(self) -> str:
        return f"Tokens(user_id={self.user_id!r}, session_id={self.session_id!r})"


class User(msgspec.Struct):
    """An account as others see it. `birthday` is a day, `YYYY-MM-DD`."""

    id: str
    email: str
    name: str
    surname: str
    birthday: str
    sex: str
    city: str
    interests: str
    created_at: str


class UserPage(msgspec.Struct):
    """Users by surname, name and id. `next_cursor` is None on the last page."""

    users: list[User]
    next_cursor: str | None = None


class Session(msgspec.Struct):
    """One signed-in device of a user."""

    id: str
    created_at: str
    last_used_at: str
    agent: str
    address: str
    current: bool


class SessionList(msgspec.Struct):
    """The live sessions of a user, newest first."""

    sessions: list[Session]


class Member(msgspec.Struct):
    """A member of a chat, whether they are there, and how far they have received and read."""

    user_id: str
    name: str
    surname: str
    received_seq: int
    read_seq: int
    online: bool = False
    last_seen_at: str | None = None


class Chat(msgspec.Struct):
    """A chat as the caller sees it; of a list, with the beginning of its last message and some of its
    `member_count` members. `kind` is `direct` or `group`; `left`: the caller is a former member."""

    id: str
    kind: str
    title: str
    created_at: str
    created_by: str
    last_seq: int
    unread: int
    active_at: str
    last_message: Message | None
    members: list[Member]
    left: bool = False
    member_count: int = 0


class ChatPage(msgspec.Struct):
    """Chats, newest activity first. `next_cursor` is None on the last page."""

    chats: list[Chat]
    next_cursor: str | None = None


class MessagePage(msgspec.Struct):
    """Messages by seq, ascending. `last_seq`: the last of the chat that the caller may read. `has_more`: more
    follow, backwards or, with `after_seq`, forwards."""

    messages: list[Message]
    last_seq: int
    has_more: bool = False


class SentMessages(msgspec.Struct):
    """Messages as stored, in the order of the request."""

    messages: list[Message]


class ReceiptState(msgspec.Struct):
    """How far a member has received and read a chat."""

    user_id: str
    received_seq: int
    read_seq: int


class FieldProblem(msgspec.Struct):
    """One wrong field of a request."""

    field: str = ""
    message: str = ""


class Problem(msgspec.Struct):
    """Why a request was refused (RFC 9457)."""

    code: str = ""
    title: str = ""
    detail: str = ""
    errors: list[FieldProblem] = []
