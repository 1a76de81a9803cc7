"""A disk that gets full under a running Palaver, and is given room again."""

import asyncio
import os
import subprocess
import sys
import uuid
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from palaver.runtime.telemetry.free_space import LOOK_SECONDS
from tests.harness.http_client import HttpResponse
from tests.harness.inside import VARIABLES
from tests.harness.palaver_process import PalaverProcess, running_palaver
from tests.harness.small_disk import SmallDisk, mounting
from tests.harness.users import PASSWORD, ApiClient, ApiUser, api_client, profile_of, v2_send
from tests.harness.waiting import eventually

SIZE = "48m"
# Less than a tenth of it, and more than a few messages and sessions need
NEARLY_FULL = 3 << 20
MOST_TRIES = 2_000


@pytest.fixture
def small(tmp_path: Path) -> Iterator[tuple[PalaverProcess, SmallDisk]]:
    """A Palaver whose data is on a small disk."""
    directory = tmp_path / "data"
    with running_palaver(tmp_path, through=mounting(directory, SIZE)) as running:
        yield running, SmallDisk(running.process.pid, directory)


async def until_unavailable(call: Callable[[], Awaitable[HttpResponse]], good: int) -> HttpResponse:
    """Repeats a request until it is refused: what SQLite has of the disk already may last for a few."""
    for _ in range(MOST_TRIES):
        answer = await call()
        if answer.status != good:
            return answer
    raise AssertionError(f"never refused: {answer.body!r}")


def check_unavailable(answer: HttpResponse) -> None:
    """503, by the catalogue, with when to come again."""
    assert (answer.status, answer.json["code"]) == (503, "unavailable"), answer.body
    assert int(answer.headers["retry-after"]) >= 1


async def test_a_full_disk_refuses_and_loses_nothing(small: tuple[PalaverProcess, SmallDisk]) -> None:
    """Users would get a 500, or lose messages that were acknowledged, until somebody restarts all."""
    running, disk = small
    async with api_client(running) as api:
        alice, bob = await api.sign_up("Alice"), await api.sign_up("Bob")
        chat_id = await alice.chat_with(bob)
        acked = [message["seq"] for message in await alice.send(chat_id, "before")]
        pids = running.pids
        disk.fill()
        await check_refusals(api, alice, chat_id, acked)
        disk.empty()

        async def is_ready() -> bool:
            return (await api.call("GET", "/readyz")).status == 200

        await eventually(is_ready, "ready again")
        await api.sign_in(alice.email)
        acked += [message["seq"] for message in await alice.send(chat_id, "after")]
        history = await bob.history(chat_id)
        assert [message["seq"] for message in history] == list(range(1, len(history) + 1))
        assert set(acked) <= {message["seq"] for message in history}
        assert history[-1]["text"] == "after"
        assert running.pids == pids


async def check_refusals(api: ApiClient, alice: ApiUser, chat_id: str, acked: list[int]) -> None:
    """What is answered while nothing can be written. `acked` gets what was stored nevertheless."""
    readiness = await api.call("GET", "/readyz")
    assert readiness.status == 503
    assert {"auth: disk", "messenger: disk"} <= set(readiness.json["failing"])
    right = {"email": alice.email, "password": PASSWORD}
    check_unavailable(await until_unavailable(lambda: api.call("POST", "/v2/sessions", right), 201))

    def sign_up() -> Awaitable[HttpResponse]:
        account = {**profile_of("Carol", "Full"), "email": f"{uuid.uuid4().hex}@example.org"}
        return api.call("POST", "/v2/users", {**account, "password": PASSWORD})

    check_unavailable(await until_unavailable(sign_up, 201))

    async def send() -> HttpResponse:
        body = {"messages": [{"text": "x" * 4_000}]}
        answer = await alice.v2("POST", f"/chats/{chat_id}/messages", body)
        if answer.status == 201:
            acked.extend(message["seq"] for message in answer.json["messages"])
        return answer

    check_unavailable(await until_unavailable(send, 201))
    readiness = await api.call("GET", "/readyz")
    assert {"auth: database", "messenger: journal"} <= set(readiness.json["failing"])
    async with alice.socket_v2() as socket:
        socket.send(v2_send(chat_id, "x" * 4_000))
        frame = await socket.receive_type("error")
        assert frame["code"] == "unavailable"
        assert frame["retry_after"] > 0


async def test_logs_and_traces_stop_before_data_does(small: tuple[PalaverProcess, SmallDisk]) -> None:
    """Log lines would take the last bytes of the disk, which messages need."""
    running, disk = small
    async with api_client(running) as api:
        alice, bob = await api.sign_up("Alice"), await api.sign_up("Bob")
        chat_id = await alice.chat_with(bob)
        disk.fill(NEARLY_FULL)
        # Whoever writes looks once a second, and spans wait for a moment before they are written
        await asyncio.sleep(2 * LOOK_SECONDS)
        before = disk.sizes("logs", "traces")
        for number in range(20):
            await alice.send(chat_id, f"message {number}")
        await api.sign_in(alice.email)
        await asyncio.sleep(LOOK_SECONDS)
        assert disk.sizes("logs", "traces") == before
        assert len(await bob.history(chat_id)) == 20
        disk.empty()
        log = disk.root / "logs" / "gateway.log"

        async def is_logged() -> bool:
            await api.sign_in(bob.email)
            return '"event":"lines_missing"' in log.read_text()

        await eventually(is_logged, "lines again")


@pytest.mark.parametrize("command", ["up --port 0", "auth", "messenger"])
def test_a_start_on_a_full_disk_says_so_in_one_line(tmp_path: Path, command: str) -> None:
    """An operator would have to read a traceback to learn that the disk is full."""
    script = 'head -c 4M /dev/zero > "$PALAVER_DATA_DIR/filler" 2>/dev/null; exec "$0" "$@"'
    environment = {"PALAVER_DATA_DIR": str(tmp_path), "PALAVER_TELEMETRY__TRACES": "false"}
    done = subprocess.run(
        [*mounting(tmp_path, "1m"), "sh", "-c", script, sys.executable, "-m", "palaver", *command.split()],
        capture_output=True,
        text=True,
        env={**os.environ, **VARIABLES, **environment},
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1, done.stderr
    assert str(tmp_path) in done.stderr
    assert "No space left" in done.stderr or "full" in done.stderr
