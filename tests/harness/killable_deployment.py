"""A whole deployment for tests that kill its parts: two of each service, a MariaDB and a Redis.

The services are started as `palaver service` starts them, but each can be killed and frozen by its name.
"""

import asyncio
import contextlib
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from palaver.auth.database import KIND as AUTH
from palaver.deployed import replicas_of
from palaver.messenger.database import KIND as MESSENGER
from palaver.runtime.child_process import Child, is_ready
from palaver.runtime.service_child import LOOPBACK, child_of
from palaver.runtime.settings import Settings
from palaver.runtime.settings.auth import AuthSettings
from palaver.runtime.settings.gateway import GatewaySettings
from palaver.runtime.settings.messenger import MessengerSettings
from palaver.runtime.settings.service import ServiceSettings
from palaver.runtime.settings.telemetry import TelemetrySettings
from palaver.runtime.socket_directory import socket_directory
from palaver.runtime.sql.locations import migrate_database
from tests.harness.infrastructure import free_first_port
from tests.harness.inside import SECRETS
from tests.harness.mariadb import GENERAL_CI, MariadbSchema, MariadbServer, running_mariadb
from tests.harness.redis import RedisServer, running_redis
from tests.harness.waiting import START_SECONDS, eventually

REPLICAS = 2
RESTART_PAUSE_SECONDS = 0.1
# A commit is on the disk before it is acknowledged, as a deployment has it
DURABLE = ("--innodb-flush-log-at-trx-commit=1", "--innodb-flush-method=fsync")
# More than any test sends; the limits are on, so that Redis counts
MANY = 1_000_000


@dataclass
class ServiceProcess:
    """One process of a service, started again whenever it ends. `exits`: how it ended by itself."""

    child: Child
    exits: list[str] = field(default_factory=list)
    process: "subprocess.Popen[bytes] | None" = None
    _watching: "asyncio.Task[None] | None" = None

    def start(self) -> None:
        """Starts it, and watches over it from now on."""
        self._spawn()
        self._watching = asyncio.create_task(self._keep_running())

    def _spawn(self) -> None:
        with self.child.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                self.child.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self.child.environment,
            )

    async def _keep_running(self) -> None:
        while True:
            assert self.process is not None
            if (code := self.process.poll()) is not None:
                if code != -signal.SIGKILL:
                    self.exits.append(f"{self.child.name} ended with code {code}")
                self._spawn()
            await asyncio.sleep(RESTART_PAUSE_SECONDS)

    def send_signal(self, number: signal.Signals) -> None:
        """Kills it, stops it for a while, or lets it go on."""
        assert self.process is not None
        self.process.send_signal(number)

    async def is_ready(self) -> bool:
        """Whether its `/readyz` is 200."""
        return await is_ready(self.child.host, self.child.port)

    async def stop(self) -> None:
        """Ends it for good."""
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
        if self.process is not None:
            self.process.kill()
            self.process.wait()


@dataclass
class Deployment:
    """`services`: by name, e.g. `gateway` and `gateway-2`. `urls`: of the gateways."""

    services: dict[str, ServiceProcess]
    urls: list[str]
    mariadb: MariadbServer
    messenger_schema: MariadbSchema
    redis: RedisServer

    async def wait_ready(self, seconds: float = START_SECONDS) -> None:
        """Returns when every service is ready."""
        for name, service in self.services.items():
            await eventually(service.is_ready, f"{name} is ready", seconds)

    @property
    def exits(self) -> list[str]:
        """How services ended by themselves."""
        return [line for service in self.services.values() for line in service.exits]


@contextlib.asynccontextmanager
async def running_deployment(directory: Path) -> AsyncIterator[Deployment]:
    """A deployment that is ready, in a new directory, until the block ends."""
    with running_mariadb(directory / "mariadb", *DURABLE) as mariadb, started_redis(directory) as redis:
        [(flushed,)] = mariadb.execute("SELECT @@innodb_flush_log_at_trx_commit")
        assert flushed == 1
        auth, messenger = (mariadb.make_schema(GENERAL_CI) for _ in range(2))
        await migrate_database(auth.address, AUTH)
        await migrate_database(messenger.address, MESSENGER)
        settings = settings_of(directory, auth.url, messenger.url, redis.url)
        (settings.data_dir / "logs").mkdir(parents=True)
        with socket_directory(settings.data_dir) as sockets:
            replicas = replicas_of(settings, sockets)
            children = [child_of(one.service, one.settings) for one in replicas]
            services = {child.name: ServiceProcess(child) for child in children}
            urls = [
                f"http://{LOOPBACK}:{one.settings.gateway.port}"
                for one in replicas
                if one.service == "gateway"
            ]
            deployment = Deployment(services, urls, mariadb, messenger, redis)
            try:
                for service in services.values():
                    service.start()
                await deployment.wait_ready()
                yield deployment
            finally:
                for service in services.values():
                    await service.stop()


@contextlib.contextmanager
def started_redis(directory: Path) -> Iterator[RedisServer]:
    """A Redis whose files are beside the others'."""
    (directory / "redis").mkdir(parents=True)
    with running_redis(directory / "redis") as server:
        yield server


def settings_of(directory: Path, auth_url: str, messenger_url: str, redis_url: str) -> Settings:
    """The settings of all services: cheap passwords, and rates that nobody reaches."""
    first = free_first_port()
    return Settings(
        data_dir=directory / "data",
        secret=SECRETS,
        service=ServiceSettings(gateways=REPLICAS, messengers=REPLICAS, auths=REPLICAS),
        gateway=GatewaySettings(
            host=LOOPBACK,
            port=first,
            private_port=first + 1,
            redis_url=redis_url,
            requests_burst=MANY,
            sockets_burst=MANY,
        ),
        auth=AuthSettings(
            port=first + 2,
            database_url=auth_url,
            redis_url=redis_url,
            argon2_time_cost=1,
            argon2_memory_kib=64,
        ),
        messenger=MessengerSettings(
            host=LOOPBACK,
            http_port=first + 3,
            database_url=messenger_url,
            redis_url=redis_url,
            messages_burst=MANY,
        ),
        telemetry=TelemetrySettings(log_to="file"),
    )
