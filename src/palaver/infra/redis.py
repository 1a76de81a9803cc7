"""Redis as a native process."""

import os
import subprocess
from dataclasses import dataclass

from palaver.infra.credentials import Credentials
from palaver.infra.engine import NotReadyError, Place, check_version, version_in
from palaver.infra.files import make_local, rendered, write_file
from palaver.infra.packages import program

ASK_SECONDS = 5.0
STOP_SECONDS = 30.0
LOCAL = "# Your own lines for Redis; no start overwrites them.\n"


@dataclass(frozen=True, slots=True)
class RedisEngine:
    """A Redis with a password."""

    place: Place
    credentials: Credentials
    stop_seconds: float = STOP_SECONDS

    def prepare(self) -> list[str]:
        """See `Engine`."""
        directory = self.place.directory
        self.place.make_directories()
        check_version(self.place, self.installed_version(), same_series=False)
        address = self.place.address
        local = make_local(directory / "redis.local.conf", LOCAL)
        text = redis_conf(self.credentials, address.host, address.port, str(self.place.data), str(local))
        write_file(directory / "redis.conf", text)
        return [program("redis-server"), str(directory / "redis.conf")]

    def installed_version(self) -> str:
        """See `Engine`."""
        done = subprocess.run(  # noqa: S603 - a program of Debian's package
            [program("redis-server"), "--version"], capture_output=True, text=True, check=False
        )
        return version_in(done.stdout)

    def ask_version(self) -> str:
        """See `Engine`."""
        address = self.place.address
        try:
            done = subprocess.run(  # noqa: S603 - a program of Debian's package
                [program("redis-cli"), "-h", address.host, "-p", str(address.port), "INFO", "server"],
                capture_output=True,
                text=True,
                check=False,
                timeout=ASK_SECONDS,
                # Not among the arguments, which every user of the machine can read
                env={**os.environ, "REDISCLI_AUTH": self.credentials.redis},
            )
        except subprocess.TimeoutExpired:
            raise NotReadyError("it does not answer") from None
        _, found, version = done.stdout.partition("redis_version:")
        if not found:
            raise NotReadyError((done.stderr or done.stdout).strip())
        return version.split()[0]


def redis_conf(credentials: Credentials, bind: str, port: int, data: str, local: str) -> str:
    """The configuration, for either way. `local`: a file that is included last."""
    values = {"bind": bind, "port": port, "data": data, "password": credentials.redis, "local": local}
    return rendered("redis.conf", values)
