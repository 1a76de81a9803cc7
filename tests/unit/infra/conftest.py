"""What tests of the infrastructure do not leave behind."""

import os
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def usual_umask() -> Iterator[None]:
    """Other tests do not inherit what making a data directory sets."""
    old = os.umask(0o022)
    yield
    os.umask(old)
