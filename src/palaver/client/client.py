"""A user of Palaver: accounts, chats and messages over REST, and the way to the socket."""

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from types import TracebackType
from typing import Self

from palaver.client.backoff import LONGEST_SECONDS
from palaver.client.models import (
    Chat,
    ChatPage,
    MessagePage,
    ReceiptState,
    SentMessages,
    Session,
    SessionList,
    Tokens,
    User,
    UserPage,
)
from palaver.client.rest import Query, Rest, SignedOut
from palaver.client.socket import Socket
from palaver.contracts.frames import Message
from palaver.contracts.ids import new_id, text_from_id

PAGE = 200


class Client:
    """One user's session with a gateway at `base_url`, e.g. `http://localhost:10000`.

    Use it as `async with`. Every call raises `PalaverError` with a kind of the error catalogue; `SignedOut`
    where there is no session any more. The access token is refreshed in time, once for concurrent callers.
    `tokens` goes on with a session; `on_tokens` is called with every new pair, and with None at the end.
    """

    def __init__(
        self,
        base_url: str,
        tokens: Tokens | None = None,
        on_tokens: Callable[[Tokens | None], None] | None = None,
    ) -> None:
        self._rest = Rest(base_url, tokens, on_tokens)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes the connections. The session lives on: `sign_out` ends it."""
        await self._rest.close()

    @property
    def tokens(self) -> Tokens | None:
        """The session's newest tokens; None when signed out."""
        return self._rest.tokens

    @property
    def user_id(self) -> str:
        """Who is signed in. Raises `SignedOut`."""
        if self._rest.tokens is None:
            raise SignedOut("sign in first")
        return self._rest.tokens.user_id

    def socket(
        self,
        cursors: Mapping[str, int] | None = None,
        *,
        find_chats: bool = True,
        events: int = 1_000,
        unacked: int = 100,
        connect_seconds: float = 30.0,
        longest_pause: float = LONGEST_SECONDS,
    ) -> Socket:
        """A live connection that comes back by itself. Use it as `async with`; it is not connected yet.

        `cursors`: chat id -> last seq seen, as `Socket.cursors` gives them. None: begin now, with what comes.
        `find_chats`: look for chats that are not among them: a direct one comes from its first message, a
        group from the first one that its user has not read. False: each from its first live message.
        `events`: so many wait to be taken before nothing more is read. `unacked`: so many sends may wait for
        their acknowledgement; further ones wait for those. `connect_seconds`: how long the first connection
        may take. `longest_pause`: seconds between two attempts to come back, at most.
        """
        return Socket(
            self._rest,
            self.all_chats,
            self.chat,
            cursors,
            find_chats=find_chats,
            events=events,
            unacked=unacked,
            connect_seconds=connect_seconds,
            longest_pause=longest_pause,
        )

    # ---- accounts and sessions ----

    async def sign_up(
        self,
        email: str,
        password: str,
        *,
        name: str,
        surname: str,
        birthday: str = "2000-01-01",
        sex: str = "other",
        city: str = "",
        interests: str = "",
    ) -> User:
        """Creates an account; does not sign in. `birthday`: `YYYY-MM-DD`. Raises `conflict`, `invalid`."""
        body = {
            "email": email,
            "password": password,
            "name": name,
            "surname": surname,
            "birthday": birthday,
            "sex": sex,
            "city": city,
            "interests": interests,
        }
        return await self._rest.call("POST", "/v2/users", User, body=body, signed=False)

    async def sign_in(self, email: str, password: str) -> Tokens:
        """Starts a session. Raises `unauthenticated` for a wrong pair, `rate_limited`."""
        body = {"email": email, "password": password}
        tokens = await self._rest.call("POST", "/v2/sessions", Tokens, body=body, signed=False)
        self._rest.keep_tokens(tokens)
        return tokens

    async def sign_out(self) -> None:
        """Ends the session. Its sockets close within seconds."""
        await self._rest.call("DELETE", "/v2/sessions/current", type(None))
        self._rest.keep_tokens(None)

    async def sessions(self) -> list[Session]:
        """The user's live sessions, newest first."""
        return (await self._rest.call("GET", "/v2/sessions", SessionList, repeat=True)).sessions

    async def end_session(self, session_id: str) -> None:
        """Signs another device out. Raises `not_found`."""
        await self._rest.call("DELETE", f"/v2/sessions/{session_id}", type(None))

    async def me(self) -> User:
        """The user's own account."""
        return await self._rest.call("GET", "/v2/users/me", User, repeat=True)

    async def change_profile(self, **fields: str) -> User:
        """Changes name, surname, birthday, sex, city or interests; the others stay. Raises `invalid`."""
        return await self._rest.call("PATCH", "/v2/users/me", User, body=fields, repeat=True)

    async def find_user(self, email: str) -> User | None:
        """The user with this email, or None."""
        page = await self._rest.call("GET", "/v2/users", UserPage, query={"email": email}, repeat=True)
        return page.users[0] if page.users else None

    async def search_users(self, words: str, *, limit: int = 20, cursor: str | None = None) -> UserPage:
        """Others whose name or surname starts with the one word; or name and surname with the two."""
        query: Query = {"q": words, "limit": limit, "cursor": cursor}
        return await self._rest.call("GET", "/v2/users", UserPage, query=query, repeat=True)

    # ---- chats ----

    async def open_chat(self, companion_id: str) -> Chat:
        """The one direct chat with a user, made where there is none. Raises `not_found`."""
        body = {"companion_id": companion_id}
        return await self._rest.call("POST", "/v2/chats", Chat, body=body, repeat=True)

    async def create_group(self, title: str, member_ids: Sequence[str], *, key: str | None = None) -> Chat:
        """A new group with the user and `member_ids`. The same `key` again gives the same group."""
        body = {"title": title, "member_ids": list(member_ids)}
        headers = {"Idempotency-Key": key or text_from_id(new_id())}
        return await self._rest.call("POST", "/v2/chats", Chat, body=body, headers=headers, repeat=True)

    async def chat(self, chat_id: str) -> Chat:
        """One chat. Raises `not_found`, also where it is not the user's."""
        return await self._rest.call("GET", f"/v2/chats/{chat_id}", Chat, repeat=True)

    async def chats(self, *, limit: int = 50, cursor: str | None = None) -> ChatPage:
        """A page of the user's chats, newest activity first."""
        query: Query = {"limit": limit, "cursor": cursor}
        return await self._rest.call("GET", "/v2/chats", ChatPage, query=query, repeat=True)

    async def all_chats(self) -> AsyncGenerator[Chat, None]:
        """All of the user's chats, newest activity first, page by page."""
        cursor = None
        while True:
            page = await self.chats(limit=PAGE, cursor=cursor)
            for chat in page.chats:
                yield chat
            cursor = page.next_cursor
            if cursor is None:
                return

    async def add_members(self, chat_id: str, user_ids: Sequence[str]) -> Chat:
        """Adds users to a group; those who are members stay. Raises `forbidden`, `invalid`, `not_found`."""
        body = {"user_ids": list(user_ids)}
        return await self._rest.call("POST", f"/v2/chats/{chat_id}/members", Chat, body=body, repeat=True)

    async def remove_member(self, chat_id: str, user_id: str) -> None:
        """Removes a member of a group; with the user's own id, leaves it. Raises `forbidden`, `not_found`."""
        await self._rest.call("DELETE", f"/v2/chats/{chat_id}/members/{user_id}", type(None))

    # ---- messages ----

    async def messages(
        self, chat_id: str, *, before_seq: int | None = None, after_seq: int | None = None, limit: int = 50
    ) -> MessagePage:
        """The newest messages; the newest before `before_seq`; or the first behind `after_seq`. Ascending."""
        query: Query = {"before_seq": before_seq, "after_seq": after_seq, "limit": limit}
        path = f"/v2/chats/{chat_id}/messages"
        return await self._rest.call("GET", path, MessagePage, query=query, repeat=True)

    async def all_messages(self, chat_id: str, *, after_seq: int = 0) -> AsyncGenerator[Message, None]:
        """The whole history behind `after_seq`, in order, page by page."""
        while True:
            page = await self.messages(chat_id, after_seq=after_seq, limit=PAGE)
            for message in page.messages:
                yield message
                after_seq = message.seq
            # A page of long texts is short, and not the last one
            if not page.messages or after_seq >= page.last_seq:
                return

    async def send(self, chat_id: str, *texts: str, client_ids: Sequence[str] | None = None) -> list[Message]:
        """Sends messages, all next to each other, or none. `client_ids`: to repeat an earlier call."""
        ids = list(client_ids or (text_from_id(new_id()) for _ in texts))
        listed = [{"client_id": i, "text": text} for i, text in zip(ids, texts, strict=True)]
        path = f"/v2/chats/{chat_id}/messages"
        answer = await self._rest.call("POST", path, SentMessages, body={"messages": listed}, repeat=True)
        return answer.messages

    async def edit_message(self, chat_id: str, seq: int, text: str) -> Message:
        """Changes the text of a message of the user's own. Raises `forbidden`, `not_found`, `conflict`."""
        path = f"/v2/chats/{chat_id}/messages/{seq}"
        return await self._rest.call("PATCH", path, Message, body={"text": text}, repeat=True)

    async def delete_message(self, chat_id: str, seq: int) -> Message:
        """Deletes the text of a message of the user's own; its seq stays. Raises `forbidden`, `not_found`."""
        return await self._rest.call("DELETE", f"/v2/chats/{chat_id}/messages/{seq}", Message, repeat=True)

    async def set_receipt(self, chat_id: str, *, received_seq: int = 0, read_seq: int = 0) -> ReceiptState:
        """Moves the user's receipt forward, and gives it as stored. Read counts as received."""
        body = {"received_seq": received_seq, "read_seq": read_seq}
        return await self._rest.call(
            "PUT", f"/v2/chats/{chat_id}/receipt", ReceiptState, body=body, repeat=True
        )
