"""A real MariaDB for tests: one server a session, and a schema with an account of its own for each test.

What the server and its schemas take where a client says nothing is hostile: another character set, collation,
SQL mode and time zone than Palaver needs, and small packets.
"""

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import pymysql
from sqlalchemy import Connection, create_engine
from sqlalchemy.pool import NullPool

from palaver.runtime.sql.mysql_connections import ISOLATION, SESSION
from palaver.runtime.sql.url import MysqlAddress
from tests.harness.nginx import free_port
from tests.harness.processes import ChildProcess
from tests.harness.waiting import START_SECONDS

PATH = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/sbin"))
HOST = "127.0.0.1"
LATIN1 = "CHARACTER SET latin1 COLLATE latin1_general_ci"
GENERAL_CI = "CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci"
UCA1400 = "CHARACTER SET utf8mb4 COLLATE utf8mb4_uca1400_ai_ci"

# A commit is with the system, so that it outlives a killed server; only a power cut would lose it
QUICK = (
    "--innodb-flush-log-at-trx-commit=2",
    "--innodb-flush-method=nosync",
    "--innodb-log-file-size=64M",
    "--innodb-buffer-pool-size=128M",
    "--innodb-buffer-pool-dump-at-shutdown=0",
    "--innodb-buffer-pool-load-at-startup=0",
)
HOSTILE = (
    "--character-set-server=latin1",
    "--collation-server=latin1_general_ci",
    # Longer values would be cut, and wrong ones become zeros
    "--sql-mode=",
    "--default-time-zone=+05:00",
    "--transaction-isolation=REPEATABLE-READ",
    "--max-allowed-packet=4M",
)

_schemas = count(1)


