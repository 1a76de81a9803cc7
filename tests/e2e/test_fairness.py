"""Nobody starves others: one account, or one address, that wants very much, beside people who want little.

Decided by the order of answers, since a busy machine makes everything slow.
"""

import asyncio
import itertools

from tests.harness.users import ApiClient

PAGES = 40
# A page of so many texts of so many characters has 3.9 MB
MESSAGES, BYTES = 200, 19_500


async def test_forty_long_pages_of_one_account_keep_nobody_from_theirs(api: ApiClient) -> None:
    """One account that downloads its history in parallel would have everybody else's chats answer 503."""
    bob, alice = await api.sign_up("Bob"), await api.sign_up("Alice")
    long, short = await bob.chat_with(alice), await alice.chat_with(await api.sign_up("Carol"))
    text = "é" * (BYTES - 16_000) + "x" * (16_000 - (BYTES - 16_000))
    for _ in range(MESSAGES // 40):
        await bob.send(long, *[text] * 40)
    await alice.send(short, "hello")
    answered = itertools.count()
    done = 0
    is_over = False
    statuses: set[int] = set()

    async def download(limit: int) -> None:
        nonlocal done
        while not is_over:
            page = await bob.v2("GET", f"/chats/{long}/messages?limit={limit}")
            statuses.add(page.status)
            done = next(answered)

    # Each another page: who asks for the same one shares it, and takes one turn
    downloads = [asyncio.create_task(download(MESSAGES - number)) for number in range(PAGES)]
    behind: list[int] = []
    async with asyncio.timeout(120):
        while done < PAGES:  # noqa: ASYNC110 - the test waits for the load, not for an event
            await asyncio.sleep(0.01)
        for _ in range(10):
            before = done
            page = (await alice.v2("GET", f"/chats/{short}/messages")).ok()
            assert [one["text"] for one in page["messages"]] == ["hello"]
            behind.append(done - before)
        is_over = True
        await asyncio.gather(*downloads)
    assert statuses <= {200, 429}
    # In the order of arrival all forty come first; what the network and the client still hold does now
    assert sorted(behind)[len(behind) // 2] <= PAGES // 2, behind
