"""ClickHouse nodes as native processes."""

import base64
import http.client
import subprocess
from dataclasses import dataclass
from xml.sax.saxutils import escape

from palaver.infra.credentials import Credentials
from palaver.infra.engine import NotReadyError, Place, check_version, version_in
from palaver.infra.files import make_directory, make_local, rendered, write_file
from palaver.infra.packages import program
from palaver.infra.topology import (
    CLICKHOUSE_ACCOUNT,
    CLUSTER,
    CLUSTER_NODE,
    QUERY_MEMORY,
    SERVER_MEMORY,
    Topology,
)
from palaver.runtime.startup import StartError

ASK_SECONDS = 5.0
STOP_SECONDS = 60.0
# The root element up to release 21.9, and what later ones call it
OLD_ROOT, ROOT = "yandex", "clickhouse"
# How many places of the pool must be free for each kind of merge, by what releases know of it
FREE_PLACES = "number_of_free_entries_in_pool_to_"
NEEDS_FREE = {
    OLD_ROOT: ("lower_max_size_of_merge",),
    ROOT: ("lower_max_size_of_merge", "execute_mutation", "execute_optimize_entire_partition"),
}
REMOVE_DEFAULT = '<default remove="remove"/>'


@dataclass(frozen=True, slots=True)
class ClickhouseEngine:
    """One node: a shard, or the one that knows the cluster."""

    place: Place
    topology: Topology
    credentials: Credentials
    stop_seconds: float = STOP_SECONDS

    def prepare(self) -> list[str]:
        """See `Engine`."""
        directory, address = self.place.directory, self.place.address
        self.place.make_directories("tmp", "user_files", "format_schemas", "config.d")
        installed = self.installed_version()
        check_version(self.place, installed, same_series=False)
        root = root_of(installed)
        values = {
            "root": root,
            "directory": directory,
            "data": self.place.data,
            "port": address.port,
            "http_port": address.http_port,
        }
        escaped = {name: escape(str(value)) for name, value in values.items()}
        write_file(directory / "config.xml", rendered("clickhouse-native.xml", escaped))
        added = make_directory(directory / "config.d")
        server = server_xml(self.place.name, root, self.topology, self.credentials)
        write_file(added / "clickhouse.xml", server)
        make_local(added / "local.xml", f"<{root}>\n</{root}>\n")
        write_file(directory / "users.xml", users_xml(root, self.topology, self.credentials))
        return [program("clickhouse-server"), f"--config-file={directory / 'config.xml'}"]

    def installed_version(self) -> str:
        """See `Engine`."""
        for command in (
            [program("clickhouse-server"), "--version"],
            # 18.16 has no such option
            ["dpkg-query", "--show", "--showformat", "${Version}", "clickhouse-server"],
        ):
            try:
                done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - ours
            except OSError:
                continue
            if done.returncode == 0:
                return version_in(done.stdout)
        raise StartError(f"{program('clickhouse-server')} does not say its version")

    def ask_version(self) -> str:
        """See `Engine`."""
        address = self.place.address
        word = base64.b64encode(f"{CLICKHOUSE_ACCOUNT}:{self.credentials.clickhouse}".encode()).decode()
        connection = http.client.HTTPConnection(address.host, address.http_port, timeout=ASK_SECONDS)
        try:
            connection.request("POST", "/", "SELECT version()", {"Authorization": f"Basic {word}"})
            response = connection.getresponse()
            text = response.read().decode(errors="replace").strip()
        except (OSError, http.client.HTTPException) as error:
            raise NotReadyError(str(error)) from None
        finally:
            connection.close()
        if response.status != http.client.OK:
            raise NotReadyError(text)
        return text


def root_of(version: str) -> str:
    """The root element of configuration files of a release."""
    return OLD_ROOT if tuple(map(int, version.split(".")[:2])) < (21, 10) else ROOT


def server_xml(name: str, root: str, topology: Topology, credentials: Credentials) -> str:
    """What a node gets of the deployment, for either way; the cluster's node also gets the shards."""
    shards = remote_servers(topology, credentials) if name == CLUSTER_NODE else ""
    merge_tree = [f"        <{FREE_PLACES}{kind}>1</{FREE_PLACES}{kind}>" for kind in NEEDS_FREE[root]]
    values = {
        "root": root,
        "server_memory": SERVER_MEMORY,
        "merge_tree": "\n".join(merge_tree),
        "remote_servers": shards,
    }
    return rendered("clickhouse.xml", values)


def remote_servers(topology: Topology, credentials: Credentials) -> str:
    """The cluster: a replica a shard, in the order of their numbers."""
    shards = [
        f"<shard><replica><host>{shard.host}</host><port>{shard.port}</port><user>{CLICKHOUSE_ACCOUNT}</user>"
        f"<password>{credentials.clickhouse}</password></replica></shard>"
        for shard in topology.shards
    ]
    lines = [f"    <remote_servers><{CLUSTER}>", *shards, f"    </{CLUSTER}></remote_servers>"]
    return "\n        ".join(lines)


def users_xml(root: str, topology: Topology, credentials: Credentials, *, added: bool = False) -> str:
    """The one account of a node. `added`: to the list of an image, whose account without a password goes."""
    values = {
        "root": root,
        "account": CLICKHOUSE_ACCOUNT,
        "password_sha256": credentials.clickhouse_sha256,
        "network": topology.network,
        "remove_default": REMOVE_DEFAULT if added else "",
        "query_memory": QUERY_MEMORY,
        "server_memory": SERVER_MEMORY,
    }
    return rendered("clickhouse-users.xml", values)
