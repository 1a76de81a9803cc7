"""The messenger's use cases: who may do what with chats and messages, and whether the request makes sense."""

from collections.abc import Callable, Iterable, Sequence

from sqlalchemy import Connection

from palaver.contracts.errors import INVALID, NOT_FOUND, UNAVAILABLE, PalaverError
from palaver.contracts.ids import derived_id, new_id
from palaver.contracts.seqs import LAST_SEQ
from palaver.contracts.times import now_us
from palaver.messenger.domain import (
    TITLE_BYTES,
    TITLE_CHARACTERS,
    ChatView,
    Message,
    Receipt,
    ShownChat,
    ShownChats,
    ShownInspection,
)
from palaver.messenger.events import Event, MembersChanged, MessageChanged
from palaver.messenger.realtime.engine import Engine
from palaver.messenger.store import chat_lists, chats, messages
from palaver.messenger.store.inspection import inspect_message
from palaver.messenger.store.members import read_standing
from palaver.messenger.store.messages import PREVIEW_BYTES, PREVIEW_CHARACTERS
from palaver.messenger.store.opening import Store
from palaver.messenger.user_directory import UserDirectory
from palaver.messenger.user_rates import UserRates, spend
from palaver.runtime.settings.messenger import MessengerSettings
from palaver.runtime.telemetry.trace_context import NO_TRACE, TraceContext
from palaver.runtime.texts import check_text, cut_text

# Of an idempotency key
KEY_BYTES = 255
# Of a change of an archived message: each fails where others changed messages of its segment meanwhile
CHANGE_ATTEMPTS = 10
RETRY_SECONDS = 1.0
# Most chats or messages of a page
MOST_ENTRIES = 1_000


