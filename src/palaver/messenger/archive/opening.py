"""The archive that the settings name."""

from dataclasses import replace

from palaver.messenger.archive.clickhouse import Access, ClickHouseNodes
from palaver.messenger.archive.message_reader import ArchivedMessageReader
from palaver.messenger.archive.nodes import Address
from palaver.messenger.archive.topology import ArchiveAddress
from palaver.messenger.store.opening import Store
from palaver.runtime.settings.archive import ArchiveSettings, parse_archive_url

# A page of history is worth no longer wait; a block is
READ_SECONDS = 5.0
WRITE_SECONDS = 30.0


def archive_address(settings: ArchiveSettings) -> ArchiveAddress:
    """Where the archive is."""
    host, port, _, _, database = parse_archive_url(settings.url)
    return ArchiveAddress(Address(host, port), database, settings.cluster)


def open_nodes(settings: ArchiveSettings, answer_seconds: float) -> ClickHouseNodes:
    """Connections to the archive's nodes."""
    _, _, user, password, _ = parse_archive_url(settings.url)
    return ClickHouseNodes(Access(user, password), settings.threads, answer_seconds)


def with_archive(store: Store, nodes: ClickHouseNodes, settings: ArchiveSettings) -> Store:
    """The store with the archive behind its reader of messages."""
    database = archive_address(settings).database
    return replace(store, messages=ArchivedMessageReader(store.database, nodes, database))
