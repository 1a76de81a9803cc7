"""A service as a child process."""

from pathlib import Path

from palaver.runtime.service_child import SERVICES, child_of, ports_of
from palaver.runtime.settings import Settings, load_settings


def test_a_child_has_exactly_its_settings(tmp_path: Path) -> None:
    """A service would run with what its parent's environment says."""
    settings = Settings(data_dir=tmp_path)
    settings.telemetry.instance = "2"
    child = child_of("messenger", settings, environ={"PATH": "/bin", "PALAVER_AUTH__PORT": "9"})
    assert load_settings(environ=child.environment) == settings
    assert child.environment["PATH"] == "/bin"
    assert (child.name, child.log_file) == ("messenger-2", tmp_path / "logs" / "messenger-2.log")


def test_a_child_is_asked_where_it_listens() -> None:
    """A service that is ready would never be seen to be."""
    settings = Settings()
    for service in (*SERVICES, "archiver"):
        child = child_of(service, settings)
        assert child.port in {port.port for port in ports_of(service, settings)}
        assert child.host == "127.0.0.1"
