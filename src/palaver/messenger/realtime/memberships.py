"""Whom a chat's messages are for: members kept in memory, and how far they have been told."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from sqlalchemy import Connection, bindparam, select

from palaver.contracts.errors import NOT_FOUND, UNAVAILABLE, PalaverError
from palaver.contracts.times import now_us
from palaver.messenger.store.schema import GROUP, chats, members, messages
from palaver.runtime.sql.database import Database
from palaver.runtime.telemetry.configuration import log

if TYPE_CHECKING:
    from palaver.messenger.sequencing import Append

# What another replica wrote so long ago, this one has heard of. Less than gateways remember (see its link),
# since newer messages may be told again. Microseconds.
HEARD_US = 5_000_000

Then = Callable[["Audience | PalaverError"], None]


class Audience:
    """The members of one chat, as some transaction saw them, and how far this replica told its sockets.

    `version` counts changes of members: the journal refuses an append whose version is old; 0 means that
    they must be read anew. `told_seq` is the last seq told; `born_seq` what it was at first. `pending`
    counts the appends in the committer. The rest serves holes that other replicas' messages leave: `held`
    are own appends behind a hole, by first seq; `unsettled` the client ids that the committer has; `wanted`
    the seq up to which the journal is to be told.
    """

    __slots__ = (
        "born_seq",
        "chat_id",
        "filling",
        "group",
        "held",
        "members",
        "pending",
        "told_seq",
        "unsettled",
        "version",
        "wanted",
    )

    def __init__(
        self, chat_id: bytes, group: bool, version: int, told_seq: int, members: frozenset[bytes]
    ) -> None:
        self.chat_id = chat_id
        self.group = group
        self.version = version
        self.told_seq = self.born_seq = self.wanted = told_seq
        self.members = members
        self.pending = 0
        self.filling = False
        self.held: dict[int, Append] = {}
        self.unsettled: set[bytes] = set()


class Audiences:
    """The audiences in memory, read when first needed; least recently read out first.

    Those with pending appends stay, because they know how far their sockets were told. `is_alone` says
    whether no other replica could have changed members without this one hearing of it.
    """

    def __init__(self, database: Database, most: int, is_alone: Callable[[], bool]) -> None:
        self._database = database
        self._most = most
        self._is_alone = is_alone
        self._known: OrderedDict[bytes, Audience] = OrderedDict()
        self._loading: dict[bytes, list[Then]] = {}
        # Chats whose members changed while they were being read
        self._outdated: set[bytes] = set()
        self._task: asyncio.Task[None] | None = None

    def get(self, chat_id: bytes) -> Audience | None:
        """The audience of a chat, if it is in memory."""
        return self._known.get(chat_id)

    def member_of(self, chat_id: bytes, user_id: bytes) -> Audience | None:
        """The audience of a chat that the user is a member of, if that is known without reading."""
        audience = self._known.get(chat_id)
        if (
            audience is None
            or not audience.version
            or user_id not in audience.members
            or chat_id in self._loading
        ):
            return None
        return audience

    def for_member(self, chat_id: bytes, user_id: bytes, then: Then) -> None:
        """Calls `then` with the audience of a chat that the user is a member of, or with the error.

        Now where it is in memory, soon where it must be read. Calls for one chat keep their order.
        """
        audience = self.member_of(chat_id, user_id)
        known = self._known.get(chat_id)
        if audience is not None:
            then(audience)
        elif known is not None and known.version and chat_id not in self._loading and self._is_alone():
            then(no_such_chat())
        else:
            # Not in memory; or not a member, as far as this replica has heard
            self._load(chat_id, lambda found: then(member_or_error(found, user_id)))

    def for_telling(self, chat_id: bytes, then: Callable[[Audience], None]) -> None:
        """Calls `then` with a chat's audience; not at all where there is none."""
        self.for_chat(chat_id, lambda found: then(found) if isinstance(found, Audience) else None)

    def for_chat(self, chat_id: bytes, then: Then) -> None:
        """Calls `then` with a chat's audience, or with the error."""
        audience = self._known.get(chat_id)
        if audience is not None and audience.version and chat_id not in self._loading:
            then(audience)
        else:
            self._load(chat_id, then)

    def forget(self, chat_id: bytes) -> None:
        """The chat's members changed: they are read anew before they are next needed."""
        audience = self._known.get(chat_id)
        if audience is not None:
            audience.version = 0
        if chat_id in self._loading:
            self._outdated.add(chat_id)

    async def stop(self) -> None:
        """Waits for what is being read."""
        if self._task is not None:
            await self._task

    def _load(self, chat_id: bytes, then: Then) -> None:
        if not self._loading:
            # A task begins in the next turn of the event loop: one read for all that this turn asks for
            self._task = asyncio.create_task(self._load_all(), name="audiences")
        self._loading.setdefault(chat_id, []).append(then)

    async def _load_all(self) -> None:
        while self._loading:
            asked = list(self._loading)
            self._outdated.clear()
            found: dict[bytes, Audience] = {}
            error = no_such_chat()
            try:
                since = 0 if self._is_alone() else now_us() - HEARD_US
                for audience in await self._database.read(read_audiences, asked, since):
                    found[audience.chat_id] = self._keep(audience)
            except Exception as cause:
                log.exception("chats not read")
                error = PalaverError(UNAVAILABLE, retry_after=1.0, cause=repr(cause))
            for chat_id in asked:
                if chat_id in self._outdated:
                    # What was read may be older than the change: who waits must not get it
                    continue
                answer(self._loading.pop(chat_id), found.get(chat_id, error))

    def _keep(self, audience: Audience) -> Audience:
        """Remembers a newly read audience; how far it was told survives a change of members."""
        known = self._known.get(audience.chat_id)
        if known is not None:
            known.members = audience.members
            known.version = audience.version
            self._known.move_to_end(audience.chat_id)
            return known
        self._known[audience.chat_id] = audience
        if len(self._known) > self._most:
            self._drop_oldest()
        return audience

    def _drop_oldest(self) -> None:
        for chat_id in list(self._known)[: len(self._known) - self._most]:
            if not self._known[chat_id].pending and not self._known[chat_id].filling:
                del self._known[chat_id]


