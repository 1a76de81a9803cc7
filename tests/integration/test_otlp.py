"""A running service and an OTLP collector: one that works, one that is gone, one that hangs."""

import contextlib
import http.client
import json
import re
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import palaver
from tests.harness.inside import HEADERS, VARIABLES
from tests.harness.otlp_receiver import Receiver, running_receiver, values_of
from tests.harness.palaver_process import CHEAP_PASSWORDS
from tests.harness.processes import ChildProcess
from tests.harness.waiting import wait_until

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN_ID = "00f067aa0ba902b7"
PERSON = {
    "email": "alice@example.org",
    "password": "correct horse",
    "name": "Alice",
    "surname": "Smith",
    "birthday": "1990-01-01",
    "sex": "female",
    "city": "Kazan",
    "interests": "chess",
}


class AuthProcess(ChildProcess):
    """An auth that runs."""

    @property
    def port(self) -> int:
        """Where it listens, once it does."""
        return int(self.wait_for(r'"event":"listening".*"port":(\d+)')[1])

    def ask(self, method: str, path: str, body: Any = None, traceparent: str = "") -> tuple[int, bytes]:
        """Status and body of an answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        with contextlib.closing(connection):
            headers = {"Content-Type": "application/json", **HEADERS}
            if traceparent:
                headers["traceparent"] = traceparent
            connection.request(method, path, json.dumps(body) if body else None, headers)
            answer = connection.getresponse()
            return answer.status, answer.read()

    def ask_traced(self, number: int) -> float:
        """Seconds that a sampled request took."""
        began = time.monotonic()
        self.ask("GET", "/.well-known/jwks.json", traceparent=f"00-{number:032x}-{SPAN_ID}-01")
        return time.monotonic() - began

    def dropped(self, signal_name: str) -> float:
        """Its own count of what did not reach the collector."""
        text = self.ask("GET", "/metrics")[1].decode()
        found = re.search(rf'^palaver_telemetry_dropped_total{{signal="{signal_name}"}} (\S+)$', text, re.M)
        assert found, text
        return float(found[1])

    def stop_seconds(self) -> float:
        """Seconds from SIGTERM to its end."""
        began = time.monotonic()
        assert self.stop() == 0, self.output
        return time.monotonic() - began


@contextlib.contextmanager
def running_auth(directory: Path, **variables: str) -> Iterator[AuthProcess]:
    """An auth on a free port, with its data in `directory`, until the block ends."""
    settings = {
        **CHEAP_PASSWORDS,
        **VARIABLES,
        "PALAVER_DATA_DIR": str(directory / "data"),
        "PALAVER_AUTH__PORT": "0",
        # A proxy of the machine that tests run on is not for collectors on loopback
        "no_grpc_proxy": "127.0.0.1",
        **variables,
    }
    auth = AuthProcess.start([sys.executable, "-m", "palaver", "auth"], directory / "out", settings)
    try:
        assert auth.port
        yield auth
    finally:
        auth.process.kill()
        auth.process.wait()


def endpoint(address: str) -> dict[str, str]:
    """The setting."""
    return {"PALAVER_TELEMETRY__OTLP_ENDPOINT": address}


def test_a_request_is_followed_into_the_collector(tmp_path: Path) -> None:
    """An operator with Jaeger would see nothing, or pieces that do not hang together."""
    variables = {
        "OTEL_EXPORTER_OTLP_HEADERS": "x-tenant=blue",
        "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=test",
    }
    with (
        running_receiver() as receiver,
        running_auth(tmp_path, **endpoint(receiver.endpoint), **variables) as auth,
    ):
        assert auth.ask("POST", "/users", PERSON, f"00-{TRACE_ID}-{SPAN_ID}-01")[0] == 201
        assert auth.ask("POST", "/users", PERSON, f"00-{'a' * 32}-{SPAN_ID}-00")[0] == 409
        wait_until(lambda: "POST /users" in receiver.names(), "the request's span")
        wait_until(lambda: receiver.events().count("request") >= 2, "the lines of both")
        auth.stop_seconds()
    check_spans(receiver)
    check_lines(receiver, auth)
    assert receiver.headers["x-tenant"] == "blue"
    # Nothing that the collector got is kept on disk too
    assert not (tmp_path / "data" / "traces").exists()
    assert PERSON["password"] not in str(receiver.spans) + str(receiver.lines)


def check_spans(receiver: Receiver) -> None:
    """The sampled request's are there, below each other, and nobody else's."""
    request = receiver.span("POST /users")
    assert {span.trace_id.hex() for _, span in receiver.spans} == {TRACE_ID}
    assert request.parent_span_id.hex() == SPAN_ID
    assert request.kind == 2
    attributes = values_of(request.attributes)
    assert attributes["http.request.method"] == "POST"
    assert attributes["http.route"] == "/users"
    assert attributes["http.response.status_code"] == 201
    known = {span.span_id for _, span in receiver.spans} | {bytes.fromhex(SPAN_ID)}
    for resource, span in receiver.spans:
        assert span.parent_span_id in known
        assert request.start_time_unix_nano <= span.start_time_unix_nano <= span.end_time_unix_nano
        assert resource["service.name"] == "auth"
        assert resource["service.version"] == palaver.__version__
        assert resource["service.instance.id"] == receiver.spans[0][0]["service.instance.id"]
        assert resource["host.name"] == socket.gethostname()
        assert resource["deployment.environment.name"] == "test"


def check_lines(receiver: Receiver, auth: AuthProcess) -> None:
    """The collector has the same lines as stdout, and they name the request's span."""
    written = [json.loads(line)["event"] for line in auth.output.splitlines()]
    assert receiver.events() == written
    assert written[-1] == "stopped"
    first, second = [line for _, line in receiver.lines if line.body.string_value == "request"][:2]
    assert first.trace_id.hex() == TRACE_ID
    assert first.span_id == receiver.span("POST /users").span_id
    assert values_of(first.attributes)["status"] == 201
    # Lines of requests that are not sampled name their trace too
    assert second.trace_id.hex() == "a" * 32


