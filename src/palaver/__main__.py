"""`palaver`, and `python -m palaver`."""

import sys

from palaver.runtime.lean_imports import lean_imports

# How `palaver up` starts a service: `palaver NAME --with-parent PID`
WITH_PARENT = "--with-parent"


def main() -> None:
    """Runs a service for `palaver up`, or what the command line says."""
    words = sys.argv[1:]
    if len(words) == 3 and words[1] == WITH_PARENT:
        # Without the command line's libraries
        with lean_imports():
            from palaver.service_process import run_child
        run_child(words[0], int(words[2]))
        return
    with lean_imports():
        from palaver.cli import main as run_command_line
    run_command_line()


if __name__ == "__main__":
    main()
