"""Which requests take the short way."""

import pytest

from palaver.gateway.generations.v2.history_fast_path import read_request

CHAT = "01940b81-03de-7d44-9a1b-6b0c5e8f2a17"
V2 = f"/v2/chats/{CHAT}/messages"


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("/messenger/messages", f"chat_id={CHAT}"),
        ("/messenger/messages", f"chat_id={CHAT}&limit=50&offset=100"),
        (V2, ""),
        (V2, "limit=200"),
        (V2, "before_seq=7"),
        (V2, "limit=10&after_seq=0"),
    ],
)
def test_plain_requests_take_it(path: str, query: str) -> None:
    """Most pages of history would cost twice what they need."""
    assert read_request({"path": path, "query_string": query.encode()}) is not None


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("/messenger/messages", ""),
        ("/messenger/messages", "chat_id=7"),
        ("/messenger/messages", f"chat_id={CHAT}&limit=-1"),
        ("/messenger/messages", f"chat_id={CHAT}&limit=1000000"),
        ("/messenger/chats", ""),
        (V2, "limit=0"),
        (V2, "limit=201"),
        (V2, "before_seq=0"),
        (V2, "before_seq=1&after_seq=1"),
        (V2, "limit=%31"),
        ("/v2/chats/7/messages", ""),
    ],
)
def test_all_others_do_not(path: str, query: str) -> None:
    """A wrong request would be answered as if it were right, instead of being told what is wrong."""
    assert read_request({"path": path, "query_string": query.encode()}) is None