class UseCases:
    """Every method but `inspect_message` acts in the name of `user_id`, whose token was verified.

    All raise `invalid`, naming the field, for what can't be meant, and `not_found` with one and the same
    text for a chat that does not exist and for one that is not the user's (promise P5). What reaches others
    raises `rate_limited`.
    """

    def __init__(
        self,
        store: Store,
        directory: UserDirectory,
        engine: Engine,
        rates: UserRates,
        settings: MessengerSettings,
    ) -> None:
        self._database = store.database
        self._messages = store.messages
        self._directory = directory
        self._engine = engine
        self._rates = rates
        self._settings = settings

    # ---- chats ----

    async def open_direct_chat(self, user_id: bytes, companion_id: bytes) -> ShownChat:
        """The one chat of two users, made where there is none. Raises `unavailable` where auth is away."""
        check_companion(user_id, companion_id)
        found = await self._database.read(chats.find_direct_chat, user_id, companion_id)
        if found is not None:
            return await self._show(found, existed=True)
        spend(self._rates.chats, user_id, "new chats")
        await self._directory.check_users([companion_id], "companion_id")
        view, existed = await self._engine.commit(open_direct_chat, user_id, companion_id)
        return await self._show(view, existed=existed)

    async def find_direct_chat(self, user_id: bytes, companion_id: bytes) -> ShownChat:
        """The one chat of two users. Raises `not_found`."""
        check_companion(user_id, companion_id)
        view = await self._database.read(chats.find_direct_chat, user_id, companion_id)
        if view is None:
            raise PalaverError(NOT_FOUND, "no chat with this companion", field="companion_id")
        return await self._show(view, existed=True)

    async def create_group(
        self, user_id: bytes, title: str, member_ids: Iterable[bytes], key: str
    ) -> ShownChat:
        """A new group; or, where the user gave the same key before, the group of then."""
        others = self._check_group(user_id, title, member_ids, key)
        chat_id = derived_id(user_id, "group:" + key) if key else new_id()
        found = await self._database.read(chat_lists.find_chat, chat_id, user_id) if key else None
        if found is not None:
            return await self._show(found, existed=True)
        spend(self._rates.chats, user_id, "new chats")
        spend(self._rates.members, user_id, "new members", len(others))
        await self._directory.check_users(others, "member_ids")
        view, existed = await self._engine.commit(create_group, chat_id, user_id, title, others)
        return await self._show(view, existed=existed)

    async def get_chat(self, user_id: bytes, chat_id: bytes) -> ShownChat:
        """One chat, as the user sees it."""
        check_id(chat_id, "chat_id")
        return await self._show(await self._database.read(chat_lists.load_chat, chat_id, user_id))

    async def list_chats(
        self, user_id: bytes, limit: int, cursor: str, offset: int, *, with_total: bool
    ) -> ShownChats:
        """The user's chats, newest activity first: behind `cursor`, or by offset."""
        check_limit(limit)
        if cursor and offset:
            raise PalaverError(INVALID, "give either cursor or offset", field="offset")
        behind = chat_lists.position_of(cursor)
        more = None
        if offset:
            found = await self._database.read(
                chat_lists.list_chats_from, user_id, limit, min(offset, LAST_SEQ)
            )
        else:
            found, more = await self._database.read(chat_lists.list_chats, user_id, limit, behind)
        total = await self._database.read(chat_lists.count_chats, user_id) if with_total else 0
        found = await self._with_previews(found)
        names = await self._directory.names_of(user for view in found for user in users_of(view))
        return ShownChats(found, names, chat_lists.cursor_of(more), total)

    async def add_members(self, user_id: bytes, chat_id: bytes, user_ids: Sequence[bytes]) -> ShownChat:
        """The group with its new members; those who are members already stay so."""
        check_id(chat_id, "chat_id")
        added = check_ids(user_ids, "user_ids", self._settings.members_per_group)
        # Before auth is asked: outsiders must not learn of the chat from what auth says
        await self._database.read(chats.check_may_add, chat_id, user_id)
        spend(self._rates.members, user_id, "new members", len(added))
        await self._directory.check_users(added, "user_ids")
        most = self._settings.members_per_group
        return await self._show(await self._engine.commit(add_members, chat_id, user_id, added, most))

    async def remove_member(self, user_id: bytes, chat_id: bytes, removed_id: bytes) -> None:
        """Ends a membership: the user's own, or, by the group's creator, anybody's."""
        check_id(chat_id, "chat_id")
        check_id(removed_id, "user_id")
        spend(self._rates.changes, user_id, "changes")
        await self._engine.commit(remove_member, chat_id, user_id, removed_id)

    # ---- messages ----

    async def list_messages(
        self,
        user_id: bytes,
        chat_id: bytes,
        limit: int,
        *,
        before: int,
        after: int,
        from_start: bool,
        mark_read: bool,
        known: messages.Page | None = None,
    ) -> messages.Page:
        """Messages by seq, ascending: behind `after`, or the last ones before `before`, or of all.

        `known`: what another present member got for the same request, since this one came.
        """
        check_id(chat_id, "chat_id")
        check_limit(limit)
        forwards = from_start or after > 0
        if forwards and before:
            raise PalaverError(INVALID, "give either before_seq or after_seq", field="before_seq")
        page = await self._known_to(user_id, chat_id, known)
        if page is None:
            page = await self._messages.page(
                chat_id, user_id, limit, before=before, after=after if forwards else None
            )
        seq = page.rows[-1][messages.SEQ] if page.rows else 0
        if mark_read and not page.left and seq > page.read_seq:
            self._engine.submit_receipt(chat_id, user_id, seq, seq)
        return page

    async def send_messages(
        self,
        user_id: bytes,
        chat_id: bytes,
        client_ids: Sequence[bytes],
        texts: Sequence[str],
        *,
        retry: bool,
        trace: TraceContext = NO_TRACE,
    ) -> list[Message]:
        """The messages as stored, all or none. Raises `rate_limited` and `overloaded` too."""
        check_id(chat_id, "chat_id")
        settings = self._settings
        most = settings.messages_per_request
        if not 1 <= len(texts) <= most:
            raise PalaverError(INVALID, f"texts must be 1 to {most:,}", field="texts")
        if len(client_ids) != len(texts):
            raise PalaverError(INVALID, "client_ids must be one for each text", field="client_ids")
        for client_id in client_ids:
            check_id(client_id, "client_ids")
        for number, text in enumerate(texts):
            check_text(text, f"texts.{number}", settings.text_characters, settings.text_bytes)
        stored = await self._engine.send(chat_id, user_id, client_ids, texts, retry=retry, trace=trace)
        new = [
            Message(chat_id, one.seq, one.id, user_id, client_id, text, one.created_at, trace.trace_id)
            for one, client_id, text in zip(stored, client_ids, texts, strict=True)
        ]
        if not retry:
            return new
        # It may have been stored by an earlier request, and edited or deleted since
        known = await self._messages.at([(chat_id, one.seq) for one in stored])
        return [known.get((chat_id, message.seq), message) for message in new]

    async def edit_message(self, user_id: bytes, chat_id: bytes, seq: int, text: str) -> Message:
        """The user's message with its new text. Raises `forbidden`, `conflict` where it is deleted."""
        check_id(chat_id, "chat_id")
        check_text(text, "text", self._settings.text_characters, self._settings.text_bytes)
        spend(self._rates.changes, user_id, "changes")
        return await self._change(edit_message, chat_id, user_id, seq, text)

    async def delete_message(self, user_id: bytes, chat_id: bytes, seq: int) -> Message:
        """What is left of the user's message; again, the same. Raises `forbidden`."""
        check_id(chat_id, "chat_id")
        spend(self._rates.changes, user_id, "changes")
        return await self._change(delete_message, chat_id, user_id, seq)

    async def set_receipt(self, user_id: bytes, chat_id: bytes, received_seq: int, read_seq: int) -> Receipt:
        """The user's receipt as stored."""
        check_id(chat_id, "chat_id")
        return await self._engine.set_receipt(
            chat_id, user_id, min(received_seq, LAST_SEQ), min(read_seq, LAST_SEQ)
        )

    # ---- for operators ----

    async def inspect_message(self, chat_id: bytes, seq: int) -> ShownInspection:
        """A message without its text, and how far the chat's members are. In nobody's name: `not_found` names
        whether the chat or the seq is wrong."""
        check_id(chat_id, "chat_id")
        found = await inspect_message(self._database, self._messages, chat_id, min(seq, LAST_SEQ))
        names = await self._directory.names_of(member.user_id for member in found.members)
        return ShownInspection(found, names)

    def _check_group(self, user_id: bytes, title: str, member_ids: Iterable[bytes], key: str) -> list[bytes]:
        """The members of a new group besides its creator, each once. Raises `invalid`."""
        check_text(title, "title", TITLE_CHARACTERS, TITLE_BYTES)
        if key:
            check_text(key, "idempotency_key", KEY_BYTES, KEY_BYTES)
        most = self._settings.members_per_group
        others = [user for user in check_ids(member_ids, "member_ids", most) if user != user_id]
        if not others:
            raise PalaverError(INVALID, "a group has at least 2 members", field="member_ids")
        if len(others) + 1 > most:
            raise PalaverError(INVALID, f"a group has at most {most:,} members", field="member_ids")
        return others

    async def _known_to(
        self, user_id: bytes, chat_id: bytes, known: messages.Page | None
    ) -> messages.Page | None:
        """A page that another present member got, if this user is one too: all of them see the same. Raises
        `not_found`."""
        if known is None:
            return None
        standing = await self._database.read_short(read_standing, chat_id, user_id)
        return known._replace(read_seq=standing.read_seq) if standing.left_seq is None else None

    async def _change(
        self,
        change: Callable[..., tuple[Message, list[Event]]],
        chat_id: bytes,
        user_id: bytes,
        seq: int,
        *args: str,
    ) -> Message:
        """Commits a change of one message, wherever it is. Raises `unavailable` too."""
        archived: messages.ArchivedMessage | None = None
        for _ in range(CHANGE_ATTEMPTS):
            try:
                return await self._engine.commit(change, chat_id, user_id, seq, *args, archived=archived)
            except messages.MessageArchivedError:
                archived = await self._messages.archived(chat_id, seq)
        if archived is None:
            raise PalaverError(NOT_FOUND, "no such message", field="seq")
        raise PalaverError(UNAVAILABLE, "others change messages beside this one", retry_after=RETRY_SECONDS)

    async def _show(self, view: ChatView, *, existed: bool = False) -> ShownChat:
        found = await self._messages.at([(view.id, view.last_seq)] if view.last_seq else [])
        view = view._replace(last_message=found.get((view.id, view.last_seq)))
        return ShownChat(view, await self._directory.names_of(users_of(view)), existed)

    async def _with_previews(self, views: Sequence[ChatView]) -> list[ChatView]:
        """The chats with the beginnings of their last messages."""
        found = await self._messages.previews([(view.id, view.last_seq) for view in views if view.last_seq])
        shown = []
        for view in views:
            message = found.get((view.id, view.last_seq))
            if message is not None:
                preview = cut_text(message.text, PREVIEW_CHARACTERS, PREVIEW_BYTES)
                is_cut = preview != message.text
                view = view._replace(last_message=message._replace(text=preview), last_text_cut=is_cut)
            shown.append(view)
        return shown


