"""A real ClickHouse cluster for tests: a cluster node and shards, as private subprocesses on free ports."""

import contextlib
import itertools
import os
import shutil
import signal
import socket
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clickhouse_driver import Client

from tests.harness.processes import ChildProcess
from tests.harness.waiting import START_SECONDS

# Debian has servers where users do not look
PATH = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/sbin"))
CLUSTER = "palaver"
USER, PASSWORD = "palaver", "p@ss/word"

NODE_CONFIG = """<yandex>
  <logger><level>warning</level><log>{directory}/server.log</log>
    <errorlog>{directory}/error.log</errorlog><size>10M</size><count>2</count></logger>
  <listen_host>127.0.0.1</listen_host>
  <http_port>{http_port}</http_port>
  <tcp_port>{port}</tcp_port>
  <interserver_http_port>{interserver_port}</interserver_http_port>
  <interserver_http_host>127.0.0.1</interserver_http_host>
  <mark_cache_size>67108864</mark_cache_size>
  <path>{directory}/data/</path>
  <tmp_path>{directory}/tmp/</tmp_path>
  <user_files_path>{directory}/files/</user_files_path>
  <format_schema_path>{directory}/schemas/</format_schema_path>
  <users_config>{directory}/users.xml</users_config>
  <default_profile>default</default_profile>
  <default_database>default</default_database>
  <timezone>UTC</timezone>
  <remote_servers>{clusters}</remote_servers>
</yandex>
"""
USERS_CONFIG = f"""<yandex>
  <profiles><default/></profiles>
  <users><{USER}>
    <password>{PASSWORD}</password>
    <networks><ip>127.0.0.1</ip></networks>
    <profile>default</profile>
    <quota>default</quota>
  </{USER}></users>
  <quotas><default/></quotas>
</yandex>
"""
SHARD_CONFIG = (
    f"<shard><replica><host>127.0.0.1</host><port>{{port}}</port><user>{USER}</user>"
    f"<password>{PASSWORD}</password></replica></shard>"
)


def free_ports(count: int) -> list[int]:
    """Ports that are free now."""
    with contextlib.ExitStack() as stack:
        taken = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in taken:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in taken]


@dataclass
class ClickHouseNode:
    """One server in a directory of its own, which it keeps from one start to the next."""

    directory: Path
    port: int = 0
    process: ChildProcess | None = None

    def configure(self, shards: Sequence["ClickHouseNode"] = ()) -> None:
        """Chooses its ports where it has none, and makes `shards` the cluster that it knows."""
        self.directory.mkdir(parents=True, exist_ok=True)
        config = self.directory / "config.xml"
        port, http_port, interserver_port = free_ports(3)
        self.port = self.port or port
        names = "".join(SHARD_CONFIG.format(port=shard.port) for shard in shards)
        text = NODE_CONFIG.format(
            directory=self.directory,
            port=self.port,
            http_port=http_port,
            interserver_port=interserver_port,
            clusters=f"<{CLUSTER}>{names}</{CLUSTER}>" if shards else "",
        )
        config.write_text(text)
        (self.directory / "users.xml").write_text(USERS_CONFIG)

    def start(self) -> None:
        """Starts the process; `wait_ready` returns once it answers."""
        program = shutil.which("clickhouse-server", path=PATH)
        assert program is not None, "clickhouse-server is missing: make test installs it"
        command = [program, f"--config-file={self.directory}/config.xml"]
        self.process = ChildProcess.start(command, self.directory / "output.log", directory=self.directory)

    def wait_ready(self) -> None:
        """Returns once the server answers."""
        end = time.monotonic() + START_SECONDS
        while True:
            try:
                # It listens before it answers
                with socket.create_connection(("127.0.0.1", self.port)):
                    self.execute("SELECT 1")
                return
            except (OSError, EOFError) as error:
                assert self.process is not None
                assert self.process.process.poll() is None, self.process.output
                if time.monotonic() > end:
                    raise AssertionError("no answer from clickhouse-server") from error
                time.sleep(0.02)

    def execute(self, statement: str, *arguments: Any, **settings: Any) -> list[tuple[Any, ...]]:
        """The rows of one statement, over a connection of its own."""
        client = Client("127.0.0.1", self.port, user=USER, password=PASSWORD, settings=settings)
        try:
            found = client.execute(statement, *arguments)
            return found if isinstance(found, list) else []
        finally:
            client.disconnect()

    def send(self, number: signal.Signals) -> None:
        """Sends the process a signal."""
        assert self.process is not None
        self.process.process.send_signal(number)

    def kill(self) -> None:
        """Ends the process at once, frozen or not."""
        if self.process is not None:
            self.process.stop(signal.SIGKILL)
            self.process = None

    def restart(self) -> None:
        """Starts it anew on what it has stored, at the same address."""
        self.kill()
        self.start()
        self.wait_ready()


@dataclass
class ClickHouseCluster:
    """A cluster node that knows the shards. Each test has a database of its own on them."""

    node: ClickHouseNode
    shards: list[ClickHouseNode]
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    @property
    def nodes(self) -> list[ClickHouseNode]:
        """All servers."""
        return [self.node, *self.shards]

    def new_database(self) -> str:
        """A name that no test has used yet."""
        return f"test_{next(self._numbers)}"

    def url(self, database: str) -> str:
        """The setting `archive.url` for a database."""
        password = PASSWORD.replace("@", "%40").replace("/", "%2F")
        return f"clickhouse://{USER}:{password}@127.0.0.1:{self.node.port}/{database}"


@contextlib.contextmanager
def running_clickhouse(directory: Path, shards: int) -> Iterator[ClickHouseCluster]:
    """A cluster of so many shards, for the block."""
    cluster = ClickHouseCluster(
        ClickHouseNode(directory / "cluster"),
        [ClickHouseNode(directory / f"shard-{number}") for number in range(shards)],
    )
    try:
        for shard in cluster.shards:
            shard.configure()
        cluster.node.configure(cluster.shards)
        for node in cluster.nodes:
            node.start()
        for node in cluster.nodes:
            node.wait_ready()
        yield cluster
    finally:
        for node in cluster.nodes:
            node.kill()
