"""Metrics of the gateway's sockets, for Prometheus. Messages are counted once a batch."""

from prometheus_client import Counter, Gauge, Histogram

SOCKETS = Gauge("palaver_sockets_open", "Open sockets.", ["generation"])
SOCKETS_CLOSED = Counter(
    "palaver_sockets_closed",
    "Sockets that are gone, by the error for which they were closed; `client`: they went by themselves.",
    ["generation", "reason"],
)
UPGRADES_REFUSED = Counter(
    "palaver_upgrades_refused", "Sockets that were not opened, by the error's code.", ["code"]
)
ACCEPTED = Counter(
    "palaver_messages_accepted", "Messages that sockets sent and that went to the messenger.", ["generation"]
)
REFUSED = Counter(
    "palaver_frames_refused",
    "Sockets' frames that were refused, by the error's code.",
    ["generation", "code"],
)
DELIVERED = Counter(
    "palaver_messages_delivered",
    "Messages written to sockets; one to three sockets is three.",
    ["generation"],
)
RESUMED = Counter(
    "palaver_messages_resumed", "Of the messages delivered, those that a resume delivered.", ["generation"]
)
ACK_SECONDS = Histogram(
    "palaver_message_ack_seconds",
    "Time from a message's frame to its acknowledgement; of one message a batch.",
    buckets=(0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10),
)
IN_FLIGHT = Gauge("palaver_link_in_flight", "Requests to send that wait for the messenger's answer.")
ATTACHED = Gauge("palaver_link_attached", "1: the stream to the messenger stands.")
BREAKS = Counter("palaver_link_breaks", "Streams to the messenger that broke.")
RESENT = Counter("palaver_link_resent", "Requests to send that were sent again after that.")
