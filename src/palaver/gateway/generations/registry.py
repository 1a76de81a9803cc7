"""The generations of the public API: one object each, and who owns a path.

Middleware, errors, OpenAPI, handshakes and metrics read the registry, so that one more generation is one more
object in it.
"""

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, TypeVar

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from palaver.gateway.http.error_shape import ErrorShape
from palaver.gateway.sockets.commands import FrameCodec
from palaver.gateway.sockets.upgrade import HandshakeRequest
from palaver.gateway.sockets.websocket import WebSocket

T = TypeVar("T")


class FastAnswer(NamedTuple):
    """How a plain request is answered without the router. `route`: the template of its path."""

    route: str
    respond: Callable[[Request], Awaitable[Response]]


# The path and the query of a GET; None for a request that the router must look at
FastPath = Callable[[str, bytes], FastAnswer | None]


@dataclass(frozen=True, slots=True)
class LargeBodies:
    """Where bodies may be as large as the settings allow: at which paths, and how a caller is authenticated
    before more than a little of one is read. `authenticate` raises as a route does."""

    path: re.Pattern[str]
    authenticate: Callable[[Request], Awaitable[object]]


@dataclass(frozen=True, slots=True, eq=False)
class Generation:
    """One public API.

    name: in metrics, lines and spans.
    tag: as OpenAPI lists it; operations of the router carry its name.
    paths, prefixes: what it owns; a whole path goes before a prefix, a longer prefix before a shorter one.
    errors: the shape of its errors; `error_schemas` describes them, by the names that its routes refer to.
    schema_prefix: distinguishes its schemas from those of the same name in other generations.
    response_headers: OpenAPI's header objects of what all its answers carry.
    requires_json: whether a body must be declared as JSON; it is taken for JSON in either case.
    large_bodies: where they may be large; None: nowhere.
    sockets: the paths at which its sockets open, each with the codec of their frames.
    """

    name: str
    tag: Mapping[str, str]
    router: APIRouter
    errors: ErrorShape
    paths: frozenset[str] = frozenset()
    prefixes: tuple[str, ...] = ()
    error_schemas: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    schema_prefix: str = ""
    response_headers: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    requires_json: bool = True
    fast_path: FastPath | None = None
    large_bodies: LargeBodies | None = None
    sockets: Mapping[str, FrameCodec] = field(default_factory=dict)


class Fallback(Protocol):
    """Takes requests and upgrades whose path no generation owns."""

    @property
    def name(self) -> str:
        """Its name in metrics, lines and spans."""
        ...

    @property
    def errors(self) -> ErrorShape:
        """The shape of its errors."""
        ...

    def owns(self, path: str) -> bool:
        """Whether it takes a path; those behind it see only what it does not take."""
        ...

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves a request as an ASGI application. No rule of sizes or JSON has been applied to its body."""
        ...

    async def upgrade(self, request: HandshakeRequest) -> WebSocket | bytes:
        """The connection that an upgrade opens, or the HTTP answer that refuses it. Raises `PalaverError`."""
        ...


class GenerationRegistry:
    """All generations, and behind them the fallbacks in order; the last one must own every path.

    Raises `ValueError` where two generations own one path, prefix or socket path.
    """

    def __init__(self, generations: Sequence[Generation], fallbacks: Sequence[Fallback]) -> None:
        self.generations = tuple(generations)
        self._fallbacks = tuple(fallbacks)
        self._by_path = by_key((path, one) for one in generations for path in one.paths)
        by_prefix = by_key((prefix, one) for one in generations for prefix in one.prefixes)
        longest_first = sorted(by_prefix, key=len, reverse=True)
        # One expression, because every request passes here up to three times
        self._prefix = re.compile("|".join(f"({re.escape(prefix)})" for prefix in longest_first))
        self._by_group = [by_prefix[prefix] for prefix in longest_first]
        self._codecs = by_key(entry for one in generations for entry in one.sockets.items())

    def owner_of(self, path: str) -> Generation | Fallback:
        """Who answers a path, if only with an error."""
        return self.generation_of(path) or self.fallback_of(path)

    def generation_of(self, path: str) -> Generation | None:
        """The generation that owns a path, if one does."""
        found = self._by_path.get(path)
        if found is not None:
            return found
        match = self._prefix.match(path)
        return self._by_group[match.lastindex - 1] if match is not None and match.lastindex else None

    def fallback_of(self, path: str) -> Fallback:
        """The fallback that takes a path which no generation owns."""
        return next(fallback for fallback in self._fallbacks if fallback.owns(path))

    def name_of(self, path: str) -> str:
        """The name of the owner of a path, as metrics know it."""
        return self.owner_of(path).name

    def codec_at(self, path: str) -> FrameCodec | None:
        """The codec of the sockets that open at a path, if any do."""
        return self._codecs.get(path)

    def socket_paths(self) -> Iterable[str]:
        """The paths at which sockets open."""
        return self._codecs.keys()


def by_key(entries: Iterable[tuple[str, T]]) -> dict[str, T]:
    """The entries as a dictionary. Raises `ValueError` where two have one key."""
    found: dict[str, T] = {}
    for key, value in entries:
        if key in found:
            raise ValueError(f"two generations own {key}")
        found[key] = value
    return found
