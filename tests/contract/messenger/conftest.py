"""One messenger for a file's tests. Each makes its own users, so that they do not meet."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.harness.fake_auth import FakeAuth, running_fake_auth
from tests.harness.mariadb import MariadbSchema
from tests.harness.messenger_service import Messenger, running_messenger


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def auth() -> AsyncIterator[FakeAuth]:
    async with running_fake_auth() as auth:
        yield auth


@pytest.fixture(scope="module", params=["sqlite"])
def database_url(request: pytest.FixtureRequest) -> str:
    """Where the messenger keeps its journal. Files whose tests hold for both engines say so."""
    if request.param == "sqlite":
        return ""
    schema: MariadbSchema = request.getfixturevalue("messenger_schema")
    schema.empty("alembic_version", "proof_key")
    return schema.url


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def messenger(
    auth: FakeAuth, database_url: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Messenger]:
    directory = tmp_path_factory.mktemp("messenger")
    async with running_messenger(auth, directory, database_url=database_url) as messenger:
        yield messenger
