"""`palaver infra`: the real engines of a deployment, as native processes."""

import json
import os
import re
import shutil
import stat
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from palaver.infra.topology import ENGINES, SHARD_NODES
from palaver.runtime.ports import listening
from tests.harness.infrastructure import Infrastructure, running_infrastructure
from tests.harness.palaver_process import is_gone
from tests.harness.waiting import wait_until

NOBODY = 65_534
PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "deploy.md"
# The directory of the page's examples
EXAMPLE = "/tmp/deployment"
FENCED = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def infra(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Infrastructure]:
    """All engines, for the file's tests. Whoever kills one starts it again."""
    with running_infrastructure(tmp_path_factory.mktemp("deployment") / "data") as running:
        yield running


@pytest.fixture
def other(tmp_path: Path) -> Iterator[Infrastructure]:
    """A directory without engines yet; what the test starts in it is stopped."""
    infrastructure = Infrastructure(tmp_path / "data")
    yield infrastructure
    if (infrastructure.directory / "deployment.json").exists():
        infrastructure.run("down")


def is_one_line(done: "subprocess.CompletedProcess[str]") -> bool:
    """Whether a command failed with one line for the operator."""
    return done.returncode == 1 and done.stderr.startswith("palaver: ") and done.stderr.count("\n") == 1


def kill(pid: int) -> None:
    """`kill -9`; returns when the process is gone."""
    process = psutil.Process(pid)
    process.kill()
    wait_until(lambda: is_gone(process), f"{pid} is gone")


def test_every_engine_answers(infra: Infrastructure) -> None:
    """Services would start on engines that are not there."""
    shown = infra.run("status", "--json")
    statuses = json.loads(shown.stdout)
    assert shown.returncode == 0
    assert [one["name"] for one in statuses] == list(ENGINES)
    assert all(one["version"] and one["pid"] for one in statuses)
    assert sum(one["data_bytes"] for one in statuses) > 0


def test_a_second_start_changes_nothing(infra: Infrastructure) -> None:
    """An operator who is not sure whether it runs would lose connections, or their own settings."""
    pids, passwords = infra.pids, infra.passwords
    settings = infra.directory / "palaver.toml"
    settings.write_text(settings.read_text() + "\n# ours\n[gateway]\nport = 12345\n")
    again = infra.up()
    assert (again.returncode, again.stderr) == (0, "")
    assert again.stdout.count(" runs ") == len(ENGINES)
    assert infra.pids == pids
    assert infra.passwords == passwords
    assert "# ours" in settings.read_text()
    assert tomllib.loads(settings.read_text())["gateway"]["port"] == 12345


def test_an_account_reads_its_own_schema_alone(infra: Infrastructure) -> None:
    """A hole in the messenger would give away everybody's password hashes, or one in auth every message."""
    made = infra.mysql("auth", "CREATE TABLE auth.secrets (a INT); INSERT INTO auth.secrets VALUES (1)")
    assert made.returncode == 0, made.stderr
    for account, schema in (("messenger", "auth"), ("auth", "messenger"), ("auth", "mysql")):
        refused = infra.mysql(account, "SHOW TABLES", f"--database={schema}")
        assert "Access denied" in refused.stderr
    assert "denied" in infra.mysql("messenger", "SELECT * FROM auth.secrets").stderr
    assert infra.mysql("messenger", "SHOW DATABASES").stdout.split() == ["information_schema", "messenger"]


def test_nobody_comes_in_without_the_password(infra: Infrastructure) -> None:
    """Every program of the machine could read all messages."""
    assert "Access denied" in infra.mysql("auth", "SELECT 1", "--password=wrong").stderr
    assert "NOAUTH" in infra.redis("PING")
    assert infra.redis("PING", password=infra.passwords["redis"]) == "PONG"
    for node in ("clickhouse-cluster", *SHARD_NODES):
        assert "Wrong password" in infra.clickhouse(node, "SELECT 1", password="wrong")
        assert infra.clickhouse(node, "SELECT 1") == "1"
    port = infra.topology.addresses[SHARD_NODES[0]].http_port
    anonymous = subprocess.run(
        ["curl", "--silent", f"http://127.0.0.1:{port}/?query=SELECT+1"], capture_output=True, check=True
    )
    assert b"Exception" in anonymous.stdout


def test_the_page_works_as_it_stands(infra: Infrastructure) -> None:
    """An operator would copy a command that fails, or look for a line that never comes."""
    # Those on services are for a deployment that has some
    page = re.sub(r"## The services\n.*?(?=\n## )", "", PAGE.read_text(), flags=re.DOTALL)
    blocks = FENCED.findall(page)
    commands = [text for language, text in blocks if language == "sh" and EXAMPLE in text]
    shown = [text for language, text in blocks if not language]
    start, status, client, stop = (text.replace(EXAMPLE, str(infra.data_dir)) for text in commands)
    assert "palaver infra down" in stop
    assert type_in(start).returncode == 0
    assert [without_numbers(type_in(text).stdout) for text in (status, client)] == list(
        map(without_numbers, shown)
    )


