"""A messenger and an archiver as they run: what users do with messages that have left the journal."""

from pathlib import Path

import aiohttp

from palaver.contracts import messenger_pb2 as pb
from palaver.contracts.errors import CONFLICT, FORBIDDEN, NOT_FOUND
from palaver.contracts.ids import new_id
from palaver.messenger.archiver_bootstrap import serve
from palaver.runtime.settings import Settings
from palaver.runtime.settings.archive import ArchiveSettings
from tests.harness.archive import journal_seqs
from tests.harness.clickhouse import ClickHouseCluster
from tests.harness.fake_auth import running_fake_auth
from tests.harness.inside import SECRETS
from tests.harness.message_pages import messages_in
from tests.harness.messenger_database import MessengerDatabase
from tests.harness.messenger_service import Messenger, client_ids, running_messenger
from tests.harness.services import running_service
from tests.harness.waiting import eventually

COUNT = 60


async def check_history(messenger: Messenger, chat_id: bytes, user_id: bytes, texts: list[str]) -> None:
    """All pages of the chat, from its end."""
    found: list[pb.Message] = []
    before = 0
    while page := messages_in(
        await messenger.call(
            user_id, "Attach", pb.ListMessagesRequest(chat_id=chat_id, limit=25, before_seq=before)
        )
    ):
        found[:0] = page
        before = page[0].seq
    assert [message.text for message in found] == texts


async def test_archived_messages_are_read_edited_and_deleted(
    tmp_path: Path, clickhouse: ClickHouseCluster
) -> None:
    """What users wrote some time ago they could not read, mend or delete any more."""
    url = clickhouse.url(clickhouse.new_database())
    archive = ArchiveSettings(url=url, http_port=0, keep_messages=1, keep_hours=0)
    settings = Settings(data_dir=tmp_path, secret=SECRETS, archive=archive)
    async with (
        running_fake_auth() as auth,
        running_messenger(auth, tmp_path, archive=archive) as messenger,
        running_service(serve, settings) as (_, (archiver_port,)),
        aiohttp.ClientSession() as http,
    ):
        alice, bob = auth.sign_up("Alice"), auth.sign_up("Bob")
        chat = await messenger.call(alice, "OpenDirectChat", pb.OpenDirectChatRequest(companion_id=bob))
        texts = [f"text {number}" for number in range(1, COUNT + 1)]
        request = pb.SendMessagesRequest(chat_id=chat.id, client_ids=client_ids(COUNT), texts=texts)
        await messenger.call(alice, "SendMessages", request)
        messenger_db = MessengerDatabase(tmp_path)

        def journal() -> list[int]:
            seqs: list[int] = messenger_db.write(journal_seqs, chat.id)
            return seqs

        await eventually(lambda: journal() == [COUNT], "the journal is trimmed")
        await check_history(messenger, chat.id, bob, texts)
        edit = pb.EditMessageRequest(chat_id=chat.id, seq=3, text="better")
        assert (await messenger.refusal(bob, "EditMessage", edit)).kind is FORBIDDEN
        assert (await messenger.refusal(new_id(), "EditMessage", edit)).kind is NOT_FOUND
        beyond = pb.EditMessageRequest(chat_id=chat.id, seq=COUNT + 1, text="better")
        assert (await messenger.refusal(alice, "EditMessage", beyond)).kind is NOT_FOUND
        assert (await messenger.call(alice, "EditMessage", edit)).text == "better"
        deletion = pb.DeleteMessageRequest(chat_id=chat.id, seq=4)
        assert (await messenger.call(alice, "DeleteMessage", deletion)).text == ""
        texts[2:4] = ["better", ""]
        await check_history(messenger, chat.id, bob, texts)
        await eventually(lambda: journal() == [COUNT], "the changes are archived, and trimmed")
        await check_history(messenger, chat.id, bob, texts)
        edit = pb.EditMessageRequest(chat_id=chat.id, seq=4, text="back")
        assert (await messenger.refusal(alice, "EditMessage", edit)).kind is CONFLICT
        # The same client ids again, of which no message is in the journal
        repeated = await messenger.call(
            alice,
            "SendMessages",
            pb.SendMessagesRequest(
                chat_id=chat.id, client_ids=request.client_ids, texts=request.texts, retry=True
            ),
        )
        assert [message.text for message in repeated.messages] == texts
        inspection = await messenger.call_with(
            (), "InspectMessage", pb.InspectMessageRequest(chat_id=chat.id, seq=3)
        )
        assert (inspection.message.seq, inspection.message.text) == (3, "")
        async with http.get(f"http://127.0.0.1:{archiver_port}/readyz") as response:
            assert (response.status, await response.json()) == (200, {"ready": True, "failing": []})
        messenger_db.close()
