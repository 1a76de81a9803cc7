"""The engines as native processes: start what does not run, look at all, stop all."""

import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from palaver.infra.clickhouse import ClickhouseEngine
from palaver.infra.credentials import Credentials, credentials_in
from palaver.infra.deployment import Deployment, check_ports
from palaver.infra.engine import Engine, NotReadyError, Place, note_version
from palaver.infra.mariadb import MariadbEngine
from palaver.infra.packages import install_missing
from palaver.infra.processes import start_process
from palaver.infra.redis import RedisEngine
from palaver.infra.status import EngineStatus, Say
from palaver.infra.topology import CLICKHOUSE_NODES, ENGINES, MYSQL, REDIS, Topology, native_topology
from palaver.runtime.log_tail import LogTail
from palaver.runtime.startup import StartError

# From a start to the first answer. After a kill MariaDB reads its redo log first
READY_SECONDS = 120.0
READY_PAUSE = 0.05


@dataclass(frozen=True, slots=True)
class Started:
    """A process that was started now, and where its log began."""

    process: "subprocess.Popen[bytes]"
    log_tail: LogTail


def engines_of(directory: Path, deployment: Deployment) -> list[Engine]:
    """All engines, in the order in which they are started. Raises `StartError`."""
    topology = native_topology(deployment.first_port)
    return build_engines(directory, topology, credentials_in(directory))


def build_engines(directory: Path, topology: Topology, credentials: Credentials) -> list[Engine]:
    """The engines of a topology."""
    places = {name: Place(name, directory / name, topology.addresses[name]) for name in ENGINES}
    nodes = [ClickhouseEngine(places[name], topology, credentials) for name in CLICKHOUSE_NODES]
    return [
        *nodes,
        RedisEngine(places[REDIS], credentials),
        MariadbEngine(places[MYSQL], topology, credentials),
    ]


def any_runs(directory: Path) -> bool:
    """Whether a process of these engines runs, whatever its ports."""
    topology = native_topology(0)
    return any(Place(name, directory / name, topology.addresses[name]).pid_file.running() for name in ENGINES)


def start_all(directory: Path, deployment: Deployment, say: Say) -> None:
    """Starts the engines that do not run, and waits until each answers with its password.

    Raises `StartError`; what has started runs on, and the next call goes on from there.
    """
    install_missing()
    engines = engines_of(directory, deployment)
    missing = [engine for engine in engines if engine.place.pid_file.running() is None]
    # All that can be wrong is looked for before anything is started
    for engine in missing:
        check_ports(engine.place.name, deployment.first_port)
    commands = {engine.place.name: engine.prepare() for engine in missing}
    started = {engine.place.name: start(engine, commands[engine.place.name]) for engine in missing}
    for engine in engines:
        version = wait_ready(engine, started.get(engine.place.name))
        note_version(engine.place, version)
        how = "started" if engine.place.name in started else "runs"
        pid, port = engine.place.pid_file.running(), engine.place.address.port
        say(f"{engine.place.name:<20} {how:<8} process {pid}, port {port}, version {version}")


def start(engine: Engine, command: list[str]) -> Started:
    """Starts one engine. Raises `StartError`."""
    place = engine.place
    try:
        begins = place.log_file.stat().st_size if place.log_file.exists() else 0
        place.log_file.touch(mode=0o600)
        tail = LogTail(place.log_file, begins, place.log_file.stat().st_ino)
    except OSError as error:
        raise StartError(f"cannot write log {place.log_file}: {error.strerror}") from None
    return Started(start_process(command, place.directory, place.log_file, place.pid_file), tail)


def wait_ready(engine: Engine, started: Started | None) -> str:
    """The version of an engine once it answers. Raises `StartError`."""
    name, end = engine.place.name, time.monotonic() + READY_SECONDS
    while True:
        try:
            return engine.ask_version()
        except NotReadyError as error:
            complaint = str(error)
        if started and started.process.poll() is not None:
            code, last = started.process.returncode, started.log_tail.read(1).strip()
            raise StartError(f"{name} ended with code {code}; {engine.place.log_file} ends with: {last}")
        if time.monotonic() > end:
            raise StartError(f"{name} does not answer: {complaint.splitlines()[0] if complaint else ''}")
        time.sleep(READY_PAUSE)


def status_all(directory: Path, deployment: Deployment) -> list[EngineStatus]:
    """Every engine as it is now. Raises `StartError`."""
    return [status_of(engine) for engine in engines_of(directory, deployment)]


def status_of(engine: Engine) -> EngineStatus:
    """One engine as it is now."""
    place = engine.place
    pid, version, complaint = place.pid_file.running(), "", ""
    if pid is not None:
        try:
            version = engine.ask_version()
        except (NotReadyError, StartError) as error:
            complaint = str(error).partition("\n")[0]
    return EngineStatus(
        place.name,
        pid is not None,
        place.address.ports,
        version,
        complaint,
        pid=pid,
        data_bytes=bytes_in(place.data),
    )


def bytes_in(directory: Path) -> int:
    """What the files below a directory have on disk."""
    total = 0
    for path in directory.rglob("*"):
        try:
            total += path.lstat().st_blocks * 512
        except OSError:
            # An engine has removed it meanwhile
            continue
    return total


def stop_all(directory: Path, deployment: Deployment, say: Say) -> None:
    """Stops what runs: the archive's nodes all at once, then what services share, the journal last.

    Raises `StartError` where one runs on.
    """
    by_name = {engine.place.name: engine for engine in engines_of(directory, deployment)}
    for names in (CLICKHOUSE_NODES, (REDIS,), (MYSQL,)):
        with ThreadPoolExecutor(len(names)) as pool:
            for name, ended in zip(names, pool.map(lambda name: stop(by_name[name]), names), strict=True):
                say(f"{name:<20} {'stopped' if ended else 'did not run'}")


def stop(engine: Engine) -> bool:
    """Stops one engine. False: it did not run. Raises `StartError`."""
    return engine.place.pid_file.stop(engine.place.name, engine.stop_seconds)
