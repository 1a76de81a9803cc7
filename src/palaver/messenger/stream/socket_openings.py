"""The sockets that gateways open on their streams: whose they are, and since when."""

from collections.abc import Iterable

from palaver.contracts.errors import INVALID, OVERLOADED, UNAUTHENTICATED, PalaverError
from palaver.contracts.messenger_pb2 import SocketOpen
from palaver.contracts.times import now_us
from palaver.messenger.authentication import TOKEN_CHARACTERS
from palaver.messenger.realtime.engine import Engine
from palaver.messenger.realtime.gateway_connection import GatewayConnection, Socket
from palaver.messenger.store.proof_key import read_proof_key
from palaver.messenger.stream.checks import MOST_SOCKETS
from palaver.messenger.stream.opening_proofs import OpeningProofs
from palaver.runtime.sql.database import Database
from palaver.runtime.tokens import Claims, TokenVerifier


class SocketOpenings:
    """Opens sockets. `session_seconds`: how long a session lives unless refreshed."""

    def __init__(
        self, engine: Engine, database: Database, verifier: TokenVerifier, session_seconds: float
    ) -> None:
        self._engine = engine
        self._database = database
        self._verifier = verifier
        self._session_seconds = session_seconds
        self._proofs: OpeningProofs | None = None

    async def open(self, gateway: GatewayConnection, openings: Iterable[SocketOpen]) -> None:
        """Opens sockets, and answers each.

        Users are read all at once: a gateway that comes from another replica brings hundreds in a batch.
        Raises `invalid` for a socket that is open.
        """
        if self._proofs is None:
            self._proofs = OpeningProofs(await self._database.read(read_proof_key), self._session_seconds)
        admitted: dict[int, tuple[Socket, SocketOpen]] = {}
        for opening in openings:
            if opening.socket in gateway.sockets or opening.socket in admitted:
                # Its first one would stay open for ever: nobody could close it any more
                raise PalaverError(INVALID, f"socket {opening.socket} is open", field="opens")
            socket = await self._admit(gateway, opening, len(gateway.sockets) + len(admitted))
            if socket is not None:
                admitted[opening.socket] = socket, opening
        await self._engine.follow_users([socket.user_id for socket, _ in admitted.values()])
        for socket, opening in admitted.values():
            self._open(socket, opening)

    async def _admit(self, gateway: GatewayConnection, opening: SocketOpen, sockets: int) -> Socket | None:
        """A socket whose token is good. None: it was refused."""
        try:
            claims, opened_at = await self._verify(opening, sockets)
        except PalaverError as error:
            gateway.outbox.opened.add(socket=opening.socket, error=error.kind.code)
            gateway.wake()
            return None
        return Socket(
            opening.socket,
            gateway,
            claims.user_id,
            claims.session_id,
            opened_at,
            opening.implicit_receipts,
        )

    def _open(self, socket: Socket, opening: SocketOpen) -> None:
        gateway = socket.gateway
        self._engine.open_socket(socket, new=not opening.opened_at)
        assert self._proofs is not None
        proof = self._proofs.prove(opening.token, socket.opened_at)
        opened = gateway.outbox.opened.add(socket=socket.number, opened_at=socket.opened_at, proof=proof)
        for writer, number in self._engine.followed.known.items():
            opened.opened_after.add(writer=writer, number=number)
        gateway.wake()

    async def _verify(self, opening: SocketOpen, sockets: int) -> tuple[Claims, int]:
        """Whose socket it is, and since when. `sockets`: how many its gateway has. Raises what the verifier
        raises, and `overloaded`."""
        if sockets >= MOST_SOCKETS:
            raise PalaverError(OVERLOADED)
        if len(opening.token) > TOKEN_CHARACTERS:
            raise PalaverError(UNAUTHENTICATED)
        assert self._proofs is not None
        now = now_us()
        if self._proofs.is_proven(opening.token, opening.opened_at, opening.proof, now):
            # Its token may have expired meanwhile; it was good when the socket was opened, and ended sessions
            # lose their sockets at the gateway
            return await self._verifier.verify(opening.token, opening.opened_at / 1e6), opening.opened_at
        return await self._verifier.verify(opening.token), now