def type_in(text: str) -> "subprocess.CompletedProcess[str]":
    """Runs what a reader types, with `palaver` on their path."""
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    return subprocess.run(
        ["bash", "-c", text], capture_output=True, text=True, check=False, env={**os.environ, "PATH": path}
    )


def without_numbers(text: str) -> str:
    """Printed text without processes, ports, versions and sizes."""
    return re.sub(r"\d+(\.\d+)*", "N", text)


def test_nothing_listens_beyond_loopback(infra: Infrastructure) -> None:
    """The network could try passwords on every engine."""
    seen = set()
    for name, pid in infra.pids.items():
        for connection in psutil.Process(pid).net_connections("inet"):
            if connection.status == psutil.CONN_LISTEN:
                assert connection.laddr.ip == "127.0.0.1"
                seen.add(connection.laddr.port)
        assert set(infra.topology.addresses[name].ports) <= seen
    assert seen == {port for address in infra.topology.addresses.values() for port in address.ports}


def test_only_the_owner_reads_what_is_secret(infra: Infrastructure) -> None:
    """Other users of the machine could read passwords in configuration files."""
    for path in (infra.data_dir, infra.directory, *(infra.directory / name for name in ENGINES)):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
    for name in (
        "palaver.toml",
        "passwords.json",
        "redis/redis.conf",
        "mysql/accounts.sql",
        "mysql/auth.cnf",
    ):
        assert stat.S_IMODE((infra.directory / name).stat().st_mode) == 0o600
    for pid in infra.pids.values():
        words = " ".join(psutil.Process(pid).cmdline())
        assert not [
            word for word in (*infra.passwords["mysql"].values(), infra.passwords["redis"]) if word in words
        ]


def test_mysql_keeps_what_was_acknowledged(infra: Infrastructure) -> None:
    """A power cut would take messages that their senders were told are stored."""
    asked = "innodb_flush_log_at_trx_commit", "character_set_server", "innodb_rollback_on_timeout"
    shown = infra.mysql("auth", "SELECT " + ", ".join(f"@@{name}" for name in asked)).stdout
    assert shown.split() == ["1", "utf8mb4", "1"]
    assert int(infra.mysql("auth", "SELECT @@max_connections").stdout) >= 400


def test_redis_refuses_rather_than_forgets(infra: Infrastructure) -> None:
    """Who is online, and who is hot, would vanish under load."""
    password = infra.passwords["redis"]
    assert infra.redis("CONFIG", "GET", "maxmemory-policy", password=password).split()[1] == "noeviction"


def test_the_cluster_reaches_its_shards(infra: Infrastructure) -> None:
    """Operators' SELECTs over the archive would fail, or miss a shard."""
    asked = "SELECT shard_num, port FROM system.clusters WHERE cluster = 'palaver' ORDER BY shard_num"
    shown = infra.clickhouse("clickhouse-cluster", asked)
    ports = [infra.topology.addresses[name].port for name in SHARD_NODES]
    assert shown.split("\n") == [f"{number}\t{port}" for number, port in enumerate(ports, start=1)]
    for number, name in enumerate(SHARD_NODES):
        infra.clickhouse(name, "CREATE TABLE numbers (n UInt8) ENGINE = MergeTree ORDER BY n")
        infra.clickhouse(name, f"INSERT INTO numbers VALUES ({number})")
    over_all = "SELECT groupArray(n) FROM (SELECT n FROM remote_numbers ORDER BY n)"
    infra.clickhouse(
        "clickhouse-cluster",
        "CREATE TABLE remote_numbers (n UInt8) ENGINE = Distributed(palaver, default, numbers)",
    )
    assert infra.clickhouse("clickhouse-cluster", over_all) == "[0,1,2,3,4]"


def test_a_killed_engine_comes_back_with_its_data(infra: Infrastructure) -> None:
    """An operator would have to repair by hand, or would find an empty server."""
    assert (
        infra.mysql(
            "messenger", "CREATE TABLE kept (a INT); INSERT INTO kept VALUES (7)", "messenger"
        ).returncode
        == 0
    )
    infra.clickhouse("clickhouse-shard-1", "CREATE TABLE kept (n UInt8) ENGINE = MergeTree ORDER BY n")
    infra.clickhouse("clickhouse-shard-1", "INSERT INTO kept VALUES (7)")
    before = infra.pids
    for name in ("mysql", "clickhouse-shard-1", "redis"):
        kill(before[name])
    shown = infra.run("status")
    assert shown.returncode == 1
    assert shown.stdout.count("does not run") == 3
    again = infra.up()
    assert (again.returncode, again.stdout.count(" started ")) == (0, 3), again.stderr
    after = infra.pids
    assert {name for name in ENGINES if before[name] != after[name]} == {
        "mysql",
        "clickhouse-shard-1",
        "redis",
    }
    assert infra.mysql("messenger", "SELECT a FROM kept", "messenger").stdout == "7\n"
    assert infra.clickhouse("clickhouse-shard-1", "SELECT n FROM kept") == "7"


