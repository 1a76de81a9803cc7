"""One service in this process: `palaver gateway`, `palaver auth`, `palaver messenger` and `palaver archiver`.

Without the command line's libraries: as a child of `palaver up` a service starts without them.
"""

import asyncio
import errno
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from palaver.runtime.child_process import die_with_parent
from palaver.runtime.grpc.polling import poll_in_one_thread
from palaver.runtime.lean_imports import lean_imports
from palaver.runtime.settings import Settings, load_settings
from palaver.runtime.startup import FINAL_CODE, StartError, make_data_directory

# What an operator can mend about an address to listen on; other errors keep their traceback.
ADDRESS_ERRORS = (errno.EADDRINUSE, errno.EADDRNOTAVAIL, errno.EACCES)
# What libraries bring along for others: structlog coloured tracebacks, FastAPI the models of Pydantic 1
UNUSED = ("rich", "pydantic.v1")

Serve = Callable[[Settings, asyncio.Event], Coroutine[Any, Any, None]]


def run_child(name: str, parent: int) -> None:
    """Runs a service until SIGINT or SIGTERM, or until `parent` is gone. Ends the process with a code of its
    own where another start would be in vain."""
    die_with_parent(parent)
    try:
        run(name, None)
    except StartError as error:
        sys.stderr.write(f"palaver: {error}\n")
        raise SystemExit(1 if error.passes else FINAL_CODE) from None


def run(name: str, config: Path | None) -> None:
    """Runs a service until SIGINT or SIGTERM. Raises `StartError`."""
    settings = load_settings(config)
    if name != "gateway" or settings.telemetry.writes_files:
        make_data_directory(settings.data_dir)
    poll_in_one_thread()
    # FastAPI looks whether it is there. Auth checks addresses by it
    unused = UNUSED if name == "auth" else (*UNUSED, "email_validator")
    with lean_imports(*unused):
        from palaver.runtime.lifecycle import run_service
        from palaver.runtime.telemetry.configuration import close_telemetry, configure_telemetry
        from palaver.runtime.telemetry.error_texts import install_hooks

        serve = serve_of(name)
    configure_telemetry(name, settings.telemetry, settings.data_dir)
    install_hooks()
    try:
        run_service(lambda stopping: serve(settings, stopping))
    except OSError as error:
        if error.errno not in ADDRESS_ERRORS:
            raise
        raise SystemExit(f"palaver: {name} cannot listen: {error.strerror}") from None
    finally:
        close_telemetry()


def serve_of(name: str) -> Serve:
    """What runs the service; the others are not imported."""
    if name == "gateway":
        from palaver.gateway.bootstrap import serve as serve_gateway

        return serve_gateway
    if name == "auth":
        from palaver.auth.bootstrap import serve as serve_auth

        return serve_auth
    if name == "archiver":
        from palaver.messenger.archiver_bootstrap import serve as serve_archiver

        return serve_archiver
    from palaver.messenger.bootstrap import serve as serve_messenger

    return serve_messenger
