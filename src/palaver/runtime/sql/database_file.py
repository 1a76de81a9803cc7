"""What an SQLite file is, found out before anything is written to it.

SQLite itself takes any file: it makes tables in another program's database, deletes the write-ahead log of
one that is empty, and says of garbage only that it is some.
"""

import contextlib
import os
import re
import shutil
import sqlite3
import stat
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from palaver.runtime.startup import StartError

MAGIC = b"SQLite format 3\0"
# Of the header: where `application_id` is, and its size (SQLite's file format, 1.3)
ID_AT = slice(68, 72)
HEADER_BYTES = 100
MARK_SECONDS = 30.0


class SchemaTooNewError(StartError):
    """The database was migrated by a newer Palaver. The text names its version."""


@dataclass(frozen=True, slots=True)
class DatabaseKind:
    """How a service's databases are recognised: by SQLite's `application_id`; older ones, which have none, by
    the tables that they always had."""

    service: str
    application_id: int
    tables: frozenset[str]
    migrations: Path


def newest_version(scripts: Path) -> str:
    """The number of the last script, e.g. `0003`."""
    numbers = sorted(m[1] for f in scripts.glob("*.py") if (m := re.match(r"(\d{4})_", f.name)))
    return numbers[-1]


def check_file(path: Path, kind: DatabaseKind) -> None:
    """Looks at a file that is to be opened as a database of that kind. Writes nothing, anywhere.

    Raises `StartError` with one line, which names the file and what to do, where it cannot be one.
    """
    try:
        header = read_header(path)
        has_log = has_content(log_of(path))
    except OSError as error:
        raise not_opened(path, error) from None
    if not header:
        if has_log:
            raise refusal(
                path,
                f"is empty, and {path.name}-wal beside it is not",
                "restore both from a backup, or move the -wal away to begin with nothing",
            )
    elif not header.startswith(MAGIC) or len(header) < HEADER_BYTES:
        raise refusal(path, "is not an SQLite database", "restore a backup, or move it away")
    else:
        check_content(path, kind, int.from_bytes(header[ID_AT], "big"), has_log=has_log)
    check_writable(path, exists=path.exists())


def read_header(path: Path) -> bytes:
    """The file's beginning; empty where there is no file. Raises `OSError`."""
    try:
        # Opening a pipe would wait for its other end
        if not stat.S_ISREG(path.stat().st_mode):
            raise OSError(0, "it is not a file")
        with path.open("rb") as file:
            return file.read(HEADER_BYTES)
    except FileNotFoundError:
        return b""


def log_of(path: Path) -> Path:
    """The database's write-ahead log: beside the file itself, where `path` is a link. Raises `OSError`."""
    real = path.resolve()
    return real.with_name(f"{real.name}-wal")


def has_content(path: Path) -> bool:
    """Whether a file holds something. Raises `OSError`."""
    try:
        return path.stat().st_size > 0
    except FileNotFoundError:
        return False


def check_content(path: Path, kind: DatabaseKind, application_id: int, *, has_log: bool) -> None:
    """Raises `StartError` where a readable database is another one, is damaged, or is newer than the code."""
    if application_id not in (0, kind.application_id):
        raise not_ours(path, kind)
    try:
        tables, version = read_tables(path)
    except sqlite3.Error as error:
        if not has_log:
            raise damaged(path, error) from None
        # The log repairs what a crash has left half copied
        tables, version = set(), None
    if application_id == 0 and has_log and not tables:
        tables, version = read_copied_tables(path)
    if application_id == 0 and tables and not kind.tables <= tables:
        raise not_ours(path, kind)
    if version is None:
        return
    if not re.fullmatch(r"\d{4}", version):
        raise not_ours(path, kind)
    if version > newest_version(kind.migrations):
        raise SchemaTooNewError(too_new(str(path), version, newest_version(kind.migrations)))


def too_new(name: str, version: str, newest: str) -> str:
    """The line for a database that a newer Palaver has migrated."""
    return f"database {name} has schema {version}, this program knows {newest}: run a newer Palaver"


