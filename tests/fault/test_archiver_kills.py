"""An archiver that is killed at any point: between its insert, its segment and its trim."""

import asyncio
import random
import signal
import sys
import time
from pathlib import Path

from palaver.contracts.ids import new_id
from palaver.messenger.archive import statements
from palaver.messenger.database import KIND
from palaver.runtime.sql.locations import migrate_database
from tests.harness.archive import Archive, expire_leases, running_archive
from tests.harness.clickhouse import ClickHouseCluster
from tests.harness.messenger_database import MessengerDatabase
from tests.harness.processes import ChildProcess
from tests.harness.waiting import wait_until

ALICE = new_id()
KILLS = 3
CHATS = 12
SEED = 20_261_128


def start_archiver(directory: Path, url: str) -> ChildProcess:
    """`palaver archiver`, which keeps nothing for its age."""
    variables = {
        "PALAVER_DATA_DIR": str(directory),
        "PALAVER_ARCHIVE__URL": url,
        "PALAVER_ARCHIVE__HTTP_PORT": "0",
        "PALAVER_ARCHIVE__KEEP_MESSAGES": "1",
        "PALAVER_ARCHIVE__KEEP_HOURS": "0",
    }
    return ChildProcess.start(
        [sys.executable, "-m", "palaver", "archiver"], directory / "archiver.out", variables
    )


class Writer:
    """Sends and edits, and remembers what every reader must find."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self.chats = [archive.messenger_db.direct(ALICE, new_id()) for _ in range(CHATS)]
        self.texts: dict[bytes, list[str]] = {chat_id: [] for chat_id in self.chats}

    def write(self, dice: random.Random) -> None:
        """Some messages in some chats, and an edit of one that is still in the journal."""
        for chat_id in dice.sample(self.chats, 4):
            texts = [f"{len(self.texts[chat_id]) + number}" for number in range(dice.randint(1, 40))]
            self._archive.send(chat_id, ALICE, texts)
            self.texts[chat_id] += texts
        chat_id = dice.choice([chat_id for chat_id in self.chats if self.texts[chat_id]])
        seq = len(self.texts[chat_id])
        self.texts[chat_id][-1] = f"edited {new_id().hex()}"
        self._archive.edit(chat_id, ALICE, seq, self.texts[chat_id][-1], 500)


async def test_kills_at_any_point_lose_and_repeat_nothing(
    tmp_path: Path, clickhouse: ClickHouseCluster
) -> None:
    """A power cut during archiving would lose messages, or show them twice."""
    dice = random.Random(SEED)
    await migrate_database(tmp_path / "messenger.db", KIND)
    messenger_db = MessengerDatabase(tmp_path)
    async with running_archive(messenger_db, clickhouse) as archive:
        writer = Writer(archive)
        url = clickhouse.url(archive.address.database)
        for _ in range(KILLS):
            child = start_archiver(tmp_path, url)
            try:
                child.wait_for("lease_taken")
                end = time.monotonic() + dice.uniform(0.05, 1.2)
                while time.monotonic() < end:
                    writer.write(dice)
                    await asyncio.sleep(0.02)
            finally:
                child.stop(signal.SIGKILL)
            for chat_id in writer.chats:
                found = await archive.history(chat_id)
                assert [one.seq for one in found] == list(range(1, len(writer.texts[chat_id]) + 1))
                assert [one.text for one in found] == writer.texts[chat_id]
            messenger_db.write(expire_leases)
        child = start_archiver(tmp_path, url)
        try:
            wait_until(
                lambda: all(len(archive.journal(chat_id)) <= 1 for chat_id in writer.chats),
                "the journal is trimmed",
            )
        finally:
            assert child.stop() == 0
        await archive.archive_all()
        sent = sum(map(len, writer.texts.values()))
        table = f"{archive.address.database}.{statements.SHARD_TABLE}"
        stored = [shard.execute(f"SELECT count() FROM {table} FINAL")[0][0] for shard in clickhouse.shards]
        assert sum(stored) == sent
        for chat_id in writer.chats:
            assert [one.text for one in await archive.history(chat_id)] == writer.texts[chat_id]
    messenger_db.close()


async def test_a_second_archiver_waits_for_the_first(tmp_path: Path, clickhouse: ClickHouseCluster) -> None:
    """Two archivers would write over each other; or nobody would go on after one was stopped."""
    await migrate_database(tmp_path / "messenger.db", KIND)
    messenger_db = MessengerDatabase(tmp_path)
    url = clickhouse.url(clickhouse.new_database())
    first = start_archiver(tmp_path, url)
    try:
        first.wait_for("lease_taken")
        first.output_file = first.output_file.rename(tmp_path / "first.out")
        second = start_archiver(tmp_path, url)
        try:
            second.wait_for("listening")
            assert first.stop() == 0
            second.wait_for("lease_taken")
        finally:
            second.stop()
    finally:
        first.stop(signal.SIGKILL)
        messenger_db.close()


def test_without_an_archive_there_is_none(tmp_path: Path) -> None:
    """An operator would wait for an archiver that has nowhere to move messages to."""
    child = start_archiver(tmp_path, "")
    assert child.process.wait(30) == 1
    assert "setting archive.url: is empty" in child.output
