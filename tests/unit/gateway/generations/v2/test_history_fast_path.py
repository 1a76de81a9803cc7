"""Which requests for v2's history take the fast path."""

import pytest

from palaver.gateway.generations.v2.history_fast_path import history_fast_path

CHAT = "01940b81-03de-7d44-9a1b-6b0c5e8f2a17"
PATH = f"/v2/chats/{CHAT}/messages"


@pytest.mark.parametrize("query", ["", "limit=200", "before_seq=7", "limit=10&after_seq=0"])
def test_plain_requests_take_it(query: str) -> None:
    """Most pages of history would cost twice what they need."""
    found = history_fast_path(PATH, query.encode())
    assert found is not None
    assert found.route == "/v2/chats/{chat_id}/messages"


@pytest.mark.parametrize(
    ("path", "query"),
    [
        (PATH, "limit=0"),
        (PATH, "limit=201"),
        (PATH, "before_seq=0"),
        (PATH, "before_seq=1&after_seq=1"),
        (PATH, "limit=%31"),
        ("/v2/chats/7/messages", ""),
        ("/messenger/messages", f"chat_id={CHAT}"),
    ],
)
def test_all_others_do_not(path: str, query: str) -> None:
    """A wrong request would be answered as if it were right, instead of being told what is wrong."""
    assert history_fast_path(path, query.encode()) is None
