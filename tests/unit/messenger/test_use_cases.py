"""The use cases: their limits, and what they hand to the engine."""

import time
from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass
from pathlib import Path

import pytest

from palaver.contracts.errors import FORBIDDEN, INVALID, NOT_FOUND, RATE_LIMITED, PalaverError
from palaver.contracts.ids import new_id
from palaver.messenger.bootstrap import user_rates
from palaver.messenger.events import Event, MembersChanged, MessageChanged, MessagesAppended, ReceiptMoved
from palaver.messenger.migrations import MIGRATIONS
from palaver.messenger.realtime.bus import LocalBus
from palaver.messenger.realtime.engine import Engine
from palaver.messenger.realtime.presence import InProcessPresence
from palaver.messenger.store.commit_log import read_after
from palaver.messenger.store.opening import Store, open_file
from palaver.messenger.use_cases import UseCases
from palaver.messenger.user_directory import UserDirectory
from palaver.runtime.http.rest_client import RestClient
from palaver.runtime.settings.messenger import MessengerSettings
from palaver.runtime.sql.migrations import migrate
from tests.harness.fake_auth import FakeAuth, running_fake_auth
from tests.harness.journal_rows import write_messages
from tests.harness.waiting import eventually


@dataclass
class House:
    """The use cases with a database and an auth of their own, and small limits."""

    auth: FakeAuth
    store: Store
    engine: Engine
    dialogs: UseCases

    async def group(self, creator: bytes, *others: bytes) -> bytes:
        """A new group."""
        return (await self.dialogs.create_group(creator, "Lunch", others, "")).view.id

    async def entries(self, kind: type[Event]) -> list[Event]:
        """What replicas and gateways read in the commit log, of one kind."""
        commits = await self.store.database.read(read_after, {}, 1_000)
        return [entry for commit in commits for entry in commit.entries if type(entry) is kind]


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with running_fake_auth() as auth:
        client = RestClient(auth.url)
        store = open_file(tmp_path / "messenger.db")
        await store.database.write(migrate, MIGRATIONS)
        settings = MessengerSettings(
            rates=False, members_per_group=3, messages_per_request=2, text_characters=10
        )
        rates = user_rates(settings)
        engine = Engine(store, LocalBus(), InProcessPresence(time.monotonic), rates, settings)
        await engine.start()
        yield House(auth, store, engine, UseCases(store, UserDirectory(client), engine, rates, settings))
        await engine.stop()
        await store.close()
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
    sent = await house.dialogs.send_messages(
        alice, chat_id, [new_id(), new_id()], ["x" * 10, "y"], retry=False
    )
    assert [(message.seq, message.text) for message in sent] == [(1, "x" * 10), (2, "y")]
    assert [entry.last_seq for entry in await house.entries(MessagesAppended)] == [2]


async def test_changed_members_are_forgotten_everywhere(house: House) -> None:
    """Without it replicas would go on telling those who left, and not those who came."""
    alice, bob, carol = (house.auth.sign_up(name) for name in "ABC")
    chat_id = await house.group(alice, bob)
    made = MembersChanged(chat_id, (alice, bob))
    assert await house.entries(MembersChanged) == [made]
    await house.dialogs.add_members(alice, chat_id, [carol])
    added = MembersChanged(chat_id, (carol,))
    assert await house.entries(MembersChanged) == [made, added]
    await house.dialogs.add_members(alice, chat_id, [carol])
    assert await house.entries(MembersChanged) == [made, added]
    await house.dialogs.remove_member(bob, chat_id, bob)
    assert await house.entries(MembersChanged) == [made, added, MembersChanged(chat_id, (bob,))]
    with pytest.raises(PalaverError):
        await house.dialogs.remove_member(carol, chat_id, alice)
    assert len(await house.entries(MembersChanged)) == 3


async def test_a_chat_that_is_there_is_not_announced_again(house: House) -> None:
    """Whoever opens a chat would make all replicas read its members anew."""
    alice, bob = (house.auth.sign_up(name) for name in "AB")
    for one, other in [(alice, bob), (bob, alice), (alice, bob)]:
        await house.dialogs.open_direct_chat(one, other)
    for _ in range(2):
        await house.dialogs.create_group(alice, "Lunch", [bob], "key")
    assert len(await house.entries(MembersChanged)) == 2


