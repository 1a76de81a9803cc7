"""A private ejabberd from Debian's package, with its archive of messages in a private MariaDB.

It is configured as an operator would who wants each message stored: `mod_mam` in SQL for everybody, no
shaper, no other limit, and otherwise the defaults. It runs as `ejabberdctl` runs it, but without a node name:
so it needs no epmd, and any user may run it.
"""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil
import yaml

from bench.beside.mariadb import PATH, MariaDB, program
from bench.beside.xmpp import HOST, PASSWORD
from bench.people import Pair
from bench.server import Usage, free_port, process_usage

READY_SECONDS = 30.0
SCHEMA = Path("/usr/share/ejabberd/sql/mysql.sql")
DATABASE = "ejabberd"
# As in ejabberdctl
ERLANG = ("+K", "true", "+P", "250000", "-env", "ERL_CRASH_DUMP_BYTES", "0", "-noinput", "-s", "ejabberd")
ERL_MAX_PORTS = "32000"


class Ejabberd:
    """An ejabberd and its MariaDB with their data in `directory`."""

    def __init__(self, directory: Path) -> None:
        self.address = ("127.0.0.1", free_port())
        self.log = directory / "ejabberd.log"
        self._directory = directory
        self._mariadb = MariaDB(directory)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts both. Raises `RuntimeError` with the end of the output."""
        self._mariadb.start()
        self._mariadb.query(
            f"CREATE DATABASE {DATABASE}; CREATE USER {DATABASE}@'127.0.0.1' IDENTIFIED BY '{PASSWORD}'; "
            f"GRANT ALL ON {DATABASE}.* TO {DATABASE}@'127.0.0.1'"
        )
        self._mariadb.query(SCHEMA.read_text(), DATABASE)
        config = self._directory / "ejabberd.yml"
        config.write_text(yaml.safe_dump(config_of(self.address[1], self._mariadb.port)))
        environ = {**os.environ, "EJABBERD_CONFIG_PATH": str(config), "EJABBERD_LOG_PATH": str(self.log)}
        environ |= {"ERL_LIBS": str(library().parent), "ERL_MAX_PORTS": ERL_MAX_PORTS}
        command = [program("erl"), *ERLANG, "-mnesia", "dir", f'"{self._directory / "mnesia"}"']
        with (self._directory / "erlang.log").open("ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environ, cwd=self._directory
            )
        begun = time.perf_counter()
        while not self._is_ready():
            if self._process.poll() is not None or time.perf_counter() - begun > READY_SECONDS:
                raise RuntimeError(f"ejabberd did not start:\n{self._end_of_log()}")
            time.sleep(0.05)

    def register(self, pairs: Sequence[Pair]) -> None:
        """Makes accounts for both sides of pairs."""
        users = ", ".join(
            f"('{user.token}', '{PASSWORD}')" for pair in pairs for user in (pair.sender, pair.recipient)
        )
        self._mariadb.query(f"INSERT INTO users (username, password) VALUES {users}", DATABASE)

    def archived(self) -> int:
        """How many rows its archive of messages has."""
        return int(self._mariadb.query("SELECT count(*) FROM archive", DATABASE))

    def usage(self) -> dict[str, Usage]:
        """What each of both has used until now."""
        assert self._process is not None
        return {
            "ejabberd": process_usage(psutil.Process(self._process.pid)),
            "mariadb": self._mariadb.usage(),
        }

    def stop(self) -> None:
        """Ends both. ejabberd is killed: nobody needs its data, and an orderly end takes seconds."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        self._mariadb.stop()

    def _is_ready(self) -> bool:
        try:
            socket.create_connection(self.address, timeout=5).close()
        except OSError:
            return False
        return True

    def _end_of_log(self) -> str:
        logs = (self._directory / "erlang.log", self.log)
        return "".join(log.read_text(errors="replace")[-2000:] for log in logs if log.exists())


def config_of(port: int, sql_port: int) -> dict[str, Any]:
    """ejabberd's configuration: one XMPP port without TLS on loopback, users and archive in MariaDB."""
    return {
        "hosts": [HOST],
        "listen": [{"port": port, "ip": "127.0.0.1", "module": "ejabberd_c2s"}],
        "auth_method": ["sql"],
        "sql_type": "mysql",
        "sql_server": "127.0.0.1",
        "sql_port": sql_port,
        "sql_database": DATABASE,
        "sql_username": DATABASE,
        "sql_password": PASSWORD,
        "modules": {"mod_mam": {"db_type": "sql", "default": "always"}, "mod_stream_mgmt": {}},
    }


def library() -> Path:
    """Where Debian has ejabberd's code. Raises `StopIteration` where it has none."""
    return next(Path("/usr/lib").glob("*/ejabberd-*/ebin/ejabberd.app")).parents[1]


def missing_packages(lib: Path = Path("/usr/lib"), path: str = PATH) -> list[str]:
    """Debian's packages that an ejabberd with MariaDB needs and this machine lacks."""
    there = {
        "ejabberd": bool(shutil.which("erl", path=path)) and any(lib.glob("*/ejabberd-*/ebin/ejabberd.app")),
        "erlang-p1-mysql": any(lib.glob("erlang/lib/p1_mysql-*")),
        "mariadb-server": all(
            shutil.which(name, path=path) for name in ("mariadbd", "mariadb", "mariadb-install-db")
        ),
    }
    return [name for name, is_there in there.items() if not is_there]


def complaint(missing: Sequence[str]) -> str:
    """One line that says what is missing, and how to get it."""
    names = " ".join(missing)
    return f"--beside ejabberd needs Debian's {', '.join(missing)}: run requirements/debian.sh {names}"


def describe_ejabberd() -> str:
    """Versions and settings, for a report."""
    versions = subprocess.run(
        ["dpkg-query", "--show", "--showformat", "${Package} ${Version}, ", "ejabberd", "mariadb-server"],
        capture_output=True,
        text=True,
    ).stdout
    return (
        f"{versions}mod_mam of every message in MariaDB (innodb_flush_log_at_trx_commit=1, Debian's schema), "
        "10 SQL connections (ejabberd's default), no shaper, XMPP without TLS, "
        "each message acknowledged by XEP-0198"
    )
