"""`palaver trace` and `palaver logs` beside a running Palaver."""

import json
import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.harness.palaver_process import PalaverProcess, running_palaver
from tests.harness.users import api_client, v2_send

# The gateway's span, its call, auth's span, and the line that the gateway wrote last
HEADS = (
    "gateway   POST /v2/users ",
    "gateway     POST /users ",
    "auth          POST /users ",
    "gateway     · request ",
)


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PalaverProcess]:
    """A Palaver that keeps every trace."""
    directory = tmp_path_factory.mktemp("traced")
    with running_palaver(directory, env={"PALAVER_TELEMETRY__SAMPLE_RATIO": "1"}) as running:
        yield running


def run_on(data_dir: Path, *words: str) -> str:
    """What `palaver WORDS` prints, which must succeed."""
    done = subprocess.run(
        [sys.executable, "-m", "palaver", *words, "--data-dir", str(data_dir)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def trace_of(data_dir: Path, *words: str) -> dict[str, Any]:
    """What `palaver trace WORDS --json` prints."""
    found: dict[str, Any] = json.loads(run_on(data_dir, "trace", "--json", *words))
    return found


def test_a_clients_trace_is_drawn_through_gateway_and_auth(traced: PalaverProcess) -> None:
    """Nobody could say where a client's request spent its time."""
    trace_id, span_id = secrets.token_hex(16), secrets.token_hex(8)
    person = {"name": "Alice", "surname": "Liddell", "birthday": "1990-01-01", "sex": "female", "city": "x"}
    account = {**person, "email": f"{span_id}@b.example", "password": "correct horse", "interests": ""}
    done = subprocess.run(
        [
            *("curl", "-sS", "-o", "/dev/null", "-w", "%{http_code} %header{traceresponse}"),
            *("-H", f"traceparent: 00-{trace_id}-{span_id}-01", "-H", "content-type: application/json"),
            *("-d", json.dumps(account), f"{traced.base_url}/v2/users"),
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    status, _, response = done.stdout.partition(" ")
    assert status == "201"
    # At once: the command waits for what services have not written yet
    drawn = run_on(traced.data_dir, "trace", response or trace_id).splitlines()
    assert drawn[0].startswith(f"Trace {trace_id} · ")
    places = [next(n for n, row in enumerate(drawn) if head in row) for head in HEADS]
    assert places == sorted(places)
    assert drawn[places[0]].endswith(f" parent={span_id}")
    lines = run_on(traced.data_dir, "logs", "--trace", trace_id).splitlines()
    assert {row.split()[3] for row in lines} == {"gateway", "auth"}


async def test_a_message_is_followed_from_one_socket_to_others(traced: PalaverProcess) -> None:
    """Nobody could answer where a message is, who got it when, and who has read it."""
    async with api_client(traced) as api:
        alice, bob = await api.sign_up("Alice"), await api.sign_up("Bob")
        chat_id = await alice.chat_with(bob)
        async with alice.socket_v2() as sender, bob.socket_v2() as receiver:
            sender.send(v2_send(chat_id, "a secret of two"))
            sent = await sender.receive_type("sent")
            await receiver.receive_type("message")
            receiver.send({"type": "receipt", "chat_id": chat_id, "received_seq": 1, "read_seq": 1})
            await sender.receive_type("receipt")
        async with bob.socket_v2() as later:
            later.send({"type": "resume", "cursors": {chat_id: 0}})
            await later.receive_type("message")
            await later.receive_type("resumed")
    found = trace_of(traced.data_dir, "--message", chat_id, "1")
    message = found["message"]
    assert (message["id"], message["sender"]["user_id"]) == (sent["id"], alice.user_id)
    assert message["sender"]["name"].startswith("Alice")
    assert {one["user_id"]: one["read"] for one in message["members"]} == {
        alice.user_id: True,
        bob.user_id: True,
    }
    assert [(one["user_id"], one["on_resume"]) for one in message["told"]] == [
        (bob.user_id, False),
        (bob.user_id, True),
    ]
    assert {one["name"] for one in found["spans"]} >= {
        "receive message",
        "journal message",
        "deliver message",
    }
    assert {one["name"] for one in found["linked"]} == {"commit batch", "resume"}
    assert found["trace_id"] == message["trace_id"]
    drawn = run_on(traced.data_dir, "trace", "--message", chat_id, "1")
    assert "Members received by 1, read by 1 of 1 others" in drawn
    assert "a secret of two" not in drawn + json.dumps(found)
