"""The programs of the engines, from Debian's packages."""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence

from palaver.infra.files import packaged
from palaver.runtime.startup import StartError

# Programs by the package that has them. MariaDB's come in packages without a system service
PACKAGES = {
    "mariadbd": "mariadb-server-core",
    "mariadb": "mariadb-client-core",
    "redis-server": "redis-server",
    "redis-cli": "redis-tools",
    "clickhouse-server": "clickhouse-server",
}
# Where Debian has servers, which is not on everybody's path
SERVER_PATHS = ("/usr/sbin", "/sbin")


def find_program(name: str) -> str | None:
    """Where a program is."""
    path = os.pathsep.join((os.environ.get("PATH", ""), *SERVER_PATHS))
    return shutil.which(name, path=path)


def program(name: str) -> str:
    """Where a program is. Raises `StartError`, which names its package."""
    found = find_program(name)
    if found is None:
        raise StartError(f"please install: {PACKAGES.get(name, name)} (there is no {name})")
    return found


def install_missing(programs: Sequence[str] = tuple(PACKAGES)) -> None:
    """Installs by apt the packages of programs that are missing. Raises `StartError`, which names them."""
    missing = [name for name in programs if find_program(name) is None]
    if not missing:
        return
    pairs = [f"{name}={PACKAGES[name]}" for name in missing]
    done = subprocess.run(  # noqa: S603 - a script of the package's own
        ["/bin/sh", packaged("debian.sh"), *pairs], stderr=subprocess.PIPE, text=True, check=False
    )
    if done.returncode != 0:
        sys.stderr.write("".join(f"{line}\n" for line in done.stderr.splitlines()[:-1]))
        last = done.stderr.strip().rpartition("\n")[2].removeprefix("palaver: ")
        raise StartError(last or "please install: " + " ".join(PACKAGES[name] for name in missing))
