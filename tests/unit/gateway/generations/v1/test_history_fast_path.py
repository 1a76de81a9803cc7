"""Which requests for v1's history take the fast path."""

import pytest

from palaver.gateway.generations.v1.history_fast_path import history_fast_path

CHAT = "01940b81-03de-7d44-9a1b-6b0c5e8f2a17"
PATH = "/messenger/messages"


@pytest.mark.parametrize("query", [f"chat_id={CHAT}", f"chat_id={CHAT}&limit=50&offset=100"])
def test_plain_requests_take_it(query: str) -> None:
    """Most pages of history would cost twice what they need."""
    found = history_fast_path(PATH, query.encode())
    assert found is not None
    assert found.route == PATH


@pytest.mark.parametrize(
    ("path", "query"),
    [
        (PATH, ""),
        (PATH, "chat_id=7"),
        (PATH, f"chat_id={CHAT}&limit=-1"),
        (PATH, f"chat_id={CHAT}&limit=1000000"),
        ("/messenger/chats", ""),
    ],
)
def test_all_others_do_not(path: str, query: str) -> None:
    """A wrong request would be answered as if it were right, instead of being told what is wrong."""
    assert history_fast_path(path, query.encode()) is None