@dataclass
class MariadbServer:
    """A server that runs as a subprocess. Tests stop, freeze and kill only one that is theirs alone."""

    directory: Path
    options: tuple[str, ...] = ()
    port: int = field(default_factory=free_port)
    process: ChildProcess | None = None

    @property
    def data(self) -> Path:
        """Where its tables are."""
        return self.directory / "data"

    def install(self) -> None:
        """Makes its system tables."""
        done = subprocess.run(
            [
                program("mariadb-install-db"),
                *("--no-defaults", f"--datadir={self.data}", *user_option(), "--skip-name-resolve"),
                *("--auth-root-authentication-method=normal", "--skip-test-db", QUICK[1], QUICK[2]),
            ],
            capture_output=True,
            text=True,
            check=False,
            timeout=4 * START_SECONDS,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def start(self) -> None:
        """Starts it on its port, again after a `stop` or a kill, and waits until it listens."""
        command = [
            # Tests that are killed must not leave it behind
            *(program("setpriv"), "--pdeathsig", "KILL", program("mariadbd"), "--no-defaults"),
            *(f"--datadir={self.data}", f"--socket={self.directory}/socket", *user_option()),
            *(f"--bind-address={HOST}", f"--port={self.port}", "--skip-name-resolve"),
            *(*QUICK, *HOSTILE, *self.options),
        ]
        self.process = ChildProcess.start(command, self.directory / "mariadb.log")
        self.process.wait_for("ready for connections")

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Ends it as an operator does, or by another signal."""
        if self.process is not None:
            self.process.stop(number)

    def send_signal(self, number: signal.Signals) -> None:
        """Stops it for a while, or lets it go on."""
        assert self.process is not None
        self.process.process.send_signal(number)

    def execute(self, statement: str, *parameters: object) -> tuple[tuple[Any, ...], ...]:
        """The rows of a statement that root runs, on a connection of its own."""
        with contextlib.closing(self.connect()) as connection, connection.cursor() as cursor:
            cursor.execute(statement, parameters or None)
            return tuple(cursor.fetchall())

    def kill_connections(self, account: str) -> int:
        """Breaks every connection of an account, also within a transaction. Returns how many there were."""
        killed = 0
        for (connection,) in self.execute(
            "SELECT id FROM information_schema.processlist WHERE user = %s", account
        ):
            with contextlib.suppress(pymysql.err.OperationalError):  # it has ended meanwhile
                self.execute(f"KILL HARD CONNECTION {connection}")
                killed += 1
        return killed

    def make_schema(self, defaults: str = LATIN1) -> "MariadbSchema":
        """An empty schema with such defaults, and an account that reads no other."""
        name = f"palaver_{next(_schemas)}"
        password = secrets.token_urlsafe(12)
        self.execute(f"CREATE DATABASE {name} {defaults}")
        self.execute(f"CREATE USER {name}@'{HOST}' IDENTIFIED BY '{password}'")
        self.execute(f"GRANT ALL ON {name}.* TO {name}@'{HOST}'")
        return MariadbSchema(self, name, password)

    def connect(self) -> "pymysql.Connection[Any]":
        """A connection of root's, which commits each statement."""
        socket = str(self.directory / "socket")
        return pymysql.connect(unix_socket=socket, user="root", charset="utf8mb4", autocommit=True)


@dataclass(frozen=True)
class MariadbSchema:
    """A schema, and the account that uses it: both have its name."""

    server: MariadbServer
    name: str
    password: str

    @property
    def url(self) -> str:
        """As settings have it."""
        return f"mysql://{self.name}:{self.password}@{HOST}:{self.server.port}/{self.name}"

    def execute(self, statement: str, *parameters: object) -> tuple[tuple[Any, ...], ...]:
        """The rows of a statement that its account runs, on a connection of its own."""
        connection = pymysql.connect(
            host=HOST,
            port=self.server.port,
            user=self.name,
            password=self.password,
            database=self.name,
            charset="utf8mb4",
            autocommit=True,
        )
        with contextlib.closing(connection), connection.cursor() as cursor:
            cursor.execute(statement, parameters or None)
            return tuple(cursor.fetchall())

    @property
    def address(self) -> MysqlAddress:
        """As services have it."""
        return MysqlAddress(HOST, self.server.port, self.name, self.name, self.password)

    def tables(self) -> list[str]:
        """The names of its tables."""
        found = self.server.execute(
            "SELECT table_name FROM information_schema.tables WHERE table_schema = %s", self.name
        )
        return sorted(name for (name,) in found)

    def count(self, table: str) -> int:
        """How many rows a table has."""
        [(found,)] = self.server.execute(f"SELECT count(*) FROM {self.name}.{table}")
        return int(found)

    def description(self) -> list[tuple[Any, ...]]:
        """Every column, index and reference: equal for equal schemas."""
        where = "WHERE table_schema = %s"
        found = [
            self.server.execute(f"{query} {where}", self.name)
            for query in (
                "SELECT table_name, column_name, column_type, is_nullable, column_default, collation_name, "
                "extra FROM information_schema.columns",
                "SELECT table_name, index_name, seq_in_index, column_name, non_unique "
                "FROM information_schema.statistics",
                "SELECT table_name, column_name, referenced_table_name, referenced_column_name "
                "FROM information_schema.key_column_usage",
                "SELECT table_name, engine, row_format FROM information_schema.tables",
            )
        ]
        return sorted((row for rows in found for row in rows), key=repr)

    def empty(self, *kept: str) -> None:
        """Deletes all rows of all tables but those `kept`, and counts from 1 again: quicker than another
        schema."""
        statements = ["SET foreign_key_checks = 0"]
        for table, next_number in self.server.execute(
            "SELECT table_name, auto_increment FROM information_schema.tables WHERE table_schema = %s",
            self.name,
        ):
            if table not in kept:
                how = "DELETE FROM" if next_number in (None, 1) else "TRUNCATE"
                statements.append(f"{how} {self.name}.{table}")
        with contextlib.closing(self.server.connect()) as connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)

    @contextlib.contextmanager
    def connection(self) -> Iterator[Connection]:
        """A connection of its account's with the settings that services have, within a transaction that is
        rolled back."""
        engine = create_engine(self.address.url.set(drivername="mysql+pymysql"), poolclass=NullPool)
        with engine.connect() as connection:
            connection.exec_driver_sql(f"SET SESSION TRANSACTION ISOLATION LEVEL {ISOLATION['write']}")
            connection.exec_driver_sql(f"SET SESSION {SESSION}")
            connection.rollback()
            yield connection
            connection.rollback()

    def drop(self) -> None:
        """Removes both, and breaks what still uses them."""
        self.server.kill_connections(self.name)
        self.server.execute(f"DROP DATABASE IF EXISTS {self.name}")
        self.server.execute(f"DROP USER IF EXISTS {self.name}@'{HOST}'")


@contextlib.contextmanager
def running_mariadb(directory: Path, *options: str) -> Iterator[MariadbServer]:
    """A server in a new directory for the block, with further options; both are gone afterwards."""
    directory.mkdir(parents=True, exist_ok=True)
    server = MariadbServer(directory, options)
    try:
        server.install()
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(directory, ignore_errors=True)


def program(name: str) -> str:
    """The path of one of MariaDB's programs, which Debian keeps off the path of users."""
    found = shutil.which(name, path=PATH)
    assert found, f"{name} is missing: `make test` installs it"
    return found


def user_option() -> tuple[str, ...]:
    """MariaDB runs as root only where it is told to."""
    return ("--user=root",) if os.geteuid() == 0 else ()