def users_of(view: ChatView) -> Iterable[bytes]:
    """Those whose names belong to a chat."""
    return (member.user_id for member in view.members)


# ---- what a request may say ----


def check_id(raw: bytes, field: str) -> None:
    """Raises `invalid` for what can't be an id."""
    if len(raw) != 16:
        raise PalaverError(INVALID, f"{field} must be a UUID of 16 bytes", field=field)


def check_ids(raws: Iterable[bytes], field: str, most: int) -> list[bytes]:
    """The ids, each once, in their order. Raises `invalid` where there is none, or more than `most`."""
    ids = list(dict.fromkeys(raws))
    if not 1 <= len(ids) <= most:
        raise PalaverError(INVALID, f"{field} must be 1 to {most:,}", field=field)
    for raw in ids:
        check_id(raw, field)
    return ids


def check_companion(user_id: bytes, companion_id: bytes) -> None:
    """Raises `invalid` for what can't be somebody else."""
    check_id(companion_id, "companion_id")
    if companion_id == user_id:
        raise PalaverError(INVALID, "companion_id must be somebody else", field="companion_id")


def check_limit(limit: int) -> None:
    """Raises `invalid` for a page of nothing, or a very large one."""
    if not 1 <= limit <= MOST_ENTRIES:
        raise PalaverError(INVALID, f"limit must be 1 to {MOST_ENTRIES:,}", field="limit")


