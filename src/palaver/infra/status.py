"""How an engine is, whichever way it runs."""

from collections.abc import Callable
from dataclasses import dataclass

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class EngineStatus:
    """One engine as it is. `version` is empty where it does not answer; `data_bytes` is None in Docker."""

    name: str
    runs: bool
    ports: tuple[int, ...]
    version: str = ""
    complaint: str = ""
    pid: int | None = None
    container: str = ""
    data_bytes: int | None = None

    @property
    def answers(self) -> bool:
        """Whether it runs, and answers with its passwords."""
        return bool(self.version)

    def line(self) -> str:
        """It, for a terminal."""
        size = None if self.data_bytes is None else f"{self.data_bytes / 2**20:.1f} MiB of data"
        if not self.runs:
            return joined(self.name, "does not run", size)
        process = f"container {self.container[:12]}" if self.pid is None else f"process {self.pid}"
        state = f"version {self.version}" if self.answers else f"does not answer: {self.complaint}"
        return joined(self.name, process, f"port {'/'.join(map(str, self.ports))}", state, size)


def joined(name: str, *parts: str | None) -> str:
    """A line of what there is to say."""
    return f"{name:<20} {', '.join(part for part in parts if part)}"
