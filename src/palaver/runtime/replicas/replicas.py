"""The replicas of one service: found by the entries of a setting, and chosen by how they answered."""

import asyncio
from collections.abc import Sequence

from prometheus_client import Gauge

from palaver.runtime.replicas.addresses import Address, Entry, address_at, look_up, read_entries
from palaver.runtime.replicas.failures import Failures
from palaver.runtime.telemetry.configuration import log
from palaver.runtime.telemetry.error_texts import error_text

# Names are looked up again so often, while somebody calls
LOOKUP_SECONDS = 5.0
# The same while no address is known
SEARCH_SECONDS = 0.5
# The first call waits no longer for them
FIRST_LOOKUP_SECONDS = 2.0
# More are passed over: each has a connection, and a value of a label
MOST_REPLICAS = 64

_up = Gauge(
    "palaver_replica_up",
    "1: the replica answered last time; 0: it did not. One a replica that is known now.",
    ["service", "target"],
)


class Replicas:
    """All addresses of a service.

    `setting`: its entries, with commas between. `name`: the service's, for metrics and logs; empty: none.
    Names are looked up when somebody calls, and again while they do; a name that cannot be looked up keeps
    the addresses that it had. Raises `ValueError` for what is no address.
    """

    def __init__(self, setting: str, name: str = "") -> None:
        self.setting = setting
        self._entries = read_entries(setting)
        self._name = name
        self._failures = Failures()
        self._of_entry: dict[Entry, Sequence[Address]] = {
            entry: [] if entry.is_name else [address_at(entry, entry.host)] for entry in self._entries
        }
        self._names = [entry for entry in self._entries if entry.is_name]
        self._unknown: set[Entry] = set()
        self._looking: asyncio.Future[list[None]] | None = None
        self._looked_at = float("-inf")
        self.known: Sequence[Address] = []
        self._take()

    async def in_order(self) -> list[Address]:
        """All of them, the one to try first at the front. Empty: DNS has none, or does not answer."""
        if self._names:
            await self._keep_looking()
        return self._failures.in_order(self.known, asyncio.get_running_loop().time())

    def note_failure(self, address: Address) -> None:
        """A replica did not answer."""
        self._failures.note_failure(address, asyncio.get_running_loop().time())
        self._show(address, 0)

    def note_success(self, address: Address) -> None:
        """A replica answered."""
        self._failures.note_success(address)
        self._show(address, 1)

    def is_resting(self, address: Address) -> bool:
        """Whether a replica failed just now."""
        return self._failures.is_resting(address, asyncio.get_running_loop().time())

    @property
    def is_one(self) -> bool:
        """Whether there never is another one."""
        return not self._names and len(self.known) == 1

    def has_other(self, address: Address) -> bool:
        """Whether there is another one that did not fail just now."""
        return any(other != address and not self.is_resting(other) for other in self.known)

    # ---- names ----

    async def _keep_looking(self) -> None:
        loop = asyncio.get_running_loop()
        pause = LOOKUP_SECONDS if self.known else SEARCH_SECONDS
        if self._looking is None and loop.time() - self._looked_at >= pause:
            self._looked_at = loop.time()
            self._looking = asyncio.gather(*map(self._look_up, self._names))
            self._looking.add_done_callback(self._end_looking)
        if not self.known and self._looking is not None:
            # One name that hangs must not hide the addresses of another: those are taken as they come
            await asyncio.wait((self._looking,), timeout=FIRST_LOOKUP_SECONDS)

    def _end_looking(self, _: object) -> None:
        self._looking = None

    async def _look_up(self, entry: Entry) -> None:
        try:
            self._of_entry[entry] = await look_up(entry)
        except (OSError, UnicodeError) as error:
            if entry not in self._unknown:
                self._unknown.add(entry)
                log.warning("name_not_looked_up", name=entry.host, cause=error_text(error))
            return
        self._unknown.discard(entry)
        self._take()

    def _take(self) -> None:
        found = dict.fromkeys(address for entry in self._entries for address in self._of_entry[entry])
        known = list(found)[:MOST_REPLICAS]
        if len(found) > MOST_REPLICAS:
            log.warning("too_many_replicas", service=self._name, replicas=len(found), used=MOST_REPLICAS)
        gone = [address for address in self.known if address not in known]
        if self._name and (gone or len(known) > len(self.known)) and self.known:
            log.info("replicas_changed", service=self._name, targets=[address.text for address in known])
        self.known = known
        self._failures.forget_all_but(known)
        for address in gone:
            self._hide(address)

    def _show(self, address: Address, value: int) -> None:
        if self._name and address in self.known:
            _up.labels(self._name, address.text).set(value)

    def _hide(self, address: Address) -> None:
        if self._name:
            _up.remove(self._name, address.text)
