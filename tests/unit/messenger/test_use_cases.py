"""The use cases: their limits, and what they tell the live part."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from palaver.contracts.errors import FORBIDDEN, INVALID, NOT_FOUND, PalaverError
from palaver.contracts.ids import new_id
from palaver.messenger.domain import Message, Receipt
from palaver.messenger.migrations import MIGRATIONS
from palaver.messenger.use_cases import UseCases
from palaver.messenger.user_directory import UserDirectory
from palaver.runtime.http.server import RestClient
from palaver.runtime.settings import MessengerSettings
from palaver.runtime.sql.database import SqliteDatabase
from palaver.runtime.sql.migrations import migrate
from tests.harness.fake_auth import FakeAuth, running_fake_auth
from tests.harness.journal_rows import write_messages


@dataclass
class Noting:
    """A live part that notes what it is told, and sends nothing. Implements `live.Live`."""

    forgotten: list[bytes] = field(default_factory=list)
    changed: list[Message] = field(default_factory=list)
    implied: list[tuple[bytes, bytes, int, int]] = field(default_factory=list)
    sent: list[tuple[str, ...]] = field(default_factory=list)

    async def send(
        self,
        chat_id: bytes,
        sender_id: bytes,
        client_ids: Sequence[bytes],
        texts: Sequence[str],
        *,
        retry: bool,
        trace_id: str = "",
    ) -> list[Message]:
        self.sent.append(tuple(texts))
        return [
            Message(chat_id, seq, new_id(), sender_id, client_id, text, int(retry), trace_id=trace_id)
            for seq, (client_id, text) in enumerate(zip(client_ids, texts, strict=True), start=1)
        ]

    async def set_receipt(self, chat_id: bytes, user_id: bytes, received_seq: int, read_seq: int) -> Receipt:
        self.implied.append((chat_id, user_id, received_seq, read_seq))
        return Receipt(user_id, received_seq, read_seq)

    def imply_receipt(self, chat_id: bytes, user_id: bytes, received_seq: int, read_seq: int) -> None:
        self.implied.append((chat_id, user_id, received_seq, read_seq))

    def tell_changed(self, message: Message) -> None:
        self.changed.append(message)

    def forget_chat(self, chat_id: bytes) -> None:
        self.forgotten.append(chat_id)

    def is_online(self, user_id: bytes) -> bool:
        return user_id == b""


@dataclass
class House:
    """The use cases with a database and an auth of their own, and small limits."""

    auth: FakeAuth
    database: SqliteDatabase
    live: Noting
    dialogs: UseCases

    async def group(self, creator: bytes, *others: bytes) -> bytes:
        return (await self.dialogs.create_group(creator, "Lunch", others, "")).view.id


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with running_fake_auth() as auth:
        client = RestClient(auth.url)
        database = SqliteDatabase(tmp_path / "messenger.db")
        await database.write(migrate, MIGRATIONS)
        live = Noting()
        settings = MessengerSettings(members_per_group=3, messages_per_request=2, text_characters=10)
        yield House(auth, database, live, UseCases(database, UserDirectory(client), live, settings))
        await database.close()
        await client.close()


async def test_limits_are_those_of_the_settings(house: House) -> None:
    """Without it an operator who changes a limit would change nothing."""
    alice, bob, carol, dave = (house.auth.sign_up(name) for name in "ABCD")
    chat_id = await house.group(alice, bob, carol)
    with pytest.raises(PalaverError) as caught:
        await house.dialogs.create_group(alice, "Lunch", [bob, carol, dave], "")
    assert (caught.value.kind, caught.value.field) == (INVALID, "member_ids")
    with pytest.raises(PalaverError) as caught:
        await house.dialogs.add_members(alice, chat_id, [dave])
    assert (caught.value.kind, caught.value.field) == (INVALID, "user_ids")
    for texts, named in ((["1", "2", "3"], "texts"), (["x" * 11], "texts.0")):
        ids = [new_id() for _ in texts]
        with pytest.raises(PalaverError) as caught:
            await house.dialogs.send_messages(alice, chat_id, ids, texts, retry=False)
        assert (caught.value.kind, caught.value.field) == (INVALID, named)
    await house.dialogs.send_messages(alice, chat_id, [new_id(), new_id()], ["x" * 10, "y"], retry=False)
    assert house.live.sent == [("x" * 10, "y")]


async def test_changed_members_are_forgotten_everywhere(house: House) -> None:
    """Without it replicas would go on telling those who left, and not those who came."""
    alice, bob, carol = (house.auth.sign_up(name) for name in "ABC")
    chat_id = await house.group(alice, bob)
    assert house.live.forgotten == []
    await house.dialogs.add_members(alice, chat_id, [carol])
    assert house.live.forgotten == [chat_id]
    await house.dialogs.add_members(alice, chat_id, [carol])
    assert house.live.forgotten == [chat_id]
    await house.dialogs.remove_member(bob, chat_id, bob)
    assert house.live.forgotten == [chat_id, chat_id]
    with pytest.raises(PalaverError):
        await house.dialogs.remove_member(carol, chat_id, alice)
    assert house.live.forgotten == [chat_id, chat_id]


async def test_members_hear_of_a_changed_message_once(house: House) -> None:
    """Without it open clients would show the old words until they read the history again."""
    alice, bob = (house.auth.sign_up(name) for name in "AB")
    chat_id = (await house.dialogs.open_direct_chat(alice, bob)).view.id
    await house.database.write(write_messages, chat_id, alice, ["one", "two"])
    edited = await house.dialogs.edit_message(alice, chat_id, 1, "eins")
    deleted = await house.dialogs.delete_message(alice, chat_id, 2)
    await house.dialogs.delete_message(alice, chat_id, 2)
    with pytest.raises(PalaverError):
        await house.dialogs.edit_message(bob, chat_id, 1, "uno")
    assert house.live.changed == [edited, deleted]


async def test_reading_moves_an_old_clients_receipt_only_forward(house: House) -> None:
    """Without it each look at a history would be a write, also by somebody who has left."""
    alice, bob = (house.auth.sign_up(name) for name in "AB")
    chat_id = await house.group(alice, bob)
    await house.database.write(write_messages, chat_id, alice, list("abcd"))

    async def read(user_id: bytes, after: int, *, mark_read: bool = True) -> None:
        await house.dialogs.list_messages(
            user_id, chat_id, 2, before=0, after=after, from_start=True, mark_read=mark_read
        )

    await read(bob, 0, mark_read=False)
    await read(alice, 0)
    await read(bob, 4)
    assert house.live.implied == []
    await read(bob, 1)
    assert house.live.implied == [(chat_id, bob, 3, 3)]
    await house.dialogs.remove_member(alice, chat_id, bob)
    await read(bob, 1)
    assert len(house.live.implied) == 1


async def test_an_outsider_does_not_learn_from_auths_answers(house: House) -> None:
    """Without it adding a made-up user would tell a real chat from none."""
    alice, bob, eve = (house.auth.sign_up(name) for name in "ABE")
    chat_id = await house.group(alice, bob)
    asked = len(house.auth.lookups)
    for unknown in (chat_id, new_id()):
        with pytest.raises(PalaverError) as caught:
            await house.dialogs.add_members(eve, unknown, [new_id()])
        assert (caught.value.kind, caught.value.field) == (NOT_FOUND, "chat_id")
    assert len(house.auth.lookups) == asked
    direct = (await house.dialogs.open_direct_chat(alice, bob)).view.id
    with pytest.raises(PalaverError) as caught:
        await house.dialogs.add_members(alice, direct, [eve])
    assert caught.value.kind is FORBIDDEN


async def test_numbers_of_the_wire_fit_the_database(house: House) -> None:
    """Without it a number of 64 bits without a sign would be an error on our side."""
    alice, bob = (house.auth.sign_up(name) for name in "AB")
    chat_id = (await house.dialogs.open_direct_chat(alice, bob)).view.id
    largest = 2**64 - 1
    page = await house.dialogs.list_chats(alice, 10, "", largest, with_total=False)
    assert page.views == []
    receipt = await house.dialogs.set_receipt(alice, chat_id, largest, largest)
    assert (receipt.received_seq, receipt.read_seq) == (2**63 - 1, 2**63 - 1)


async def test_a_page_of_chats_asks_for_all_names_at_once(house: House) -> None:
    """Without it a list of chats would cost one call to auth a chat."""
    alice = house.auth.sign_up("A")
    for number in range(5):
        await house.dialogs.open_direct_chat(alice, house.auth.sign_up(str(number)))
    client = RestClient(house.auth.url)
    forgetful = UseCases(house.database, UserDirectory(client), house.live, MessengerSettings())
    house.auth.lookups.clear()
    page = await forgetful.list_chats(alice, 10, "", 0, with_total=True)
    await client.close()
    assert page.total == 5
    assert {name.name for name in page.names.values()} == {"A", "0", "1", "2", "3", "4"}
    assert len(house.auth.lookups) == 1