def read_tables(path: Path) -> tuple[set[str], str | None]:
    """The tables, and the version of the schema; those that are in the file itself, and not in its log.

    Raises `sqlite3.Error`.
    """
    # Immutable: SQLite takes no lock, and makes no file beside it
    uri = f"file:{quote(str(path.absolute()))}?mode=ro&immutable=1"
    with contextlib.closing(sqlite3.connect(uri, uri=True)) as connection:
        rows = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall()
        tables = {name for (name,) in rows if not name.startswith("sqlite_")}
        version = None
        if "alembic_version" in tables:
            row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
            version = None if row is None else str(row[0])
        return tables, version


def read_copied_tables(path: Path) -> tuple[set[str], str | None]:
    """The same, with what is in the log: read from a copy, because SQLite would write beside the original."""
    with tempfile.TemporaryDirectory(prefix="palaver-") as directory:
        copy = Path(directory) / "copy.db"
        try:
            shutil.copyfile(path, copy)
            shutil.copyfile(log_of(path), log_of(copy))
            # Closed at once: the last connection puts the log into the file
            with contextlib.closing(sqlite3.connect(copy)) as connection:
                connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
            return read_tables(copy)
        except (OSError, sqlite3.Error) as error:
            raise damaged(path, error) from None


def check_writable(path: Path, *, exists: bool) -> None:
    """Raises `StartError` where the file, or one beside it, cannot be written."""
    try:
        if exists:
            os.close(os.open(path, os.O_RDWR | os.O_CLOEXEC))
        directory = path.parent
        while not directory.exists():
            directory = directory.parent
        if not directory.is_dir():
            raise OSError(0, f"{directory} is not a directory")
        if not os.access(directory, os.W_OK | os.X_OK):
            raise OSError(0, f"directory {directory} is read-only")
    except OSError as error:
        raise refusal(
            path, f"cannot be written ({error.strerror})", "let the service's user write it and its directory"
        ) from None


def prepare_file(path: Path, kind: DatabaseKind) -> None:
    """Checks a file, and makes it where there is none. Raises `StartError`, and writes nothing then."""
    check_file(path, kind)
    with opening(path):
        make_private(path)
        mark_file(path, kind)


def make_private(path: Path) -> None:
    """Makes the file with mode 0600, and its directory, where it makes that too, with 0700.

    SQLite gives the mode of the database to the files that it keeps beside it. Raises `OSError`.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        if os.fstat(handle).st_mode & 0o077:
            os.fchmod(handle, 0o600)
    finally:
        os.close(handle)


def mark_file(path: Path, kind: DatabaseKind) -> None:
    """Writes the kind's `application_id` into a database that has none. Raises `sqlite3.Error`.

    Before there is a write-ahead log: so the mark is in the file from the first moment on.
    """
    with contextlib.closing(sqlite3.connect(path, timeout=MARK_SECONDS, isolation_level=None)) as connection:
        (found,) = connection.execute("PRAGMA application_id").fetchone()
        if found != kind.application_id:
            connection.execute(f"PRAGMA application_id = {kind.application_id}")


@contextlib.contextmanager
def opening(path: Path) -> Iterator[None]:
    """Turns what SQLite or the file system say to an opening into a `StartError` that names the file."""
    from palaver.runtime.sql.errors import sqlite_error, sqlite_name

    try:
        yield
    except OSError as error:
        raise not_opened(path, error) from None
    except Exception as error:
        found = sqlite_error(error) or sqlite_error(error.__cause__)
        if found is None:
            raise
        if sqlite_name(found) in ("SQLITE_CORRUPT", "SQLITE_NOTADB"):
            raise damaged(path, found) from None
        problem = f"cannot be used ({found})"
        raise refusal(path, problem, "look at the disk and at who holds it", passes=True) from None


def not_ours(path: Path, kind: DatabaseKind) -> StartError:
    """The line for another service's or another program's database."""
    return refusal(
        path,
        f"is not a database of {kind.service}, but of another service or program",
        f"look at {kind.service}.database_url and data_dir, or move it away",
    )


def damaged(path: Path, error: Exception) -> StartError:
    """The line for a database that SQLite cannot read."""
    return refusal(path, f"is damaged ({error})", "restore a backup")


def not_opened(path: Path, error: OSError) -> StartError:
    """The line for a file that the system does not let be opened."""
    return refusal(
        path, f"cannot be opened ({error.strerror})", "let the service's user read and write it, a file"
    )


def refusal(path: Path, problem: str, remedy: str, *, passes: bool = False) -> StartError:
    """One line of what is wrong with a file, and what to do about it."""
    return StartError(f"database {path} {problem}: {remedy}", passes=passes)
