"""MySQL as a native process: MariaDB."""

import getpass
import os
import re
import shutil
import subprocess
from dataclasses import dataclass

from palaver.infra.credentials import Credentials
from palaver.infra.engine import NotReadyError, Place, check_version
from palaver.infra.files import make_local, rendered, write_file
from palaver.infra.packages import program
from palaver.infra.topology import SCHEMAS, Topology
from palaver.runtime.startup import StartError

ASK_SECONDS = 5.0
STOP_SECONDS = 120.0
# "… Ver 10.11.19-MariaDB-…", of the system tables too
RELEASE = re.compile(r"\d+\.\d+\.\d+(?=-MariaDB)")
SYSTEM_TABLES = "mysql"


@dataclass(frozen=True, slots=True)
class MariadbEngine:
    """A MariaDB with a schema and an account for each service."""

    place: Place
    topology: Topology
    credentials: Credentials
    stop_seconds: float = STOP_SECONDS

    def prepare(self) -> list[str]:
        """See `Engine`."""
        self.place.make_directories()
        check_version(self.place, self.installed_version(), same_series=True)
        self._write_configuration()
        if not (self.place.data / SYSTEM_TABLES).exists():
            self._install()
        return [program("mariadbd"), f"--defaults-file={self.place.directory / 'mysql-native.cnf'}"]

    def installed_version(self) -> str:
        """See `Engine`."""
        shown = subprocess.run(  # noqa: S603 - a program of Debian's package
            [program("mariadbd"), "--version"], capture_output=True, text=True, check=False
        ).stdout
        found = RELEASE.search(shown)
        if found is None:
            raise StartError(f"{program('mariadbd')} is no MariaDB: {shown.strip()}")
        return found[0]

    def ask_version(self) -> str:
        """See `Engine`."""
        for schema in SCHEMAS:
            answer = self._ask(schema)
        return answer

    def _ask(self, schema: str) -> str:
        # By TCP with the password, as services do
        defaults = self.place.directory / f"{schema}.cnf"
        command = [program("mariadb"), f"--defaults-file={defaults}", "--batch", "--skip-column-names"]
        try:
            done = subprocess.run(  # noqa: S603 - a program of Debian's package
                [*command, "--execute", "SELECT VERSION()", schema],
                capture_output=True,
                text=True,
                check=False,
                timeout=ASK_SECONDS,
            )
        except subprocess.TimeoutExpired:
            raise NotReadyError("it does not answer") from None
        if done.returncode != 0:
            raise NotReadyError(done.stderr.strip())
        return done.stdout.strip().partition("-")[0]

    def _write_configuration(self) -> None:
        directory = self.place.directory
        write_file(directory / "accounts.sql", accounts_sql(self.topology, self.credentials))
        write_file(directory / "mysql.cnf", rendered("mysql.cnf", {}))
        local = make_local(directory / "mysql.local.cnf", "[mysqld]\n")
        values = {
            "shared": directory / "mysql.cnf",
            "local": local,
            "data": self.place.data,
            "port": self.place.address.port,
            "accounts": directory / "accounts.sql",
            # It runs as root only where it is told to
            "user": "user = root" if os.geteuid() == 0 else "",
        }
        write_file(directory / "mysql-native.cnf", rendered("mysql-native.cnf", values))
        for schema in SCHEMAS:
            write_file(directory / f"{schema}.cnf", self._client_options(schema))

    def _client_options(self, schema: str) -> str:
        address, password = self.place.address, self.credentials.mysql[schema]
        lines = ["[client]", f"host = {address.host}", f"port = {address.port}", "protocol = tcp"]
        return "\n".join([*lines, f"user = {schema}", f"password = {password}", ""])

    def _install(self) -> None:
        # Made beside and renamed: tables that a kill left half made would be taken for whole ones
        made = self.place.directory / "data.new"
        shutil.rmtree(made, ignore_errors=True)
        with self.place.log_file.open("ab") as log:
            done = subprocess.run(  # noqa: S603 - a program of Debian's package
                [
                    *(program("mariadb-install-db"), "--no-defaults", f"--datadir={made}"),
                    *("--skip-test-db", "--skip-name-resolve", "--auth-root-authentication-method=socket"),
                    f"--auth-root-socket-user={getpass.getuser()}",
                    *(("--user=root",) if os.geteuid() == 0 else ()),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                check=False,
            )
        if done.returncode != 0:
            raise StartError(f"mysql: cannot make its tables in {made}; {self.place.log_file} has the reason")
        made.replace(self.place.data)


def accounts_sql(topology: Topology, credentials: Credentials) -> str:
    """The statements that make schemas and accounts as they should be, at each start."""
    lines = []
    for schema in SCHEMAS:
        account = f"'{schema}'@'{topology.accounts_from}'"
        password = credentials.mysql[schema]
        lines += [
            f"CREATE DATABASE IF NOT EXISTS `{schema}` CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;",
            f"CREATE USER IF NOT EXISTS {account} IDENTIFIED BY '{password}';",
            f"ALTER USER {account} IDENTIFIED BY '{password}';",
            f"GRANT ALL PRIVILEGES ON `{schema}`.* TO {account};",
        ]
    return "\n".join([*lines, ""])
