"""Numbers of the messenger's live part, for Prometheus. What happens a message is counted a batch."""

from prometheus_client import Counter, Gauge, Histogram

COMMITTED = Counter("palaver_messages_committed", "Messages written to the journal.")
REPEATED = Counter("palaver_messages_repeated", "Requests to send of which something had been stored before.")
BATCH_MESSAGES = Histogram(
    "palaver_batch_messages",
    "Messages of one transaction.",
    buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000),
)
COMMIT_SECONDS = Histogram(
    "palaver_commit_seconds",
    "Time of one transaction of the journal, with its fsync.",
    buckets=(0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10),
)
COMMIT_FAILURES = Counter("palaver_commit_failures", "Transactions of the journal that failed.")
QUEUE_MESSAGES = Gauge("palaver_journal_queue_messages", "Messages that wait for the journal.")
LAG_SECONDS = Gauge("palaver_journal_lag_seconds", "Age of the batch that is being written; 0 where none is.")
GATEWAYS = Gauge("palaver_gateways_attached", "Gateways whose stream stands.")
GATEWAYS_CUT = Counter("palaver_gateways_cut", "Gateways cut off because they read too slowly.")
