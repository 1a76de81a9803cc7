"""How long to wait after failures in a row. Sans-I/O: callers count, wait and throw the dice."""


def pause_after(
    failures: int, *, first: float, longest: float, factor: float = 2.0, jitter: float = 1.0
) -> float:
    """Seconds to wait after so many failures in a row: `first` after one, times `factor` after each more, and
    no longer than `longest`.

    `jitter`: a random number of [0, 1) for full jitter, so that clients which lost one server at one moment
    do not come back at one moment.
    """
    # The bound on the exponent keeps the power finite after days of failures
    return jitter * min(longest, first * factor ** min(failures - 1, 60))
