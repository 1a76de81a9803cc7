"""Child processes of a test: one way to start them, to wait until they are ready, and to end them."""

import os
import re
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tests.harness.waiting import START_SECONDS, wait_until

STOP_SECONDS = 30.0


@dataclass
class ChildProcess:
    """A process whose output goes to a file."""

    process: "subprocess.Popen[bytes]"
    output_file: Path

    @classmethod
    def start(
        cls,
        command: Sequence[str],
        output_file: Path,
        variables: Mapping[str, str] | None = None,
        *,
        own_session: bool = False,
        directory: Path | None = None,
    ) -> Self:
        """Starts a command with the tests' environment less Palaver's settings, and with `variables`, in
        `directory` or else in the tests' own."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PALAVER_")}
        with output_file.open("wb") as output:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**environment, **(variables or {})},
                start_new_session=own_session,
                cwd=directory,
            )
        return cls(process, output_file)

    @property
    def output(self) -> str:
        """All that it has printed so far, errors included."""
        return self.output_file.read_text(errors="replace")

    def wait_for(self, pattern: str, seconds: float = START_SECONDS) -> "re.Match[str]":
        """The first match of a regular expression in its output.

        Raises `AssertionError` where the process ends without one, or prints none in `seconds`.
        """
        wait_until(
            lambda: re.search(pattern, self.output, re.MULTILINE) or self.process.poll() is not None,
            f"{pattern!r} in {self.output_file}",
            seconds,
        )
        found = re.search(pattern, self.output, re.MULTILINE)
        assert found, f"{self.process.args!r} ended without {pattern!r}:\n{self.output}"
        return found

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Ends it by a signal. Returns its exit code. Raises `TimeoutExpired` where it had to be killed."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
