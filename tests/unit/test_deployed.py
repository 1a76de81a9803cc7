"""What `palaver service` settles and checks before it starts anything."""

from pathlib import Path

import pytest

from palaver.deployed import (
    addresses_for_commands,
    check_databases,
    replicas_of,
    run_replicas,
    summary,
    wanted_ports,
)
from palaver.runtime.ports import free_ports, listening
from palaver.runtime.settings import Settings, load_settings
from palaver.runtime.settings.service import ServiceSettings
from palaver.runtime.startup import StartError
from palaver.standalone import settings_of_one_machine

DIRECTORY = Path("/run/palaver")


def deployed(**counts: int) -> Settings:
    """Settings of so many processes."""
    settings = settings_of_one_machine(load_settings(environ={}), None, rates=True)
    settings.service = ServiceSettings(**counts)
    return settings


def test_there_are_as_many_processes_as_set() -> None:
    """An operator's replicas would not run."""
    replicas = replicas_of(deployed(gateways=2, messengers=3, auths=2), DIRECTORY)
    assert [(one.service, one.number) for one in replicas] == [
        *(("gateway", number) for number in (1, 2)),
        *(("messenger", number) for number in (1, 2, 3)),
        *(("auth", number) for number in (1, 2)),
    ]
    one_of_each = replicas_of(deployed(), DIRECTORY)
    assert [one.service for one in one_of_each] == ["gateway", "messenger", "auth"]


def test_no_two_processes_share_a_port_or_a_socket() -> None:
    """The second process of a service would die again and again."""
    replicas = replicas_of(deployed(gateways=3, messengers=3, auths=3), DIRECTORY)
    ports = [port.port for replica in replicas for port in wanted_ports(replica)]
    assert len(set(ports)) == len(ports) == 12
    gateways = [one.settings.gateway.port for one in replicas if one.service == "gateway"]
    assert gateways == [10000, 10010, 10020]
    messengers = [one.settings.messenger for one in replicas if one.service == "messenger"]
    assert len({path for one in messengers for path in (one.grpc_socket, one.stream_socket)}) == 6


def test_archivers_run_where_there_is_an_archive() -> None:
    """Messages would stay in the journal until its disk is full; or an archiver would die again and again."""
    settings = deployed(archivers=2)
    assert "archiver" not in {one.service for one in replicas_of(settings, DIRECTORY)}
    settings.archive.url = "clickhouse://palaver:secret@127.0.0.1:9000/palaver"
    replicas = replicas_of(settings, DIRECTORY)
    archivers = [one for one in replicas if one.service == "archiver"]
    assert [one.settings.archive.http_port for one in archivers] == [10005, 10015]
    assert replicas[-2:] == archivers
    ports = [port.port for replica in replicas for port in wanted_ports(replica)]
    assert len(set(ports)) == len(ports)


def test_every_process_knows_all_that_it_calls() -> None:
    """A service that dies would take those with it that know only this one."""
    replicas = replicas_of(deployed(gateways=2, messengers=2, auths=2), DIRECTORY)
    gateway = replicas[1].settings.gateway
    assert gateway.messenger_target == "unix:/run/palaver/messenger.sock,unix:/run/palaver/messenger-2.sock"
    assert gateway.messenger_stream == "unix:/run/palaver/streams.sock,unix:/run/palaver/streams-2.sock"
    assert gateway.messenger_url == "http://127.0.0.1:10003,http://127.0.0.1:10013"
    auths = "unix:/run/palaver/auth.sock,unix:/run/palaver/auth-2.sock"
    assert {gateway.auth_url, *(one.settings.messenger.auth_url for one in replicas)} == {auths}


def test_commands_beside_ask_the_first_of_each_and_any_messenger() -> None:
    """`palaver trace` would take a list for an address, or fail with the first messenger."""
    found = addresses_for_commands(replicas_of(deployed(messengers=2, auths=2), DIRECTORY)[0].settings)
    assert found.messenger_grpc == "unix:/run/palaver/messenger.sock,unix:/run/palaver/messenger-2.sock"
    assert found.messenger == "http://127.0.0.1:10003"
    assert found.auth == "unix:/run/palaver/auth.sock"


def test_further_processes_have_logs_of_their_own() -> None:
    """Two processes would write into one file, and rotate it away from each other."""
    replicas = replicas_of(deployed(gateways=2), DIRECTORY)
    assert [one.settings.telemetry.instance for one in replicas] == ["", "2", "", ""]


@pytest.mark.parametrize("service", ["messenger", "auth"])
def test_several_processes_need_mysql(service: str) -> None:
    """Two messengers would give out the same seqs in one file of SQLite."""
    settings = deployed(**{f"{service}s": 2})
    with pytest.raises(StartError, match=rf"setting service\.{service}s: several need MySQL"):
        check_databases(settings)
    getattr(settings, service).database_url = "mysql://u:p@127.0.0.1:1/s"
    check_databases(settings)
    check_databases(deployed(gateways=2))


def test_a_taken_port_names_the_process(tmp_path: Path) -> None:
    """An operator would look for the port in a setting that has another number."""
    settings = deployed(gateways=2)
    settings.data_dir = tmp_path
    with listening("0.0.0.0", next(free_ports())) as taken:
        settings.gateway.port = taken.getsockname()[1] - 10
        replicas = [one for one in replicas_of(settings, tmp_path) if one.number == 2]
        with pytest.raises(StartError, match=r"\(gateway\.port, number 2\): Address already in use"):
            run_replicas(replicas, 0, 0.0)


def test_a_port_beyond_all_ports_is_named() -> None:
    """An operator would read a traceback."""
    settings = deployed(gateways=2)
    settings.gateway.port = 65_530
    with pytest.raises(StartError, match=r"there is no port 65540 \(gateway\.port, number 2\)"):
        wanted_ports(replicas_of(settings, DIRECTORY)[1])


def test_the_summary_has_every_gateway() -> None:
    """An operator would not know where the second gateway is."""
    shown = summary(replicas_of(deployed(gateways=2), DIRECTORY), 0.0)
    assert "http://localhost:10000[/]\n" in shown
    assert "http://localhost:10010[/]\n" in shown
    assert "(2 gateways, 1 messenger, 1 auth)" in shown
