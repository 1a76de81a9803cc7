"""How gRPC waits, in processes of their own: gRPC looks once a process."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from palaver.runtime.grpc.polling import EXPERIMENTS

OPEN_CHANNEL = """
import sys
from palaver import service_process
from palaver.runtime.grpc.polling import poll_in_one_thread
assert "grpc" not in sys.modules, "gRPC was imported before it could be told"
poll_in_one_thread()
import grpc
grpc.insecure_channel("127.0.0.1:1").close()
"""

START_SERVICE = """
import os, sys
from palaver import service_process

def serve_of(name):
    print(name, os.environ["GRPC_EXPERIMENTS"], "grpc" in sys.modules, file=sys.stderr)
    sys.exit(0)

service_process.serve_of = serve_of
service_process.run(sys.argv[1], None)
"""

CALL_IN_LONG_TURNS = """
import asyncio, concurrent.futures, sys, time
from palaver.runtime.grpc.polling import poll_in_one_thread
poll_in_one_thread()
import grpc
from palaver.runtime.grpc.channels import open_channel
from palaver.runtime.replicas.addresses import address_at, read_entry

CALLS, AT_ONCE = 1_500, 60
echo = grpc.unary_unary_rpc_method_handler(lambda request, _context: request)
server = grpc.server(concurrent.futures.ThreadPoolExecutor(4))
server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("echo", {"call": echo}),))
port = server.add_insecure_port("127.0.0.1:0")
server.start()

async def measure():
    turns = 0

    def take_long():
        nonlocal turns
        turns += 1
        time.sleep(0.01)
        asyncio.get_running_loop().call_soon(take_long)

    channel = open_channel(address_at(read_entry(f"127.0.0.1:{port}"), "127.0.0.1"))
    call = channel.unary_unary("/echo/call")
    await call(b"")

    async def call_often():
        for _ in range(CALLS // AT_ONCE):
            await call(b"")

    take_long()
    await asyncio.gather(*(call_often() for _ in range(AT_ONCE)))
    await channel.close()
    print(turns, file=sys.stderr)

asyncio.run(measure())
server.stop(None)
"""


def said_by(program: str, *arguments: str, **environment: str) -> str:
    """What a program writes on stderr; gRPC complains there."""
    known = {name: value for name, value in os.environ.items() if not name.startswith("GRPC_")}
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        env={**known, **environment},
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    return done.stderr


def test_this_grpc_knows_what_it_is_told() -> None:
    """A newer gRPC that has dropped the older poller would make every message slower, and say so nowhere."""
    assert said_by(OPEN_CHANNEL) == ""


def test_operators_have_the_last_word() -> None:
    """Who has to switch something of gRPC's by its own variable would be overruled."""
    assert "Unknown experiment: ours" in said_by(OPEN_CHANNEL, GRPC_EXPERIMENTS="ours")


@pytest.mark.parametrize("service", ["gateway", "messenger"])
def test_a_service_tells_grpc_before_it_looks(service: str, tmp_path: Path) -> None:
    """Said too late or never, every message would be slower, and nothing would say so."""
    said = said_by(START_SERVICE, service, PALAVER_DATA_DIR=str(tmp_path))
    assert said == f"{service} {EXPERIMENTS} False\n"


def test_a_busy_event_loop_still_gets_all_answers() -> None:
    """A gateway that one client keeps busy would deliver no message to anybody until that client stopped."""
    turns = int(said_by(CALL_IN_LONG_TURNS))
    # 25 calls behind each other, each answered some turns later; one wake-up a turn would take a thousand
    assert turns < 400