async def test_members_hear_of_a_changed_message_once(house: House) -> None:
    """Without it open clients would show the old words until they read the history again."""
    alice, bob = (house.auth.sign_up(name) for name in "AB")
    chat_id = (await house.dialogs.open_direct_chat(alice, bob)).view.id
    await house.store.database.write(write_messages, chat_id, alice, ["one", "two"])
    await house.dialogs.edit_message(alice, chat_id, 1, "eins")
    await house.dialogs.delete_message(alice, chat_id, 2)
    await house.dialogs.delete_message(alice, chat_id, 2)
    with pytest.raises(PalaverError):
        await house.dialogs.edit_message(bob, chat_id, 1, "uno")
    assert await house.entries(MessageChanged) == [MessageChanged(chat_id, 1), MessageChanged(chat_id, 2)]


async def test_a_repeat_sees_what_became_of_the_message(house: House) -> None:
    """A repeated send would bring back a text that was deleted since."""
    alice, bob = (house.auth.sign_up(name) for name in "AB")
    chat_id = (await house.dialogs.open_direct_chat(alice, bob)).view.id
    client_id = new_id()
    await house.dialogs.send_messages(alice, chat_id, [client_id], ["secret"], retry=False)
    deleted = await house.dialogs.delete_message(alice, chat_id, 1)
    (found,) = await house.dialogs.send_messages(alice, chat_id, [client_id], ["secret"], retry=True)
    assert found == deleted
    assert (found.seq, found.text, found.deleted_at > 0) == (1, "", True)


async def test_reading_moves_an_old_clients_receipt_only_forward(house: House) -> None:
    """Without it each look at a history would be a write, also by somebody who has left."""
    alice, bob = (house.auth.sign_up(name) for name in "AB")
    chat_id = await house.group(alice, bob)
    await house.store.database.write(write_messages, chat_id, alice, list("abcd"))

    async def read(user_id: bytes, after: int, *, mark_read: bool = True) -> None:
        await house.dialogs.list_messages(
            user_id, chat_id, 2, before=0, after=after, from_start=True, mark_read=mark_read
        )

    await read(bob, 0, mark_read=False)
    await read(alice, 0)
    await read(bob, 4)

    async def moved() -> list[Event]:
        return await house.entries(ReceiptMoved)

    await read(bob, 1)
    # What comes before it would have been stored with it
    await eventually(moved, "the receipt")
    assert await moved() == [ReceiptMoved(chat_id, bob, 3, 3)]
    await house.dialogs.remove_member(alice, chat_id, bob)
    await read(bob, 1)
    await read(bob, 2)
    await house.dialogs.set_receipt(alice, chat_id, 4, 4)
    assert len(await moved()) == 1


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
    await house.dialogs.send_messages(bob, chat_id, [new_id()], ["a"], retry=False)
    receipt = await house.dialogs.set_receipt(alice, chat_id, largest, largest)
    assert (receipt.received_seq, receipt.read_seq) == (1, 1)


async def test_a_page_of_chats_asks_for_all_names_at_once(house: House) -> None:
    """Without it a list of chats would cost one call to auth a chat."""
    alice = house.auth.sign_up("A")
    for number in range(5):
        await house.dialogs.open_direct_chat(alice, house.auth.sign_up(str(number)))
    client = RestClient(house.auth.url)
    settings = MessengerSettings()
    forgetful = UseCases(house.store, UserDirectory(client), house.engine, user_rates(settings), settings)
    house.auth.lookups.clear()
    page = await forgetful.list_chats(alice, 10, "", 0, with_total=True)
    await client.close()
    assert page.total == 5
    assert {name.name for name in page.names.values()} == {"A", "0", "1", "2", "3", "4"}
    assert len(house.auth.lookups) == 1


async def test_the_last_words_of_each_chat_are_one_read(house: House) -> None:
    """Without it a list of chats would show a wrong last message, or none; or cost one read a chat."""
    alice = house.auth.sign_up("A")
    expected = {}
    for number in range(5):
        chat_id = (await house.dialogs.open_direct_chat(alice, house.auth.sign_up(str(number)))).view.id
        expected[chat_id] = f"last {number}" if number else None
        if number:
            await house.store.database.write(write_messages, chat_id, alice, ["first", f"last {number}"])
    page = await house.dialogs.list_chats(alice, 10, "", 0, with_total=False)
    shown = {view.id: view.last_message.text if view.last_message else None for view in page.views}
    assert shown == expected


async def test_a_list_shows_the_beginnings_of_last_messages(house: House) -> None:
    """Chats whose last message is one huge character would break their members' lists for good."""
    alice, bob, carol = (house.auth.sign_up(name) for name in "ABC")
    accents = "e" + "\N{COMBINING ACUTE ACCENT}" * 400_000
    texts = {"short": "short", "x" * 300: "x" * 256, accents: accents[:512]}
    for text, preview in texts.items():
        chat_id = await house.group(alice, bob, carol)
        await house.store.database.write(write_messages, chat_id, bob, [text])
        [shown] = (await house.dialogs.list_chats(alice, 1, "", 0, with_total=False)).views
        assert shown.last_message is not None
        assert (shown.id, shown.last_message.text) == (chat_id, preview)
        assert shown.last_text_cut is (preview != text)
        whole = (await house.dialogs.get_chat(alice, chat_id)).view
        assert whole.last_message is not None
        assert (whole.last_message.text, whole.last_text_cut) == (text, False)


