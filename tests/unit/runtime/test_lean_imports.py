"""Imports without what nobody uses."""

import gc
import os
import ssl
import subprocess
import sys

import pytest

from palaver.runtime.lean_imports import lean_imports

# Unlikely to be imported by anything before
UNUSED = "this"

SERVICE = """
import sys
from palaver import service_process
from palaver.runtime.lean_imports import lean_imports

def serve_of(name):
    found = imported(name)
    left_out = ("typer", "rich", "pydantic.v1", *(() if name == "auth" else ("email_validator",)))
    print([name for name in left_out if sys.modules.get(name)])
    sys.exit(0)

imported, service_process.serve_of = service_process.serve_of, serve_of
service_process.run(sys.argv[1], None)
"""


def test_what_is_left_out_can_be_imported_later() -> None:
    """A service that does need it, for a terminal for example, could not import it any more."""
    with lean_imports(UNUSED), pytest.raises(ImportError):
        __import__(UNUSED)
    assert UNUSED not in sys.modules


def test_what_is_there_already_stays() -> None:
    """The command line would lose a library that it works with."""
    with lean_imports("asyncio"):
        assert sys.modules["asyncio"] is not None


def test_afterwards_everything_is_as_it_was() -> None:
    """A service would never collect its garbage, or trust no certificate of another host."""
    before = ssl.create_default_context
    with lean_imports():
        assert not gc.isenabled()
        assert ssl.create_default_context().verify_mode is ssl.CERT_REQUIRED
    assert gc.isenabled()
    assert ssl.create_default_context is before
    gc.unfreeze()


@pytest.mark.parametrize("name", ["gateway", "auth", "messenger"])
def test_services_start_without_what_they_do_not_use(tmp_path: os.PathLike[str], name: str) -> None:
    """A start would take a fifth longer, and nobody would notice which import brought that back."""
    done = subprocess.run(
        [sys.executable, "-c", SERVICE, name],
        env={**os.environ, "PALAVER_DATA_DIR": str(tmp_path), "PALAVER_SECRET": "s" * 40},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout == "[]\n"
