"""What must not be written down."""

import json
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from palaver.runtime.telemetry.masking import mask, mask_spans

JWT = "eyJhbGciOiJFZERTQSIsImtpZCI6IjEifQ.eyJzdWIiOiIxMjM0NTY3ODkwIn0.c2lnbmF0dXJl-_c2lnbmF0dXJl"
SECRET = "s3cr3t-Value_1"


@pytest.mark.parametrize(
    "text",
    [
        "GET /api/v1/ws?token={} HTTP/1.1",
        "GET /api/v1/ws?a=b&Token={}&c=d",
        "url=/ws%3Ftoken%3D{}%26c",
        "?access_token={}#x",
        "Authorization: Bearer {}",
        "authorization: Basic {}",
        "AUTHORIZATION={}",
        "[(b'host', b'x'), (b'authorization', b'Bearer {}')]",
        "{{'Authorization': 'Bearer {}', 'x': 'y'}}",
        "{{'password': '{}', 'x': 'y'}}",
        "refused: bearer {}0123456789",
    ],
)
def test_secrets_in_text_are_masked(text: str) -> None:
    """Whoever reads the log could act as the user whose line it is."""
    line = json.dumps({"event": text.format(SECRET), "kept": "yes"}).encode()
    masked = mask(line)
    assert SECRET.encode() not in masked
    assert b"***" in masked
    assert json.loads(masked)["kept"] == "yes"
    # Whatever stands before it still says what it is about
    assert json.loads(masked)["event"][:5] == text.format(SECRET)[:5]


@pytest.mark.parametrize(
    "name", ["token", "refresh_token", "Authorization", "old-password", "client_secret", "Set-Cookie"]
)
def test_fields_that_are_named_like_secrets_are_masked(name: str) -> None:
    """Somebody who binds a whole request to a line would have written its password down."""
    fields = {"event": "x", name: f'{SECRET}"with \\ all', "after": 1}
    assert json.loads(mask(json.dumps(fields).encode())) == {"event": "x", name: "***", "after": 1}
    within = json.dumps({"event": json.dumps(fields)}).encode()
    assert SECRET.encode() not in mask(within)


@pytest.mark.parametrize("before", ["", " ", "/v2/ws/", "'", "x="])
def test_tokens_are_masked_wherever_they_stand(before: str) -> None:
    """A token in a path or in an exception's text would be in the log."""
    for masking in (mask, mask_spans):
        assert masking(f"{before}{JWT} end".encode()) == f"{before}*** end".encode()


def test_other_lines_are_left_as_they_are() -> None:
    """Lines would lose what an operator looks for."""
    for line in (
        b'{"event":"request","route":"/v2/chats/{chat_id}","agent":"curl/8"}',
        b'{"event":"refused","field":"token","code":"token_expired","detail":"The password is too short."}',
        b'{"event":"started","auth.access_token_seconds":1800,"token_type":"Bearer"}',
        b'{"event":"bearer tokens are verified by these keys"}',
    ):
        assert mask(line) == line
        assert mask_spans(line) == line


def test_the_field_behind_a_value_keeps_its_name() -> None:
    """A value that is the word itself would hide which field comes next."""
    line = b'{"user_agent":"AUTHORIZATION","route":""}'
    assert mask(line) == line


@given(st.dictionaries(st.text(), st.text() | st.integers() | st.none()), st.sampled_from([JWT, "token="]))
@example({"AUTHORIZATION": None}, JWT)
@example({"authorization": 7}, "token=")
def test_masked_lines_are_still_json(fields: dict[str, object], sign: str) -> None:
    """A line that was masked could not be found again."""
    for ascii_only in (True, False):
        line = json.dumps({"event": sign, **fields}, ensure_ascii=ascii_only).encode(errors="replace")
        for masking in (mask, mask_spans):
            assert json.loads(masking(line)).keys() == json.loads(line).keys()


def cpu_seconds(line: bytes) -> float:
    """The CPU time of masking a line: the least of three tries."""
    found = []
    for _ in range(3):
        began = time.process_time()
        mask(line)
        found.append(time.process_time() - began)
    return min(found)


@pytest.mark.parametrize(
    "unit",
    [b"-eyJ", b"eyJaaaaa-", b"eyJa.", b"bearer+", b'"token":', b"token-", b"authorization ", b"secret"],
)
def test_masking_takes_linear_time(unit: bytes) -> None:
    """A path of beginnings of tokens, which is logged, would stop everybody for seconds."""
    few, many = cpu_seconds(unit * (4_000 // len(unit))), cpu_seconds(unit * (32_000 // len(unit)))
    # Eight times as much; a square would be sixty-four times as much
    assert many < 24 * max(few, 0.0005)