@pytest.mark.parametrize("title", ["x" * 201, "e" + "\N{COMBINING ACUTE ACCENT}" * 512])
async def test_a_title_is_bounded(house: House, title: str) -> None:
    """A title of one character and a megabyte would be in every list of its members."""
    alice, bob = house.auth.sign_up("A"), house.auth.sign_up("B")
    with pytest.raises(PalaverError) as caught:
        await house.dialogs.create_group(alice, title, [bob], "")
    assert (caught.value.kind, caught.value.field) == (INVALID, "title")


async def test_bytes_of_texts_are_bounded(house: House) -> None:
    """A gateway with other settings would store what clients cannot show, by sending or by editing."""
    alice, bob = house.auth.sign_up("A"), house.auth.sign_up("B")
    chat_id = await house.group(alice, bob)
    text = "e" + "\N{COMBINING ACUTE ACCENT}" * 32_768
    await house.dialogs.send_messages(alice, chat_id, [new_id()], [text[:-1]], retry=False)
    with pytest.raises(PalaverError) as caught:
        await house.dialogs.send_messages(alice, chat_id, [new_id()], [text], retry=False)
    assert (caught.value.kind, caught.value.field) == (INVALID, "texts.0")
    with pytest.raises(PalaverError) as caught:
        await house.dialogs.edit_message(alice, chat_id, 1, text)
    assert (caught.value.kind, caught.value.field) == (INVALID, "text")


def with_rates(house: House, **rates: float) -> UseCases:
    """The same use cases with some rates that fill up slowly."""
    slow = {name.replace("burst", "per_second"): 0.001 for name in rates}
    settings = MessengerSettings.model_validate({**slow, **rates})
    return UseCases(house.store, house.dialogs._directory, house.engine, user_rates(settings), settings)


async def refused(work: Awaitable[object]) -> None:
    """Must end with `rate_limited`, and when to come back."""
    with pytest.raises(PalaverError) as caught:
        await work
    assert caught.value.kind is RATE_LIMITED
    assert caught.value.retry_after > 0


async def test_changes_of_one_user_are_limited(house: House) -> None:
    """One user who edits without end would keep all members' devices, and the disk, busy with it."""
    alice, bob = house.auth.sign_up("A"), house.auth.sign_up("B")
    chat_id = await house.group(alice, bob)
    for user in (alice, bob):
        await house.dialogs.send_messages(user, chat_id, [new_id()], ["x"], retry=False)
    dialogs = with_rates(house, changes_burst=3)
    await dialogs.edit_message(alice, chat_id, 1, "y")
    await dialogs.delete_message(alice, chat_id, 1)
    # Repeated, it changes nothing, and costs as much
    await dialogs.delete_message(alice, chat_id, 1)
    await refused(dialogs.edit_message(alice, chat_id, 1, "z"))
    await refused(dialogs.delete_message(alice, chat_id, 1))
    await refused(dialogs.remove_member(alice, chat_id, bob))
    await dialogs.edit_message(bob, chat_id, 2, "y")


async def test_new_chats_of_one_user_are_limited(house: House) -> None:
    """One user would fill everybody's lists with chats."""
    alice, *others = (house.auth.sign_up(name) for name in "ABCDE")
    dialogs = with_rates(house, chats_burst=2)
    await dialogs.open_direct_chat(alice, others[0])
    await dialogs.create_group(alice, "Lunch", others[:1], "key")
    # What is there already is not new
    await dialogs.open_direct_chat(alice, others[0])
    await dialogs.create_group(alice, "Lunch", others[:1], "key")
    await refused(dialogs.open_direct_chat(alice, others[1]))
    await refused(dialogs.create_group(alice, "Lunch", others[:1], ""))
    await dialogs.open_direct_chat(others[0], others[1])


async def test_members_that_one_user_adds_are_limited(house: House) -> None:
    """One user would put everybody into groups of a thousand, again and again."""
    alice, *others = (house.auth.sign_up(name) for name in "ABCD")
    dialogs = with_rates(house, members_burst=3)
    chat_id = (await dialogs.create_group(alice, "Lunch", others[:2], "")).view.id
    await dialogs.add_members(alice, chat_id, others[2:])
    await refused(dialogs.add_members(alice, chat_id, others[2:]))
    await refused(dialogs.create_group(alice, "Lunch", others[:1], ""))
