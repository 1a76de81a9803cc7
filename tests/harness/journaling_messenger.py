"""A messenger that only takes sends: several of them, each a process, share a journal that is a directory.

`python -m tests.harness.journaling_messenger DIRECTORY` prints `ready PORT`. A send's client id is the name
of a file, which exists once whatever process makes it: unlike a database's lock, it is held by no process
that is frozen. A send is answered with the client id as the message's id.
"""

import asyncio
import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

from palaver.contracts.messenger_methods import ATTACH
from palaver.contracts.messenger_pb2 import GatewayBatch, MessengerBatch
from palaver.runtime.grpc.message_stream import MessageStream
from palaver.runtime.grpc.stream_server import Methods, StreamMethod, serving_streams
from palaver.runtime.lifecycle import run_service
from tests.harness.processes import ChildProcess


class Attached:
    """One gateway's stream."""

    def __init__(self, stream: MessageStream, journal: Path) -> None:
        self._stream = stream
        self._journal = journal
        stream.receive_with(self)

    def receive(self, batch: GatewayBatch) -> None:
        """See `StreamReceiver`. Opens sockets and stores sends."""
        answer = MessengerBatch()
        for opening in batch.opens:
            answer.opened.add(socket=opening.socket, opened_at=opening.opened_at or 1)
        for send in batch.sends:
            with contextlib.suppress(FileExistsError):
                (self._journal / send.client_ids[0].hex()).touch(exist_ok=False)
            answer.sent.add(request=send.request, seqs=[1], ids=[send.client_ids[0]], created_at=[1])
        self._stream.write(answer)

    def resume_writing(self) -> None:
        """See `StreamReceiver`: what is answered is small."""


class JournalingMessenger:
    """One such process."""

    def __init__(self, journal: Path, name: str) -> None:
        journal.mkdir(exist_ok=True)
        command = [sys.executable, "-m", "tests.harness.journaling_messenger", str(journal)]
        self.process = ChildProcess.start(command, journal.parent / f"{name}.out")
        self.port = 0

    def wait(self) -> None:
        """Returns when it takes connections."""
        self.port = int(self.process.wait_for(r"^ready (\d+)$")[1])

    @classmethod
    @contextlib.contextmanager
    def running(cls, journal: Path, *names: str) -> Iterator[list["JournalingMessenger"]]:
        """Several during the block."""
        started = [cls(journal, name) for name in names]
        try:
            for one in started:
                one.wait()
            yield started
        finally:
            for one in started:
                one.process.process.kill()
                one.process.process.wait()


async def run(stopping: asyncio.Event) -> None:
    """Serves until `stopping` is set."""
    journal = Path(sys.argv[1])

    async def attach(stream: MessageStream) -> None:
        Attached(stream, journal)
        ended = asyncio.ensure_future(stream.ended())
        stopped = asyncio.ensure_future(stopping.wait())
        await asyncio.wait((ended, stopped), return_when=asyncio.FIRST_COMPLETED)
        ended.cancel()
        stopped.cancel()
        await asyncio.gather(ended, stopped, return_exceptions=True)

    methods = Methods({ATTACH: StreamMethod(attach, GatewayBatch.FromString)})
    async with serving_streams(methods, "127.0.0.1", 0, 1.0) as port:
        sys.stdout.write(f"ready {port}\n")
        sys.stdout.flush()
        await stopping.wait()


if __name__ == "__main__":
    run_service(run)
