"""The running gateway answers as its OpenAPI document says, whatever it is asked."""

import contextlib
import uuid
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis.checks import not_a_server_error
from schemathesis.config import SchemathesisConfig
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    allow_header_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from palaver.contracts.errors import HEAD_TOO_LARGE
from tests.harness.palaver_process import PalaverProcess
from tests.harness.users import PASSWORD, profile_of

EXAMPLES = 25
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    allow_header_conformance,
]
SIGN_OUT = "DELETE /v2/sessions/current"


@dataclass
class Caller:
    """A user who has a chat with messages, so that answers are not all refusals.

    `ids`: what there is, by the name of the parameter. `statuses`: how often each operation answered what.
    """

    url: str
    http: requests.Session
    email: str
    token: str
    ids: dict[str, str]
    statuses: Counter[tuple[str, int]] = field(default_factory=Counter)

    def new_token(self) -> str:
        """The access token of a session of its own."""
        return str(
            ask(self.http, self.url, "/v2/sessions", {"email": self.email, "password": PASSWORD})[
                "access_token"
            ]
        )


def ask(http: requests.Session, url: str, path: str, body: Any, token: str = "") -> Any:
    """The body of a POST's answer."""
    answer = http.post(url + path, json=body, headers={"authorization": f"Bearer {token}"} if token else {})
    assert answer.status_code in (200, 201), answer.text
    return answer.json()


@pytest.fixture(scope="module")
def caller(shared_palaver: PalaverProcess) -> Any:
    """Signed in, with a group of two and four messages."""
    url = shared_palaver.base_url
    with requests.Session() as http:
        emails = [f"{uuid.uuid4().hex}@example.org" for _ in range(2)]
        users = [
            ask(http, url, "/v2/users", {**profile_of("Bob", "Tallor"), "email": e, "password": PASSWORD})
            for e in emails
        ]
        found = Caller(url, http, emails[0], "", {})
        found.token = found.new_token()
        group = {"title": "Tour", "member_ids": [users[1]["id"]]}
        chat = ask(http, url, "/v2/chats", group, found.token)
        texts = {"messages": [{"text": text} for text in ("one", "two", "three", "four")]}
        ask(http, url, f"/v2/chats/{chat['id']}/messages", texts, found.token)
        found.ids = {"chat_id": chat["id"], "user_id": users[1]["id"], "companion_id": users[1]["id"]}
        yield found


@pytest.fixture(scope="module")
def document(shared_palaver: PalaverProcess) -> Any:
    """The document that the gateway gives out."""
    return schemathesis.openapi.from_url(
        shared_palaver.base_url + "/openapi.json", config=SchemathesisConfig()
    )


def test_answers_are_as_documented(document: Any, caller: Caller, subtests: pytest.Subtests) -> None:
    """Generated clients would fail on answers that nobody told them of."""
    operations = [found.ok() for found in document.get_all_operations()]
    assert len(operations) >= 30
    for operation in operations:
        for mode in GenerationMode:
            with subtests.test(f"{operation.label}, {mode} data"):
                try_operation(operation, mode, caller)
    calls, done = sum(caller.statuses.values()), {label for label, status in caller.statuses if status < 300}
    print(f"{calls} calls; {len(done)} of {len(operations)} operations succeeded at least once")  # noqa: T201
    # Else all that was compared with the document are refusals
    assert calls >= 20 * len(operations)
    assert len(done) >= len(operations) / 2


def try_operation(operation: Any, mode: GenerationMode, caller: Caller) -> None:
    """Calls an operation with examples of data that fits the document, or that does not."""

    @given(case=operation.as_strategy(generation_mode=mode))
    @settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    def call(case: Any) -> None:
        for fields in (case.path_parameters, case.query, case.body):
            for name, value in caller.ids.items():
                # Any other UUID is nobody's: refusals are asked for by what is no UUID
                if isinstance(fields, dict) and is_uuid(fields.get(name)):
                    fields[name] = value
        token = caller.new_token() if operation.label == SIGN_OUT else caller.token
        answer = case.call(headers={"authorization": f"Bearer {token}"}, session=caller.http)
        # A URL that is longer than any head may be is refused before an operation is known
        if answer.status_code != HEAD_TOO_LARGE.http:
            case.validate_response(answer, checks=CHECKS)
        caller.statuses[operation.label, answer.status_code] += 1

    # Some parameters can't be wrong: whatever is generated for them is right
    with contextlib.suppress(Unsatisfiable):
        call()


def is_uuid(value: Any) -> bool:
    """Whether a parameter looks like an id."""
    try:
        return bool(uuid.UUID(str(value)))
    except ValueError:
        return False
