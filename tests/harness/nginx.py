"""A real nginx for a test: deploy/nginx/palaver.conf before a running gateway, on a free port."""

import contextlib
import os
import re
import shutil
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.harness.processes import ChildProcess
from tests.harness.waiting import wait_until

DEPLOYED = Path(__file__).parents[2] / "deploy" / "nginx" / "palaver.conf"
PATH = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/sbin"))

# All that nginx would write elsewhere
MAIN = """\
{user}
daemon off;
worker_processes 1;
pid nginx.pid;
error_log error.log notice;
events {{ worker_connections 512; }}
http {{
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    include palaver.conf;
}}
"""


@dataclass(frozen=True)
class Nginx:
    """An nginx that runs. See `ApiClient` for the two addresses."""

    port: int

    @property
    def base_url(self) -> str:
        """Its address for requests."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def ws_url(self) -> str:
        """Its address for sockets."""
        return f"ws://127.0.0.1:{self.port}"


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def deployed_config(port: int, gateway_port: int) -> str:
    """The deployed file with other ports, without TLS, and with its log beside it."""
    config = DEPLOYED.read_text(encoding="utf-8")
    for pattern, replacement in (
        (r"listen 443 ssl;", f"listen 127.0.0.1:{port};"),
        (r"server 127\.0\.0\.1:10000;", f"server 127.0.0.1:{gateway_port};"),
        (r" *ssl_certificate(_key)? .*\n", ""),
        (r"/var/log/nginx/palaver\.log", "access.log"),
    ):
        config, count = re.subn(pattern, replacement, config)
        assert count, pattern
    return config


@contextlib.contextmanager
def running_nginx(directory: Path, gateway_port: int) -> Iterator[Nginx]:
    """An nginx before the gateway, for the block."""
    program = shutil.which("nginx", path=PATH)
    assert program, "nginx is missing: `make test` installs it"
    directory.mkdir()
    port = free_port()
    (directory / "palaver.conf").write_text(deployed_config(port, gateway_port))
    # Its workers must reach the directory of a test, which is its owner's alone
    user = "user root;" if os.geteuid() == 0 else ""
    (directory / "nginx.conf").write_text(MAIN.format(user=user))
    command = [program, "-p", f"{directory}/", "-c", "nginx.conf", "-e", "error.log"]
    process = ChildProcess.start(command, directory / "nginx.out")
    try:
        wait_until(lambda: process.process.poll() is not None or accepts(port), "nginx listens")
        assert process.process.poll() is None, process.output + (directory / "error.log").read_text()
        yield Nginx(port)
    finally:
        process.stop()


def accepts(port: int) -> bool:
    """Whether somebody listens."""
    with contextlib.suppress(OSError):
        socket.create_connection(("127.0.0.1", port)).close()
        return True
    return False
