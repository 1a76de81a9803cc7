"""`palaver trace --message`, beside a running messenger."""

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import pytest
import pytest_asyncio
from sqlalchemy import update

from palaver.contracts.ids import text_from_id
from palaver.messenger.store.schema import messages
from palaver.runtime.deployment_secret import FILE, write_secret
from palaver.runtime.service_addresses import ServiceAddresses, published_addresses
from tests.harness import telemetry_files as stored
from tests.harness.fake_auth import running_fake_auth
from tests.harness.inside import SECRET, VARIABLES
from tests.harness.journal_rows import move_receipt, write_messages
from tests.harness.messenger_database import MessengerDatabase
from tests.harness.messenger_service import Messenger, running_messenger
from tests.harness.telemetry_files import MS, NOON, TRACE_ID, append_request, append_rows, span
from tests.unit.cli.test_cli import run

ALICE, BOB, CAROL = UUID(stored.ALICE).bytes, UUID(stored.BOB).bytes, b"c" * 16
TEXT = "what nobody but members reads"


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """A data directory with a request in it."""
    append_request(tmp_path)
    return tmp_path


@pytest_asyncio.fixture
async def messenger(data_dir: Path) -> AsyncIterator[Messenger]:
    """A messenger whose address is in the data directory, and whose auth knows Alice."""
    async with running_fake_auth() as auth, running_messenger(auth, data_dir) as messenger:
        auth.users[ALICE] = ("Alice", "Liddell")
        target = f"127.0.0.1:{messenger.grpc_port}"
        with published_addresses(data_dir, ServiceAddresses("", "", "", target, "")):
            yield messenger


