"""Numbers of the archiver, for Prometheus."""

from prometheus_client import Counter, Gauge

ARCHIVED = Counter("palaver_archive_messages", "Messages moved to the archive, changed ones each time.")
TRIMMED = Counter("palaver_archive_trimmed_segments", "Segments whose rows in the journal were trimmed.")
LAG_COMMITS = Gauge(
    "palaver_archive_lag_commits", "Transactions of the commit log of which not everything is archived."
)
LEADING = Gauge("palaver_archive_leading", "1 while this archiver holds the lease, else 0.")
SHARD_FAILING = Gauge("palaver_archive_shard_failing", "1 while a shard takes no blocks.", ["shard"])
