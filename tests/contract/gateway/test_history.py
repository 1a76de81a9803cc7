"""The short way to a page of history, beside the documented one."""

import pytest

from tests.harness.users import ApiClient

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_both_ways_give_the_same_answer(api: ApiClient) -> None:
    """A client would see other messages when it asks in other words."""
    bob, alice = await api.sign_up("Bob"), await api.sign_up("Alice")
    chat = await bob.chat_with(alice)
    await bob.send(chat, *(f"message {number}" for number in range(12)))
    for query in ("limit=5", "limit=3&before_seq=7", "limit=4&after_seq=2", "before_seq=1"):
        path = f"/chats/{chat}/messages?{query}"
        short, routed = await alice.v2("GET", path), await alice.v2("GET", path + "&way=documented")
        assert (short.status, short.body) == (routed.status, routed.body) == (200, routed.body)
    # The first page that an old client reads moves its receipt, and so the statuses of the second
    for query in ("", "&limit=5", "&limit=5&offset=3", "&limit=0"):
        path = f"/messenger/messages?chat_id={chat}{query}"
        short, routed = await bob.legacy("GET", path), await bob.legacy("GET", path + "&way=documented")
        assert (short.status, short.body) == (routed.status, routed.body) == (200, routed.body)


async def test_both_ways_refuse_outsiders(api: ApiClient) -> None:
    """The short way would be a way around the checks."""
    bob, alice, eve = [await api.sign_up(name) for name in ("Bob", "Alice", "Eve")]
    chat = await bob.chat_with(alice)
    for path in (f"/v2/chats/{chat}/messages?limit=5", f"/messenger/messages?chat_id={chat}"):
        for token, status in (("Bearer " + eve.token, 404), ("Bearer no.such.token", 401), ("", 401)):
            short = await api.call("GET", path, token=token)
            routed = await api.call("GET", path + "&way=documented", token=token)
            assert short.status == routed.status == status
            assert short.body == routed.body
