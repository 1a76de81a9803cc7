"""One messenger for a file's tests. Each makes its own users, so that they do not meet."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.harness.fake_auth import FakeAuth, running_fake_auth
from tests.harness.messenger_service import Messenger, running_messenger


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def auth() -> AsyncIterator[FakeAuth]:
    async with running_fake_auth() as auth:
        yield auth


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def messenger(auth: FakeAuth, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Messenger]:
    async with running_messenger(auth, tmp_path_factory.mktemp("messenger")) as messenger:
        yield messenger
