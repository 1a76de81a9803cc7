"""What `palaver up` settles and checks before it starts anything."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from palaver.runtime.deployment_secret import made_secret
from palaver.runtime.ports import listening
from palaver.runtime.settings import Settings, load_settings
from palaver.runtime.startup import StartError
from palaver.standalone import (
    addresses_of,
    check_ports,
    prepare_log,
    services,
    settings_of_one_machine,
    settings_with_ports,
    settings_with_secret,
    settings_with_sockets,
    summary,
)


@pytest.fixture(autouse=True)
def usual_umask() -> Iterator[None]:
    """Other tests do not inherit what is tested here."""
    old = os.umask(0o022)
    yield
    os.umask(old)


def settled(environ: dict[str, str] | None = None, port: int | None = None, rates: bool = True) -> Settings:
    """The settings that `palaver up` hands to the services."""
    return settings_with_ports(settings_of_one_machine(load_settings(environ=environ or {}), port, rates))


def test_without_options_the_settings_ports_are_used() -> None:
    """Documented ports would be wrong."""
    settings = settled()
    assert (settings.gateway.port, settings.gateway.private_port) == (10000, 10002)
    assert settings.auth.port == 10001
    assert settings.gateway.messenger_url == "http://127.0.0.1:10003"


def test_the_inside_is_on_unix_sockets() -> None:
    """Every program on the machine could connect to what only services of the deployment may call."""
    settings = settings_with_sockets(settled(), Path("/run/palaver"))
    assert settings.auth.socket == "/run/palaver/auth.sock"
    assert settings.gateway.auth_url == settings.messenger.auth_url == "unix:/run/palaver/auth.sock"
    assert settings.gateway.messenger_target == f"unix:{settings.messenger.grpc_socket}"
    assert settings.messenger.grpc_socket == "/run/palaver/messenger.sock"


def test_with_a_port_private_ports_are_free_ones() -> None:
    """A second Palaver on the machine would fail on the first one's private ports."""
    settings = settled({"PALAVER_AUTH__PORT": "10001"}, port=12345)
    private = {settings.gateway.private_port, settings.auth.port, settings.messenger.http_port}
    assert settings.gateway.port == 12345
    assert len(private) == 3
    assert not private & {0, 10001, 10002, 10003, 12345}
    assert addresses_of(settings).gateway_private == f"http://127.0.0.1:{settings.gateway.private_port}"
    assert settings.gateway.messenger_url == f"http://127.0.0.1:{settings.messenger.http_port}"


def test_only_the_gateway_is_reachable_from_elsewhere() -> None:
    """Auth's private REST, which believes its caller, would be open to the network."""
    settings = settled({"PALAVER_AUTH__HOST": "0.0.0.0", "PALAVER_MESSENGER__HOST": "0.0.0.0"})
    assert settings.gateway.host == "0.0.0.0"
    assert settings.auth.host == settings.messenger.host == "127.0.0.1"


@pytest.mark.parametrize("rates", [True, False])
def test_rates_are_switched_for_both_services(rates: bool) -> None:
    """A bench would measure a limit, or a public server would have none."""
    settings = settled(rates=rates)
    assert settings.auth.rates is rates
    assert settings.messenger.rates is rates


def test_settings_given_are_not_changed() -> None:
    """What was read from the operator would differ from what is shown of it."""
    given = load_settings(environ={})
    settings_with_ports(settings_of_one_machine(given, 1, rates=False))
    assert given == load_settings(environ={})


def test_services_get_all_settings_and_no_others(tmp_path: Path) -> None:
    """A service would run with a default in a setting's place."""
    settings = settings_with_secret(
        settled({"PALAVER_DATA_DIR": str(tmp_path), "PALAVER_MESSENGER__BATCH_MESSAGES": "7"}, port=1)
    )
    children = services(settings, environ={"PATH": "/bin", "PALAVER_MESSENGER__BATCH_MESSAGES": "9"})
    assert [child.name for child in children] == ["gateway", "messenger", "auth"]
    for child in children:
        assert child.environment["PATH"] == "/bin"
        assert load_settings(environ=child.environment) == settings
        assert made_secret(tmp_path) in child.environment["PALAVER_SECRET"]
        assert child.log_file == tmp_path / "logs" / f"{child.name}.log"


def test_a_taken_port_is_named() -> None:
    """Two of three services would start, and the third's reason would be in a file."""
    settings = settled(port=0)
    port = settings.messenger.http_port
    with listening("127.0.0.1", port), pytest.raises(StartError) as caught:
        check_ports(settings)
    assert (
        str(caught.value)
        == f"cannot listen on 127.0.0.1:{port} (messenger.http_port): Address already in use"
    )
    check_ports(settings)


def test_two_services_on_one_port_are_refused() -> None:
    """The service that comes second would die again and again."""
    settings = settled(port=0)
    settings.auth.port = settings.gateway.port
    with pytest.raises(StartError, match=r"\(auth\.port\)"):
        check_ports(settings)


def test_an_unwritable_log_is_named(tmp_path: Path) -> None:
    """A service would be started that cannot say what is wrong."""
    settings = settled({"PALAVER_DATA_DIR": str(tmp_path)}, port=0)
    child = services(settings)[0]
    child.log_file.mkdir(parents=True)
    with pytest.raises(StartError, match=r"cannot write log .*gateway\.log: Is a directory"):
        prepare_log(child)


@pytest.mark.parametrize(
    ("host", "url"),
    [("0.0.0.0", "http://localhost:8"), ("::", "http://localhost:8"), ("::1", "http://[::1]:8")],
)
def test_the_summary_says_where_things_are(tmp_path: Path, host: str, url: str) -> None:
    """A newcomer would not know where to send the first request."""
    shown = summary(settled({"PALAVER_GATEWAY__HOST": host, "PALAVER_DATA_DIR": str(tmp_path)}, port=8), 0.0)
    assert f"{url}[/]\n" in shown
    assert f"{url}/docs" in shown
    assert str(tmp_path) in shown


def test_the_addresses_are_those_that_services_call() -> None:
    """Commands run beside `palaver up` would ask somebody else."""
    settings = settings_with_sockets(settled({"PALAVER_GATEWAY__HOST": "::1"}, port=8), Path("/run"))
    found = addresses_of(settings)
    assert found.gateway == "http://[::1]:8"
    assert (found.auth, found.messenger) == (settings.messenger.auth_url, settings.gateway.messenger_url)
    assert found.messenger_grpc == settings.gateway.messenger_target


def test_services_of_one_command_have_no_instances() -> None:
    """Their crashes would be in other files than their lines, which `palaver up` shows when a start fails."""
    assert settled({"PALAVER_TELEMETRY__INSTANCE": "7"}).telemetry.instance == ""
