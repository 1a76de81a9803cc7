"""Numbers of a service's Redis, for Prometheus."""

from prometheus_client import Counter, Gauge

UP = Gauge("palaver_redis_up", "Whether Redis answers: 1, or 0.")
LOSSES = Counter("palaver_redis_losses", "How often Redis was lost.")
SUBSCRIPTIONS_MADE = Counter(
    "palaver_redis_subscriptions_made",
    "Connections whose subscriptions were made, the first of each included.",
)
GAPS = Counter("palaver_bus_gaps", "How often publications of others may have been missed.")
DROPPED = Counter(
    "palaver_bus_dropped_publications", "Transactions that were not published. The log has them."
)
RATES_NOT_SHARED = Counter("palaver_rates_not_shared", "Times that rates could not be shared with others.")
