"""One trace from the client's request through all services, and what is written down of each."""

import sqlite3
from collections.abc import Iterator

import pytest

from palaver.runtime.telemetry.spans import Span
from tests.harness.services import PalaverServices
from tests.harness.tracing import PARENT, SAMPLED, TRACE, UNSAMPLED, Recorded, recording
from tests.harness.users import PASSWORD, ApiClient, ApiUser

pytestmark = pytest.mark.asyncio(loop_scope="module")

HEADERS = {"traceparent": SAMPLED, "user-agent": "phone/7"}
RPC = "palaver.v1.Messenger/"


@pytest.fixture
def recorded() -> Iterator[Recorded]:
    with recording() as recorded:
        yield recorded


async def pair_of(api: ApiClient) -> tuple[ApiUser, ApiUser, str]:
    """Two users and their chat, made before anything is kept."""
    bob, alice = await api.sign_up("Bob"), await api.sign_up("Alice")
    return bob, alice, await bob.chat_with(alice)


async def test_a_request_is_followed_into_auth(api: ApiClient) -> None:
    """Whoever asks why a sign-in was slow would see the gateway wait, and not for what."""
    bob = await api.sign_up("Bob")
    with recording() as recorded:
        pair = {"email": bob.email, "password": PASSWORD}
        answer = await api.call("POST", "/v2/sessions", pair, headers=HEADERS)
    assert answer.headers["traceresponse"].startswith(f"00-{TRACE}-")
    own = recorded.span("POST /v2/sessions", TRACE)
    client, auths = [span for span in by_start(recorded) if span.name == "POST /sessions"]
    assert (own.kind, own.parent_id) == ("server", PARENT)
    assert (client.kind, client.parent_id) == ("client", own.span_id)
    assert (auths.kind, auths.parent_id) == ("server", client.span_id)
    assert auths.attributes["http.route"] == "/sessions"
    assert client.attributes["http.response.status_code"] == 201
    assert client.attributes["server.port"] == auths.attributes["server.port"]
    parts = [span.name for span in by_start(recorded) if span.parent_id == auths.span_id]
    # Behind them the signing keys, where they were not read just before
    assert parts[:3] == ["read_password", "hash password", "add_session"]
    assert own.attributes["user.id"] == auths.attributes["user.id"] == bob.user_id
    assert PASSWORD not in str(recorded.lines) + str([span.attributes for span in recorded.spans])


async def test_what_is_read_in_a_session_bears_its_own_name(api: ApiClient, recorded: Recorded) -> None:
    """All that auth reads for somebody would look the same."""
    bob = await api.sign_up("Bob")
    await bob.v2("GET", "/users/me", headers=HEADERS)
    span = recorded.span("read_user", TRACE)
    assert span.attributes["db.namespace"] == "auth.db"


async def test_a_request_is_followed_into_the_messenger(api: ApiClient) -> None:
    """Whoever asks why a message was late would not see where its time went."""
    bob, _, chat_id = await pair_of(api)
    with recording() as recorded:
        body = {"text": "hello"}
        await bob.v2("POST", f"/chats/{chat_id}/messages", body, headers=HEADERS)
    route = "/v2/chats/{chat_id}/messages"
    own = recorded.span(f"POST {route}", TRACE)
    client, served = [span for span in by_start(recorded) if span.name == RPC + "SendMessages"]
    assert (client.kind, client.parent_id) == ("client", own.span_id)
    assert (served.kind, served.parent_id) == ("server", client.span_id)
    facts = {"user.id": bob.user_id, "palaver.chat_id": chat_id}
    assert facts.items() <= served.attributes.items()
    assert {**facts, "http.route": route}.items() <= own.attributes.items()
    convention = {"rpc.system": "grpc", "rpc.service": RPC[:-1], "rpc.method": "SendMessages"}
    assert {**convention, "rpc.grpc.status_code": 0}.items() <= client.attributes.items()
    assert {**convention, "rpc.grpc.status_code": 0}.items() <= served.attributes.items()


def by_start(recorded: Recorded) -> list[Span]:
    """All spans, in the order in which their work began."""
    return sorted(recorded.spans, key=lambda span: span.start)