def answer(waiting: Sequence[Then], found: Audience | PalaverError) -> None:
    """Calls all who wait for a chat, whatever one of them raises: the others, and other chats, must go on."""
    for then in waiting:
        try:
            then(found)
        except Exception:
            log.exception("chat not used")


def no_such_chat() -> PalaverError:
    """What an outsider hears, whether the chat exists or not (promise P5)."""
    return PalaverError(NOT_FOUND, "no such chat", field="chat_id")


def member_or_error(found: "Audience | PalaverError", user_id: bytes) -> "Audience | PalaverError":
    """The audience, if the user belongs to it."""
    if isinstance(found, Audience) and user_id not in found.members:
        return no_such_chat()
    return found


_chats_query = select(
    chats.c.id, chats.c.kind, chats.c.members_version, chats.c.last_seq, chats.c.active_at
).where(chats.c.id.in_(bindparam("ids", expanding=True)))
# The newest of the older messages: walks back over the newer ones
_older_query = (
    select(messages.c.seq)
    .where(messages.c.chat_id == bindparam("chat_id"), messages.c.created_at < bindparam("since"))
    .order_by(messages.c.seq.desc())
    .limit(1)
)
_members_query = select(members.c.chat_id, members.c.user_id).where(
    members.c.chat_id.in_(bindparam("ids", expanding=True)), members.c.left_seq.is_(None)
)


def read_audiences(connection: Connection, chat_ids: Sequence[bytes], since: int) -> list[Audience]:
    """The audiences of those chats that exist. What was committed before `since` counts as told; 0: all.

    Another replica's newest messages may be on their way here: were they taken for told, an own message
    would come before them.
    """
    ids = {"ids": list(chat_ids)}
    users: dict[bytes, set[bytes]] = {}
    for chat_id, user_id in connection.execute(_members_query, ids):
        users.setdefault(chat_id, set()).add(user_id)
    found = []
    for chat_id, kind, version, last_seq, active_at in connection.execute(_chats_query, ids).fetchall():
        told_seq = last_seq
        if since and active_at >= since:
            older = {"chat_id": chat_id, "since": since}
            told_seq = connection.execute(_older_query, older).scalar() or 0
        present = frozenset(users.get(chat_id, ()))
        found.append(Audience(chat_id, kind == GROUP, version, told_seq, present))
    return found


_companions_query = select(members.c.user_id).where(
    members.c.chat_id.in_(bindparam("ids", expanding=True)), members.c.user_id != bindparam("me")
)
_direct_query = (
    select(members.c.chat_id)
    .join(chats, chats.c.id == members.c.chat_id)
    .where(members.c.user_id == bindparam("me"), chats.c.kind != GROUP)
    .order_by(members.c.active_at.desc())
    .limit(bindparam("most"))
)


def read_companions(connection: Connection, user_id: bytes, most: int) -> list[bytes]:
    """The other sides of the user's `most` most active direct chats: those who see the user come and go."""
    chat_ids = [row[0] for row in connection.execute(_direct_query, {"me": user_id, "most": most})]
    return [row[0] for row in connection.execute(_companions_query, {"ids": chat_ids, "me": user_id})]