def test_a_dead_collector_costs_nothing_but_drops(tmp_path: Path) -> None:
    """Every user would wait for a collector that is gone; or nobody would know that traces are missing."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        with running_auth(tmp_path, **endpoint(address)) as auth:
            slowest = max(auth.ask_traced(number) for number in range(1, 300))
            wait_until(lambda: auth.dropped("spans") > 0, "spans are counted")
            wait_until(lambda: auth.dropped("logs") > 0, "lines are counted")
            assert slowest < 1.0
            assert auth.stop_seconds() < 2.5
    lines = [json.loads(line) for line in auth.output.splitlines()]
    # One line says so for each signal, and not one for each try
    told = [line for line in lines if line["event"] == "telemetry_not_written"]
    assert sorted(line["signal"] for line in told) == ["logs", "spans"]
    assert all("UNAVAILABLE" in line["reason"] for line in told)
    assert lines[-1]["event"] == "stopped"


def test_a_hanging_collector_costs_nothing_but_drops(tmp_path: Path) -> None:
    """A collector that takes connections and never answers would hold up users, or the end of a service."""
    with socket.create_server(("127.0.0.1", 0)) as hanging:
        with running_auth(tmp_path, **endpoint(f"http://127.0.0.1:{hanging.getsockname()[1]}")) as auth:
            slowest = max(auth.ask_traced(number) for number in range(1, 300))
            # Its time-out has not come when the service is told to stop
            assert slowest < 1.0
            assert auth.stop_seconds() < 2.5
        with running_auth(tmp_path, **endpoint(f"http://127.0.0.1:{hanging.getsockname()[1]}")) as auth:
            auth.ask_traced(1)
            wait_until(lambda: auth.dropped("spans") > 0, "spans are counted")
            assert auth.stop_seconds() < 2.5


def test_a_collector_that_comes_back_is_found(tmp_path: Path) -> None:
    """After a collector's restart every service would have to be restarted too."""
    with running_receiver() as first:
        port = first.port
    with running_auth(tmp_path, **endpoint(first.endpoint)) as auth:
        auth.ask_traced(1)
        wait_until(lambda: auth.dropped("spans") > 0, "the collector is gone")
        with running_receiver(port) as receiver:
            auth.ask_traced(2)
            wait_until(lambda: receiver.spans, "a span arrives")
            wait_until(lambda: "telemetry_written_again" in auth.output, "that is told")
            auth.stop_seconds()