def test_ctrl_c_is_not_for_engines(infra: Infrastructure) -> None:
    """Ctrl-C of whatever started them would take the databases from running services."""
    assert all(os.getsid(pid) == pid for pid in infra.pids.values())


def test_other_ports_are_refused_while_engines_run(infra: Infrastructure) -> None:
    """Services would be sent to ports where nobody is."""
    done = infra.run("up", "--first-port", str(infra.first_port + 100))
    assert is_one_line(done)
    assert "infra.first_port" in done.stderr


def test_down_keeps_the_data_and_leaves_nothing_behind(infra: Infrastructure) -> None:
    """A stop would lose messages, or leave servers that hold their files."""
    processes = [psutil.Process(pid) for pid in infra.pids.values()]
    assert infra.mysql("auth", "CREATE TABLE stopped (a INT)", "auth").returncode == 0
    stopped = infra.run("down")
    assert (stopped.returncode, stopped.stdout.count("stopped")) == (0, len(ENGINES))
    assert all(map(is_gone, processes))
    assert infra.run("status").returncode == 1
    assert infra.up().returncode == 0
    assert "stopped" in infra.mysql("auth", "SHOW TABLES", "auth").stdout


def test_a_killed_start_is_run_again(other: Infrastructure) -> None:
    """Whoever lost their terminal would have engines that nobody knows, or a directory that is in between."""
    starting = subprocess.Popen(other.start_command(), stdout=subprocess.DEVNULL, start_new_session=True)
    wait_until(
        lambda: (other.directory / "clickhouse-shard-2" / "process.json").exists(), "a start that is half way"
    )
    starting.kill()
    starting.wait()
    again = other.up()
    assert again.returncode == 0, again.stderr
    running = [
        process
        for process in psutil.process_iter(["cwd"])
        if (process.info["cwd"] or "").startswith(str(other.directory))
    ]
    assert len(running) == len(ENGINES)


def test_a_taken_port_starts_nothing(other: Infrastructure) -> None:
    """Half of the engines would run, and the reason would be in a file."""
    port = other.topology.addresses["mysql"].port
    with listening("127.0.0.1", port):
        done = other.up()
    assert is_one_line(done)
    assert f"127.0.0.1:{port} (mysql, infra.first_port): Address already in use" in done.stderr
    assert other.pids == {}


def test_a_missing_package_is_named(other: Infrastructure) -> None:
    """An operator would have to find out which program belongs to which package."""
    done = other.up(PATH="")
    assert is_one_line(done)
    assert "please install: " in done.stderr
    assert "redis-server" in done.stderr
    assert not list(other.directory.glob("*/process.json"))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives directories away")
def test_a_directory_of_somebody_else_is_left_alone(other: Infrastructure) -> None:
    """Its owner could not start their own engines any more: half of the files would be another user's."""
    other.directory.mkdir(parents=True)
    os.chown(other.directory, NOBODY, NOBODY)
    done = other.up()
    assert is_one_line(done)
    assert f"directory {other.directory} is of user nobody" in done.stderr
    assert list(other.directory.iterdir()) == []


def test_a_directory_that_cannot_be_written_is_named(other: Infrastructure) -> None:
    """An operator would have to read a traceback."""
    other.data_dir.touch()
    assert is_one_line(other.up())
    other.data_dir.unlink()


def test_data_of_another_version_is_not_touched(other: Infrastructure) -> None:
    """A server of another release would rewrite the tables so that the right one can't read them any more."""
    directory = other.directory / "mysql"
    directory.mkdir(parents=True)
    (directory / "version").write_text("10.5.29\n")
    done = other.up()
    assert is_one_line(done)
    assert "is of version 10.5.29" in done.stderr
    assert other.pids == {}
    shutil.rmtree(directory)


def test_a_foreign_process_is_not_stopped(other: Infrastructure) -> None:
    """After a reboot the number of an engine may be that of somebody's editor."""
    foreign = subprocess.Popen(["sleep", "100"])
    try:
        assert other.run("down").returncode == 1
        (other.directory / "mysql").mkdir(parents=True)
        (other.directory / "deployment.json").write_text(
            json.dumps({"way": "native", "first_port": other.first_port})
        )
        noted = {"pid": foreign.pid, "start_ticks": 1, "boot_id": "another"}
        (other.directory / "mysql" / "process.json").write_text(json.dumps(noted))
        shown = other.run("down")
        assert "mysql                did not run" in shown.stdout
        assert foreign.poll() is None
    finally:
        foreign.kill()
        foreign.wait()
