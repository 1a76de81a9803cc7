"""Who has an open socket, in Redis: one set of users a replica, which ends unless the replica renews it.

The users of a replica are one key with one time to live, so that renewing all is one command; and who is
present is asked of all replicas' keys at once.
"""

import asyncio
import itertools
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from palaver.contracts.ids import new_id
from palaver.messenger.realtime.presence import LIFETIME_SECONDS
from palaver.runtime.redis.client import RedisAwayError, RedisClient
from palaver.runtime.telemetry.configuration import log

# What is in Redis is compared with what it should be this often
CHECK_SECONDS = 1.0
# After Redis, or what was in it, was gone: until all replicas have entered their users again
SETTLE_SECONDS = 3.0
USERS_AT_ONCE = 1_000
# Replicas come and go: whom to ask is looked up anew so often before an answer is given up
ATTEMPTS = 5
# Always in a replica's set: one without users would not exist
NOBODY = b""
# A replica may have come back meanwhile, and must not be forgotten then
FORGET_GONE = """
if redis.call('EXISTS', KEYS[1]) == 0 then redis.call('SREM', KEYS[2], ARGV[1]) end
"""


class RedisPresence:
    """The presence of replicas anywhere, for one or more replicas of this process. `run` keeps it.

    While Redis is away, and until everybody has entered their users again, nobody counts as gone. By `epoch`,
    a key without an end, a replica knows that the rest was there for as long: it ends with a Redis that was
    emptied or started again.
    """

    def __init__(
        self,
        client: RedisClient,
        lifetime_seconds: float = LIFETIME_SECONDS,
        settle_seconds: float = SETTLE_SECONDS,
    ) -> None:
        self._client = client
        self._lifetime_ms = int(lifetime_seconds * 1_000)
        self._settle_seconds = settle_seconds
        self._entered: dict[bytes, set[bytes]] = {}
        # Replicas whose set in Redis may be another than ours
        self._unsure: set[bytes] = set()
        # All that are known, wherever they are
        self._replicas: set[bytes] = set()
        self._epoch = b""
        self._settled_at: float | None = None
        self._has_returned = asyncio.Event()
        # A set that is written anew must not lose who comes meanwhile
        self._writing = asyncio.Lock()
        prefix = client.prefix + b"presence:"
        self._users_prefix = prefix + b"users:"
        self._replicas_key = prefix + b"replicas"
        self._epoch_key = prefix + b"epoch"

    async def enter(self, replica: bytes, user_ids: Iterable[bytes]) -> None:
        """See `Presence.enter`."""
        async with self._writing:
            entered = self._entered.setdefault(replica, set())
            new = set(user_ids) - entered
            entered |= new
            await self._change(replica, "SADD", new)

    async def leave(self, replica: bytes, user_ids: Iterable[bytes]) -> None:
        """See `Presence.leave`."""
        async with self._writing:
            entered = self._entered.setdefault(replica, set())
            gone = entered.intersection(user_ids)
            entered -= gone
            if gone:
                await self._change(replica, "SREM", gone)

    async def present(self, user_ids: Iterable[bytes]) -> set[bytes]:
        """See `Presence.present`. Everybody, while it is not known who is."""
        wanted = list(user_ids)
        try:
            found = await self._find(wanted) if wanted else set()
        except RedisAwayError:
            self._doubt()
            return set(wanted)
        return found if self._is_settled() else set(wanted)

    async def returned(self) -> None:
        """See `Presence.returned`."""
        await self._has_returned.wait()
        self._has_returned.clear()

    async def run(self) -> None:
        """Keeps what is in Redis until cancelled."""
        while True:
            await asyncio.sleep(CHECK_SECONDS)
            try:
                for replica in list(self._entered):
                    async with self._writing:
                        await self._check(replica)
                await self._forget_gone()
            except RedisAwayError:
                self._doubt()
                continue
            except Exception:
                log.exception("presence_not_kept")
            if self._settled_at is not None and self._is_settled():
                self._settled_at = None
                self._has_returned.set()

    # ---- what is known ----

    def _doubt(self) -> None:
        self._settled_at = asyncio.get_running_loop().time() + self._settle_seconds

    def _is_settled(self) -> bool:
        return self._settled_at is None or asyncio.get_running_loop().time() >= self._settled_at

    def _note_epoch(self, epoch: bytes) -> None:
        if epoch != self._epoch:
            self._epoch = epoch
            self._unsure.update(self._entered)
            self._doubt()

    async def _find(self, wanted: Sequence[bytes]) -> set[bytes]:
        present: set[bytes] = set()
        for some in parts(wanted):
            present |= await self._find_some(some)
        return present

    async def _find_some(self, wanted: Sequence[bytes]) -> set[bytes]:
        for _ in range(ATTEMPTS):
            asked = sorted(self._replicas)

            def fill(pipeline: Any, asked: Sequence[bytes] = asked) -> None:
                self._add_view(pipeline)
                for replica in asked:
                    pipeline.execute_command("SMISMEMBER", self._users_prefix + replica, *wanted)

            view, replies = self._read_view(await self._client.run(fill))
            if view.issubset(asked):
                return set(itertools.chain(*(itertools.compress(wanted, reply) for reply in replies)))
        raise RedisAwayError

    def _add_view(self, pipeline: Any) -> None:
        """Whom to ask, and whether what they have entered was kept."""
        pipeline.set(self._epoch_key, new_id(), nx=True)
        pipeline.get(self._epoch_key)
        pipeline.smembers(self._replicas_key)

    def _read_view(self, replies: Sequence[Any]) -> tuple[set[bytes], Sequence[Any]]:
        """The replicas, and the replies behind those of `_add_view`."""
        _, epoch, replicas, *rest = replies
        self._note_epoch(epoch)
        self._replicas = set(replicas)
        return self._replicas, rest

    # ---- what is entered ----

    async def _change(self, replica: bytes, command: str, user_ids: Collection[bytes]) -> None:
        """Changes a replica's set, and renews it. What fails is entered with all else later."""
        key = self._users_prefix + replica
        try:
            for some in parts(user_ids) or [[]]:

                def fill(pipeline: Any, some: Sequence[bytes] = some) -> None:
                    if some:
                        pipeline.execute_command(command, key, *some)
                    pipeline.sadd(key, NOBODY)
                    pipeline.pexpire(key, self._lifetime_ms)
                    pipeline.sadd(self._replicas_key, replica)

                await self._client.run(fill)
        except RedisAwayError:
            self._unsure.add(replica)
            self._doubt()

    async def _check(self, replica: bytes) -> None:
        """Renews a replica's set, and enters it anew where it is not what it should be."""
        key = self._users_prefix + replica

        def fill(pipeline: Any) -> None:
            self._add_view(pipeline)
            pipeline.pexpire(key, self._lifetime_ms)
            pipeline.scard(key)

        view, (_, found) = self._read_view(await self._client.run(fill))
        if replica in self._unsure or replica not in view or found != len(self._entered[replica]) + 1:
            await self._enter_all(replica)

    async def _enter_all(self, replica: bytes) -> None:
        """Enters a replica's users under another key, which then takes the place of the first: nobody is
        missing meanwhile."""
        key = self._users_prefix + replica
        next_key = key + b":next"
        await self._client.run(lambda pipeline: pipeline.unlink(next_key))
        *first, last = parts([NOBODY, *self._entered[replica]])
        for some in first:
            await self._client.run(lambda pipeline, some=some: pipeline.sadd(next_key, *some))  # type: ignore[misc] # a default is no parameter

        def fill(pipeline: Any) -> None:
            pipeline.sadd(next_key, *last)
            pipeline.pexpire(next_key, self._lifetime_ms)
            pipeline.rename(next_key, key)
            pipeline.sadd(self._replicas_key, replica)

        await self._client.run(fill)
        self._unsure.discard(replica)

    async def _forget_gone(self) -> None:
        """Replicas whose sets have ended are asked no more."""
        gone = sorted(self._replicas - self._entered.keys())
        if gone:
            await self._client.run(
                lambda pipeline: [
                    pipeline.eval(FORGET_GONE, 2, self._users_prefix + replica, self._replicas_key, replica)
                    for replica in gone
                ]
            )


def parts(user_ids: Iterable[bytes]) -> list[list[bytes]]:
    """Users, so many at once as one command takes."""
    users = list(user_ids)
    return [users[start : start + USERS_AT_ONCE] for start in range(0, len(users), USERS_AT_ONCE)]
