"""Lines for whoever started a command."""

import contextlib
import io
import sys

from palaver.runtime.supervision import Notify


def console() -> Notify:
    """Prints lines with rich's markup, in colour on a terminal."""
    # A terminal that knows no Unicode is no reason to fail
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")

    def say(text: str) -> None:
        # Here: until there is something to say, the services need the time to start
        from rich.console import Console

        out = Console(highlight=False, soft_wrap=True, emoji=False)
        # Nobody may be there any more to read (`palaver up | head`): the services run on
        with contextlib.suppress(OSError):
            out.print(text)

    return say