async def test_a_page_of_history_is_followed_over_the_stream(api: ApiClient) -> None:
    """The most frequent request would be the one that nobody can follow."""
    bob, _, chat_id = await pair_of(api)
    for path in (f"/v2/chats/{chat_id}/messages", f"/messenger/messages?chat_id={chat_id}"):
        with recording() as recorded:
            call = bob.v2 if path.startswith("/v2") else bob.legacy
            await call("GET", path.removeprefix("/v2"), headers=HEADERS)
        client, served = [span for span in by_start(recorded) if span.name == RPC + "ListMessages"]
        assert (client.kind, served.kind, served.parent_id) == ("client", "server", client.span_id)
        assert served.attributes["user.id"] == bob.user_id
        assert client.attributes["rpc.grpc.status_code"] == served.attributes["rpc.grpc.status_code"] == 0
        assert recorded.spans[-1].span_id == client.parent_id


async def test_all_lines_of_a_request_name_its_trace(api: ApiClient) -> None:
    """Lines of several services about one request could not be put together."""
    bob, _, chat_id = await pair_of(api)
    with recording() as recorded:
        await bob.v2("GET", f"/chats/{chat_id}", headers=HEADERS)
        await bob.v2("GET", "/users/me", headers=HEADERS)
    lines = [line for line in recorded.lines_of(TRACE) if line["event"] == "request"]
    assert [(line["route"], line["generation"], line["user_id"]) for line in lines] == [
        ("/v2/chats/{chat_id}", "v2", bob.user_id),
        ("/users/me", "none", bob.user_id),
        ("/v2/users/me", "v2", bob.user_id),
    ]
    assert lines[0]["chat_id"] == chat_id
    assert "chat_id" not in lines[2]
    assert lines[2]["agent"] == "phone/7"


@pytest.mark.parametrize(
    ("path", "generation"),
    [("/v2/chats", "v2"), ("/messenger/chats", "v1"), ("/auth/user?email=x", "v0"), ("/docs", "none")],
)
async def test_lines_name_the_generation(
    api: ApiClient, recorded: Recorded, path: str, generation: str
) -> None:
    """Nobody could tell whether an old generation is still in use."""
    await api.call("GET", path, headers={"user-agent": "old-phone/1"})
    route = path.partition("?")[0]
    line = next(line for line in recorded.lines if line["event"] == "request" and line["route"] == route)
    assert (line["generation"], line["agent"]) == (generation, "old-phone/1")


async def test_each_service_keeps_what_failed(api: ApiClient, services: PalaverServices) -> None:
    """The one request that failed would have no trace, because nobody had asked for one."""
    bob = await api.sign_up("Bob")
    await services.auth.stop()
    try:
        with recording() as recorded:
            answer = await bob.v2("GET", "/users/me", headers={"traceparent": UNSAMPLED})
    finally:
        await services.auth.start()
    assert (answer.status, answer.json["trace_id"]) == (503, TRACE)
    own = recorded.span("GET /v2/users/me")
    # Each attempt
    clients = [span for span in recorded.spans if span.name == "GET /users/me"]
    assert {(span.error, span.parent_id) for span in clients} == {("unavailable", own.span_id)}
    assert (own.error, own.attributes["palaver.kept"]) == ("unavailable", "error")


async def test_a_stored_message_names_the_trace_of_its_request(
    api: ApiClient, services: PalaverServices
) -> None:
    """A message that is delivered later could not be traced back to the request that sent it."""
    bob, _, chat_id = await pair_of(api)
    with recording():
        await bob.v2("POST", f"/chats/{chat_id}/messages", {"text": "hello"}, headers=HEADERS)
        answer = await bob.v2("POST", f"/chats/{chat_id}/messages", {"text": "again"})
    begun = answer.headers["traceresponse"].split("-")[1]
    database = sqlite3.connect(services.settings.data_dir / "messenger.db")
    rows = database.execute(
        "SELECT trace_id FROM messages WHERE chat_id = ? ORDER BY seq",
        [bytes.fromhex(chat_id.replace("-", ""))],
    )
    assert [row[0] for row in rows] == [TRACE, begun]
    database.close()


async def test_no_path_with_an_id_names_a_span(api: ApiClient, recorded: Recorded) -> None:
    """Spans of one operation could not be grouped, and each session would be an operation of its own."""
    bob = await api.sign_up("Bob")
    await bob.v2("DELETE", f"/sessions/{bob.session_id}", headers=HEADERS)
    names = {span.name for span in recorded.spans if span.kind == "client" and "sessions" in span.name}
    assert names == {"DELETE /sessions/{session_id}"}
