"""What the store promises holds on every engine; what is one engine's own says so."""

import pytest


@pytest.fixture(params=["sqlite", "mariadb"])
def sql_engine(request: pytest.FixtureRequest) -> str:
    """Each test on both."""
    return str(request.param)
