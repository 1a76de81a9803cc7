"""Files that are no database of a service, each made where the service expects its own."""

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from palaver.auth.bootstrap import migrate_database as migrate_auth
from palaver.messenger.bootstrap import migrate_database as migrate_messenger
from palaver.runtime.settings import Settings

MIGRATE = {"auth": migrate_auth, "messenger": migrate_messenger}


def make_own(file: Path) -> None:
    """A database of the service that the file is named after, with nothing in it."""
    MIGRATE[file.stem](Settings(data_dir=file.parent))


def garbage(file: Path) -> None:
    """Bytes that mean nothing."""
    file.write_bytes(b"not a database " * 1000)


def garbage_behind_a_header(file: Path) -> None:
    """A first page that lies about the rest."""
    make_own(file)
    whole = file.read_bytes()
    file.write_bytes(whole[:100] + b"\xa5" * (len(whole) - 100))


def truncated(file: Path) -> None:
    """Half of a database."""
    make_own(file)
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])


def directory(file: Path) -> None:
    """No file at all."""
    file.mkdir()


def other_service(file: Path) -> None:
    """The other service's database under this name."""
    other = file.with_name("messenger.db" if file.stem == "auth" else "auth.db")
    existed = other.exists()
    make_own(other)
    shutil.copyfile(other, file)
    if not existed:
        other.unlink()


def old_other_service(file: Path) -> None:
    """The same, of a Palaver that did not mark its databases."""
    other_service(file)
    unmark(file)


def other_program(file: Path) -> None:
    """A database of some program that keeps users."""
    with sqlite3.connect(file) as connection:
        connection.execute("CREATE TABLE users (id INTEGER PRIMARY KEY, email TEXT)")
        connection.execute("INSERT INTO users VALUES (1, 'a@example.org')")
    connection.close()


def other_program_with_alembic(file: Path) -> None:
    """One that numbers its schema as we do."""
    other_program(file)
    with sqlite3.connect(file) as connection:
        connection.execute("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)")
        connection.execute("INSERT INTO alembic_version VALUES ('0001')")
    connection.close()


def other_application(file: Path) -> None:
    """One that is marked, and has no table yet."""
    connection = sqlite3.connect(file)
    connection.execute("PRAGMA application_id = 1196444487")
    connection.close()


def empty_beside_log(file: Path) -> None:
    """Nothing, beside a write-ahead log with all that was written."""
    with running_log(file):
        log = file.with_name(f"{file.name}-wal").read_bytes()
    file.write_bytes(b"")
    file.with_name(f"{file.name}-wal").write_bytes(log)


def missing_beside_log(file: Path) -> None:
    """The same without the file."""
    empty_beside_log(file)
    file.unlink()


def newer_schema(file: Path) -> None:
    """A database that a newer Palaver has migrated."""
    make_own(file)
    connection = sqlite3.connect(file, isolation_level=None)
    connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()


Break = Callable[[Path], None]
BROKEN: dict[Break, str] = {
    garbage: "is not an SQLite database",
    garbage_behind_a_header: "is damaged",
    truncated: "is damaged",
    directory: "cannot be opened",
    other_service: "of another service or program",
    old_other_service: "of another service or program",
    other_program: "of another service or program",
    other_program_with_alembic: "of another service or program",
    other_application: "of another service or program",
    empty_beside_log: "is empty",
    missing_beside_log: "is empty",
    newer_schema: "run a newer Palaver",
}


def unmark(file: Path) -> None:
    """Makes a database as older versions made them."""
    connection = sqlite3.connect(file, isolation_level=None)
    connection.execute("PRAGMA application_id = 0")
    connection.close()


@contextmanager
def running_log(file: Path) -> Iterator[sqlite3.Connection]:
    """Another connection to a service's database, with something in its write-ahead log."""
    make_own(file)
    connection = sqlite3.connect(file, isolation_level=None)
    connection.execute("CREATE TABLE later (id INTEGER)")
    yield connection
    connection.close()


def snapshot(directory: Path) -> dict[str, bytes | None]:
    """Every file and directory, by name, with what is in it."""
    return {
        str(path.relative_to(directory)): path.read_bytes() if path.is_file() else None
        for path in sorted(directory.rglob("*"))
    }
