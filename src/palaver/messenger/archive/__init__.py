"""The archive: the long-term, sharded home of messages that left the journal (ClickHouse)."""
