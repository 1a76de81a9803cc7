"""The original walkthrough's commands, and a terminal to type them into."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import uuid
from pathlib import Path
from queue import Queue

REPOSITORY = Path(__file__).parents[2]
ORIGINAL = REPOSITORY.parent / "shared" / "reference" / "walkthrough.ru.md"
COPY = Path(__file__).parent / "walkthrough_commands.txt"
SEPARATOR = "----\n"
WAIT_SECONDS = 20.0


def blocks_of_page(page: str) -> list[str]:
    """The page's commands and frames: its blocks of `shell script`, as they stand."""
    return re.findall(r"^```shell script\n(.*?)^```", page, re.DOTALL | re.MULTILINE)


def walkthrough_blocks() -> list[str]:
    """The original's blocks where it is at hand, else the copies here."""
    if ORIGINAL.exists():
        return blocks_of_page(ORIGINAL.read_text(encoding="utf-8"))
    return COPY.read_text(encoding="utf-8").split(SEPARATOR)


def expand(block: str, variables: dict[str, str]) -> str:
    """A block with `${NAME}` replaced, as who types it into a program does."""
    return re.sub(r"\$\{(\w+)\}", lambda found: variables[found[1]], block)


class Terminal:
    """One bash session. What is typed goes to bash, or to the program that it runs in the foreground."""

    def __init__(self) -> None:
        tools = Path(sys.executable).parent
        self.bash = subprocess.Popen(
            ["bash", "--noprofile", "--norc"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}", "LC_ALL": "C.UTF-8"},
            text=True,
            bufsize=1,
            start_new_session=True,
        )
        self._lines: Queue[str] = Queue()
        self.errors: list[str] = []
        self._threads = [
            threading.Thread(target=self._read_lines, daemon=True),
            threading.Thread(target=self._read_errors, daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def type(self, text: str) -> None:
        """Types lines."""
        assert self.bash.stdin is not None
        self.bash.stdin.write(text if text.endswith("\n") else text + "\n")
        self.bash.stdin.flush()

    def read_line(self) -> str:
        """The next line of output, without its end."""
        return self._lines.get(timeout=WAIT_SECONDS)

    def run(self, block: str) -> str:
        """Types commands, and gives what they print."""
        mark = f"mark {uuid.uuid4()}"
        self.type(f"{block}\nprintf '\\n%s\\n' '{mark}'")
        printed: list[str] = []
        while (line := self.read_line()) != mark:
            printed.append(line)
        return "\n".join(printed).strip()

    def variable(self, name: str) -> str:
        """The value of an exported variable."""
        return self.run(f"printenv {name}")

    def close(self) -> None:
        """Ends the session, and what runs in it."""
        assert self.bash.stdin is not None
        assert self.bash.stdout is not None
        assert self.bash.stderr is not None
        with contextlib.suppress(BrokenPipeError):
            self.bash.stdin.close()
        # websocat goes on reading its socket behind the end of its input. The whole group gets the signal: a
        # list of children would name some that end before their turn. The group is there until bash is reaped
        os.killpg(self.bash.pid, signal.SIGTERM)
        try:
            self.bash.wait(WAIT_SECONDS)
        finally:
            if self.bash.returncode is None:
                os.killpg(self.bash.pid, signal.SIGKILL)
                self.bash.wait()
            for thread in self._threads:
                thread.join(WAIT_SECONDS)
            self.bash.stdout.close()
            self.bash.stderr.close()

    def _read_lines(self) -> None:
        assert self.bash.stdout is not None
        for line in self.bash.stdout:
            self._lines.put(line.removesuffix("\n"))

    def _read_errors(self) -> None:
        assert self.bash.stderr is not None
        self.errors.extend(self.bash.stderr)
