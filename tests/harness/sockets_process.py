"""A gateway's sockets and a messenger in one process of their own, whose memory a test may look at.

`python -m tests.harness.sockets_process DIRECTORY KEY` says `ready PORT`. KEY is the hexadecimal private key
that tokens are signed with, DIRECTORY holds the database.
"""

import asyncio
import sys
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from palaver.runtime.lifecycle import run_service
from palaver.runtime.settings import TelemetrySettings
from palaver.runtime.telemetry.configuration import configure_telemetry
from tests.harness.keys import Keys
from tests.harness.messenger_database import MessengerDatabase
from tests.harness.realtime import running_gateway, serving_engine


async def serve(stopping: asyncio.Event) -> None:
    """Serves until told to stop."""
    directory = Path(sys.argv[1])
    configure_telemetry("sockets", TelemetrySettings(log_to="file"), directory)
    messenger_db = MessengerDatabase(
        directory, Keys(Ed25519PrivateKey.from_private_bytes(bytes.fromhex(sys.argv[2])))
    )
    async with (
        serving_engine(messenger_db) as (_, port),
        running_gateway(messenger_db.keys, port, sockets_per_user=1_000) as gateway,
    ):
        sys.stdout.write(f"ready {gateway.port}\n")
        sys.stdout.flush()
        await stopping.wait()
    messenger_db.close()


if __name__ == "__main__":
    run_service(serve)
