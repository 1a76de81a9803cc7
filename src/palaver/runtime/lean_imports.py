"""Imports without what libraries bring along and nobody uses.

Four processes start at once, often on few cores, and most of a start is imports: what is kept out here is a
fifth of it. Uses the standard library alone, since it comes before all else.
"""

import contextlib
import gc
import os
import ssl
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def lean_imports(*unused: str) -> Iterator[None]:
    """Within the block modules named in `unused` are as if they were not installed, nothing is collected, and
    no certificates are read. What was imported is never collected later either."""
    # Pydantic would read the metadata of every installed package, to find plug-ins of its own
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    left_out = [name for name in unused if name not in sys.modules]
    make_context = ssl.create_default_context
    gc.disable()
    # aiohttp makes one when it is imported. Those who call `https` make their own, see `rest_client`
    ssl.create_default_context = bare_context
    for name in left_out:
        # The interpreter's own mark of a module that must not be imported
        sys.modules[name] = None  # type: ignore[assignment] # it is typed as if there were none
    try:
        yield
    finally:
        for name in left_out:
            del sys.modules[name]
        ssl.create_default_context = make_context
        # Modules stay: the first collection would look at all of them for nothing
        gc.freeze()
        gc.enable()


def bare_context(*_purpose: object, **_options: object) -> ssl.SSLContext:
    """A TLS context that trusts nobody: the machine's certificates take 40 ms to read."""
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
