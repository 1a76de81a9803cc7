"""How the descriptors of a process are shared out between its clients and the inside."""

import resource

# Descriptors that clients never get: connections to other services, files, databases
RESERVED = 1_024
# Most connections to one other service
MOST_CONNECTIONS = 500


def open_files() -> int:
    """How many descriptors the process may have."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def reserved_files(files: int) -> int:
    """How many of them are kept for the inside."""
    return min(RESERVED, files // 4)


def inside_connections(files: int) -> int:
    """Most connections to one other service: half of the reserve at most. With more, the calls of clients
    would use it up, and nothing else inside could be reached."""
    return min(MOST_CONNECTIONS, files // 8)
