"""A private MariaDB from Debian's package: a directory of its own, a free port, durable commits."""

import getpass
import os
import shutil
import subprocess
import time
from pathlib import Path

import psutil

from bench.server import Usage, free_port, process_usage

READY_SECONDS = 30.0
STOP_SECONDS = 10.0
# Debian has servers where not every user's path leads
PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


class MariaDB:
    """One server with MariaDB's default settings, among them the two that make a commit durable.

    `innodb_flush_log_at_trx_commit` is 1, and is passed nonetheless, for readers of the command line.
    """

    def __init__(self, directory: Path) -> None:
        self.port = free_port()
        self.log = directory / "mariadb.log"
        self._data = directory / "mariadb"
        self._socket = directory / "mariadb.sock"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Makes an empty database and starts its server. Raises `RuntimeError` with the end of its output."""
        user = f"--user={getpass.getuser()}"
        install = [program("mariadb-install-db"), "--no-defaults", f"--datadir={self._data}", user]
        install += ["--auth-root-authentication-method=normal", "--skip-test-db"]
        done = subprocess.run(install, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"MariaDB made no database:\n{done.stdout[-1000:]}{done.stderr[-1000:]}")
        serve = [program("mariadbd"), "--no-defaults", user, f"--datadir={self._data}"]
        serve += [f"--socket={self._socket}", f"--port={self.port}", "--bind-address=127.0.0.1"]
        serve += ["--skip-name-resolve", "--innodb-flush-log-at-trx-commit=1"]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(serve, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        begun = time.perf_counter()
        while not self._is_ready():
            if self._process.poll() is not None or time.perf_counter() - begun > READY_SECONDS:
                self.stop()
                raise RuntimeError(f"MariaDB did not start:\n{self.log.read_text()[-2000:]}")
            time.sleep(0.05)

    def query(self, sql: str, database: str = "") -> str:
        """What statements print, without heads. Raises `RuntimeError` with the server's words."""
        done = self._client(sql, database)
        if done.returncode:
            raise RuntimeError(f"MariaDB refused a statement: {done.stderr.strip()}")
        return done.stdout.strip()

    def usage(self) -> Usage:
        """What the server has used until now."""
        assert self._process is not None
        return process_usage(psutil.Process(self._process.pid))

    def stop(self) -> None:
        """Stops it in order, or kills it."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def _is_ready(self) -> bool:
        return self._client("SELECT 1", "").returncode == 0

    def _client(self, sql: str, database: str) -> "subprocess.CompletedProcess[str]":
        command = [program("mariadb"), "--no-defaults", f"--socket={self._socket}", "--user=root"]
        command += ["--batch", "--skip-column-names", *([database] if database else [])]
        return subprocess.run(command, input=sql, capture_output=True, text=True)


def program(name: str) -> str:
    """The path of a program, or its name where there is none."""
    return shutil.which(name, path=PATH) or name