# ---- changes, with the entries of the commit log for what they touch. Times are taken while the write lock
# is held: waiting for it may take long ----


def open_direct_chat(
    connection: Connection, user_id: bytes, companion_id: bytes
) -> tuple[tuple[ChatView, bool], list[Event]]:
    """See `chats.open_direct_chat`."""
    view, existed = chats.open_direct_chat(connection, user_id, companion_id, now_us())
    return (view, existed), [] if existed else [MembersChanged(view.id, (user_id, companion_id))]


def create_group(
    connection: Connection, chat_id: bytes, user_id: bytes, title: str, others: Sequence[bytes]
) -> tuple[tuple[ChatView, bool], list[Event]]:
    """See `chats.create_group`."""
    view, existed = chats.create_group(connection, chat_id, user_id, title, others, now_us())
    return (view, existed), [] if existed else [MembersChanged(chat_id, (user_id, *others))]


def add_members(
    connection: Connection, chat_id: bytes, user_id: bytes, user_ids: Sequence[bytes], most: int
) -> tuple[ChatView, list[Event]]:
    """See `chats.add_members`."""
    view, changed = chats.add_members(connection, chat_id, user_id, user_ids, now_us(), most)
    return view, [MembersChanged(chat_id, tuple(user_ids))] if changed else []


def remove_member(
    connection: Connection, chat_id: bytes, user_id: bytes, removed_id: bytes
) -> tuple[None, list[Event]]:
    """See `chats.remove_member`."""
    chats.remove_member(connection, chat_id, user_id, removed_id)
    return None, [MembersChanged(chat_id, (removed_id,))]


def edit_message(
    connection: Connection,
    chat_id: bytes,
    user_id: bytes,
    seq: int,
    text: str,
    archived: messages.ArchivedMessage | None = None,
) -> tuple[Message, list[Event]]:
    """See `messages.edit_message`."""
    message = messages.edit_message(connection, chat_id, user_id, seq, text, now_us(), archived)
    return message, [MessageChanged(chat_id, seq)]


def delete_message(
    connection: Connection,
    chat_id: bytes,
    user_id: bytes,
    seq: int,
    archived: messages.ArchivedMessage | None = None,
) -> tuple[Message, list[Event]]:
    """See `messages.delete_message`."""
    message, changed = messages.delete_message(connection, chat_id, user_id, seq, now_us(), archived)
    return message, [MessageChanged(chat_id, seq)] if changed else []