@pytest.fixture
def chat_id(messenger: Messenger) -> bytes:
    """A group whose first message was sent in the trace, and told to one socket at once, to one later."""
    data_dir = messenger.settings.data_dir
    messenger_db = MessengerDatabase(data_dir)
    chat_id = messenger_db.group([ALICE, BOB, CAROL])
    messenger_db.write(write_messages, chat_id, ALICE, [TEXT, TEXT], NOON // 1000)
    messenger_db.write(lambda connection: connection.execute(update(messages).values(trace_id=TRACE_ID)))
    messenger_db.write(move_receipt, chat_id, BOB, 1, 0)
    messenger_db.close()
    socket = {"palaver.generation": "v2", "user.id": text_from_id(BOB), "session.id": "session-of-bob"}
    about = {"palaver.chat_id": text_from_id(chat_id), "palaver.seq": 1}
    live = [{"name": "told", "at": NOON + 5 * MS, "attributes": {**socket, "palaver.socket": 41}}]
    later = [{"name": "told", "at": NOON + 99 * MS, "attributes": {**socket, **about, "palaver.socket": 42}}]
    resume = {"trace_id": "3" * 32, "links": [[TRACE_ID, "d" * 16]], "events": later}
    append_rows(
        data_dir,
        "traces/gateway.jsonl",
        [
            span("deliver message", "d" * 16, "a" * 16, start=4, end=5, attributes=about, events=live),
            span("resume", "f" * 16, start=98, end=99, **resume),
        ],
    )
    return chat_id


async def trace_message(
    data_dir: Path, chat_id: bytes, seq: int, *words: str, **variables: str
) -> "subprocess.CompletedProcess[str]":
    """`palaver trace --message`, while the messenger answers."""
    messenger_db = ("--message", text_from_id(chat_id), str(seq), "--data-dir", str(data_dir))
    given = {**VARIABLES, **variables}
    return await asyncio.to_thread(run, "trace", *words, *messenger_db, **given)


async def test_a_message_is_followed_to_its_sockets(data_dir: Path, chat_id: bytes) -> None:
    """Nobody could answer where a message is."""
    done = await trace_message(data_dir, chat_id, 1)
    assert (done.returncode, done.stderr) == (0, "")
    rows = done.stdout.splitlines()
    assert rows[0] == f"Message 1 of the group chat {text_from_id(chat_id)}"
    assert f"  sender      Alice Liddell ({text_from_id(ALICE)})" in rows
    assert "  journalled  2025-11-23T12:00:00.000000Z" in rows
    assert f"  trace       {TRACE_ID}" in rows
    assert "Members received by 1, read by 0 of 2 others" in rows
    assert f"  has received   {text_from_id(BOB)}" in rows
    assert "Told to 2 sockets" in rows
    told = f"of {text_from_id(BOB)} session session-of-bob"
    assert f"  2025-11-23T12:00:00.005000Z gateway socket 41 (v2) {told}" in rows
    assert f"  2025-11-23T12:00:00.099000Z gateway socket 42 (v2) {told} on resume" in rows
    assert any(row.startswith(f"Trace {TRACE_ID} ") for row in rows)
    assert TEXT not in done.stdout


async def test_a_message_is_json_for_programs(data_dir: Path, chat_id: bytes) -> None:
    """A script would have to read tables."""
    done = await trace_message(data_dir, chat_id, 1, "--json")
    found = json.loads(done.stdout)
    message = found["message"]
    assert (message["seq"], message["kind"], message["trace_id"]) == (1, "group", TRACE_ID)
    assert message["sender"] == {"user_id": text_from_id(ALICE), "name": "Alice Liddell"}
    assert [(one["socket"], one["on_resume"]) for one in message["told"]] == [(41, False), (42, True)]
    assert {(one["user_id"], one["received"], one["read"]) for one in message["members"]} == {
        (text_from_id(ALICE), True, True),
        (text_from_id(BOB), True, False),
        (text_from_id(CAROL), False, False),
    }
    assert len(found["spans"]) == 4
    assert [one["name"] for one in found["linked"]] == ["commit batch", "resume"]
    assert TEXT not in done.stdout


async def test_a_message_without_spans_says_so(messenger: Messenger, data_dir: Path, chat_id: bytes) -> None:
    """What the journal knows would be hidden because the message was not sampled."""
    for path in (data_dir / "traces").iterdir():
        path.unlink()
    messenger.auth.away = True
    done = await trace_message(data_dir, chat_id, 2)
    assert done.returncode == 0
    assert f"  sender      {text_from_id(ALICE)}\n" in done.stdout
    assert "Told to no socket, as far as spans are kept" in done.stdout
    assert done.stderr.startswith(
        "palaver: the message's trace has no spans: it was not sampled (its log lines"
    )


async def test_a_message_that_is_not_there_is_one_line(data_dir: Path, chat_id: bytes) -> None:
    """An operator would not know whether the chat or the seq is wrong."""
    done = await trace_message(data_dir, chat_id, 3)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "palaver: the journal has no message 3 of this chat, whose last seq is 2\n"
    done = await trace_message(data_dir, ALICE, 3)
    assert (done.returncode, done.stderr) == (1, "palaver: the journal has no such chat\n")


async def test_the_messenger_of_the_settings_is_asked_without_palaver_up(
    messenger: Messenger, data_dir: Path, chat_id: bytes
) -> None:
    """Where services run alone, nobody could answer where a message is."""
    elsewhere = data_dir / "elsewhere"
    elsewhere.mkdir()
    target = {"PALAVER_GATEWAY__MESSENGER_TARGET": f"127.0.0.1:{messenger.grpc_port}"}
    done = await trace_message(elsewhere, chat_id, 1, **target)
    assert done.stdout.startswith(f"Message 1 of the group chat {text_from_id(chat_id)}\n")


async def test_a_messenger_that_does_not_answer_is_one_line(data_dir: Path) -> None:
    """An operator would read a traceback, or think that there is no such message."""
    # Nobody listens on a reserved port
    with published_addresses(data_dir, ServiceAddresses("", "", "", "127.0.0.1:1", "")):
        done = await trace_message(data_dir, ALICE, 1)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "palaver: the messenger at 127.0.0.1:1 does not answer (UNAVAILABLE)\n"


async def test_the_secret_that_palaver_up_made_is_found(data_dir: Path, chat_id: bytes) -> None:
    """Who runs `palaver up` would have to copy its secret to ask where a message is."""
    write_secret(data_dir / FILE, SECRET)
    messenger_db = ("--message", text_from_id(chat_id), "1", "--data-dir", str(data_dir))
    done = await asyncio.to_thread(run, "trace", *messenger_db)
    assert done.stdout.startswith("Message 1 of the group chat"), done.stderr


async def test_another_secret_is_one_line(messenger: Messenger, data_dir: Path, chat_id: bytes) -> None:
    """An operator would look for a messenger that is away."""
    done = await trace_message(data_dir, chat_id, 1, PALAVER_SECRET="x" * 32)
    target = f"127.0.0.1:{messenger.grpc_port}"
    assert done.stderr == f"palaver: the messenger at {target} has another secret (setting secret)\n"


async def test_no_secret_is_one_line(data_dir: Path) -> None:
    """An operator would not learn what is missing."""
    done = await trace_message(data_dir, ALICE, 1, PALAVER_SECRET="")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("palaver: setting secret: is missing")
