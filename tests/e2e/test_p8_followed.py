"""Promise P8: every request, frame and message can be followed by one trace id, from the client's byte to the
recipient's socket, with the commands that operators have."""

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.harness.palaver_process import PalaverProcess, running_palaver
from tests.harness.users import ApiClient, ApiUser, v1_frame, v2_send

CLIENT = "b7ad6b7169203331"


@pytest.fixture(scope="module")
def shared_palaver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PalaverProcess]:
    """One that keeps every trace: a test asks more in a second than are kept of each."""
    everything = {"PALAVER_TELEMETRY__SAMPLE_RATIO": "1"}
    with running_palaver(tmp_path_factory.mktemp("palaver"), env=everything) as running:
        yield running


def follow(palaver: PalaverProcess, *words: str) -> Any:
    """What `palaver trace` finds, as JSON."""
    command = [
        sys.executable,
        "-m",
        "palaver",
        "trace",
        *words,
        "--json",
        "--data-dir",
        str(palaver.data_dir),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def way_of(spans: list[Any], name: str) -> list[str]:
    """The names of the spans from the first one down to `name`."""
    by_id = {span["span_id"]: span for span in spans}
    found = []
    span = next((span for span in spans if span["name"] == name), None)
    while span is not None:
        found.append(span["name"])
        span = by_id.get(span["parent_id"])
    return found[::-1]


async def two_people(api: ApiClient) -> tuple[ApiUser, ApiUser, str]:
    """Alice and Bob, and their chat."""
    alice, bob = await api.sign_up("Alice"), await api.sign_up("Bob")
    return alice, bob, await alice.chat_with(bob)


async def test_a_message_is_followed_from_a_frame_to_every_socket(
    shared_palaver: PalaverProcess, api: ApiClient
) -> None:
    """Nobody could answer "where is this message?", from who sent it to who has read it."""
    alice, bob, chat_id = await two_people(api)
    async with alice.socket_v2() as hers:
        async with bob.socket_v1() as his:
            hers.send(v2_send(chat_id, "hello"))
            sent = await hers.receive_type("sent")
            assert "hello" in await his.receive()
        async with bob.socket_v2() as later:
            later.send({"type": "resume", "cursors": {chat_id: 0}})
            await later.receive_type("resumed")
            later.send({"type": "receipt", "chat_id": chat_id, "read_seq": 1})
            await hers.receive_matching(lambda frame: frame["type"] == "receipt" and frame["read_seq"] == 1)
    story = follow(shared_palaver, "--message", chat_id, "1")
    message = story["message"]
    assert (story["trace_id"], message["sender"]["name"]) == (sent["trace_id"], "Alice Tallor")
    assert message["journalled_at"] == sent["created_at"]
    assert [(told["generation"], told["on_resume"]) for told in message["told"]] == [
        ("v1", False),
        ("v2", True),
    ]
    assert {told["user_id"] for told in message["told"]} == {bob.user_id}
    assert {member["name"]: member["read"] for member in message["members"]}["Bob Tallor"]
    assert way_of(story["spans"], "deliver message") == [
        "receive message",
        "journal message",
        "deliver message",
    ]
    assert {span["name"] for span in story["linked"]} >= {"commit batch", "resume"}


async def test_old_clients_and_rest_are_followed_too(shared_palaver: PalaverProcess, api: ApiClient) -> None:
    """Messages of clients that never update, and of bots, would be lost sight of at the first door."""
    alice, bob, chat_id = await two_people(api)
    async with bob.socket_v2() as his, alice.socket_v1() as hers:
        hers.send(v1_frame(chat_id, "by v1"))
        await his.receive_type("message")
        answer = await alice.v2("POST", f"/chats/{chat_id}/messages", {"messages": [{"text": "by REST"}]})
        await his.receive_type("message")
    by_v1 = follow(shared_palaver, "--message", chat_id, "1")
    assert way_of(by_v1["spans"], "deliver message")[0] == "receive message"
    by_rest = follow(shared_palaver, "--message", chat_id, "2")
    assert by_rest["trace_id"] == answer.headers["traceresponse"].split("-")[1]
    assert way_of(by_rest["spans"], "deliver message") == [
        "POST /v2/chats/{chat_id}/messages",
        "palaver.v1.Messenger/SendMessages",
        "palaver.v1.Messenger/SendMessages",
        "journal message",
        "deliver message",
    ]


async def test_a_request_is_followed_through_all_services(
    shared_palaver: PalaverProcess, api: ApiClient
) -> None:
    """A slow request could not be told from a slow part behind it."""
    alice, bob = await api.sign_up("Alice"), await api.sign_up("Bob")
    trace_id = alice.user_id.replace("-", "")
    headers = {"traceparent": f"00-{trace_id}-{CLIENT}-01"}
    answer = await alice.v2("POST", "/chats", {"companion_id": bob.user_id}, headers=headers)
    assert answer.headers["traceresponse"].split("-")[1] == trace_id
    found = follow(shared_palaver, trace_id)
    assert {span["service"] for span in found["spans"]} == {"gateway", "messenger", "auth"}
    ids = {span["span_id"] for span in found["spans"]}
    assert [span["name"] for span in found["spans"] if span["parent_id"] not in ids] == ["POST /v2/chats"]
    assert all(span["parent_id"] in {*ids, CLIENT} for span in found["spans"])
    assert {line["event"] for line in found["lines"]} == {"request"}
    assert {line["service"] for line in found["lines"]} == {"gateway", "auth"}


async def test_a_refusal_names_the_trace_under_which_it_is_found(
    shared_palaver: PalaverProcess, api: ApiClient
) -> None:
    """A user's report of an error could not be matched with what happened."""
    alice, _, chat_id = await two_people(api)
    outsider = await api.sign_up("Eve")
    refused = await outsider.v2("GET", f"/chats/{chat_id}")
    assert refused.json["trace_id"] == refused.headers["traceresponse"].split("-")[1]
    found = follow(shared_palaver, refused.json["trace_id"])
    assert [line["status"] for line in found["lines"] if line["service"] == "gateway"] == [404]
    async with alice.socket_v2() as hers:
        hers.send(v2_send(outsider.user_id, "to no chat"))
        error = await hers.receive_type("error")
    assert len(error["trace_id"]) == 32
