"""gRPC messages in a stream of bytes: a flag, four bytes of length, the message."""

import struct

import grpc

HEAD = struct.Struct(">BI")


class StatusError(grpc.RpcError):
    """What a call ends with, where no error of the catalogue says it."""

    def __init__(self, status: grpc.StatusCode, text: str) -> None:
        super().__init__(f"{status.name}: {text}")
        self.status = status
        self.text = text


def encode_message(message: bytes) -> bytes:
    """A message's bytes, not compressed."""
    return HEAD.pack(0, len(message)) + message


class MessageReader:
    """Takes bytes as they come, and gives whole messages."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        # Bytes while all came at once, which is the rule; else what has gathered
        self._bytes: bytes | bytearray = b""
        self._position = 0

    @property
    def is_within_message(self) -> bool:
        """Whether a message has begun that is not complete."""
        return self._position < len(self._bytes)

    def feed(self, data: bytes) -> None:
        """Takes what came."""
        if not self.is_within_message:
            self._bytes, self._position = data, 0
            return
        if not isinstance(self._bytes, bytearray):
            self._bytes = bytearray(self._bytes)
        del self._bytes[: self._position]
        self._position = 0
        self._bytes += data

    def next(self) -> bytes | None:
        """The next message, if all of it is there. Raises `StatusError`."""
        start = self._position + HEAD.size
        if len(self._bytes) < start:
            return None
        flag, size = HEAD.unpack_from(self._bytes, self._position)
        if flag == 1:
            raise StatusError(grpc.StatusCode.UNIMPLEMENTED, "compressed messages are not taken")
        if flag:
            raise StatusError(grpc.StatusCode.INTERNAL, f"no message begins with {flag}")
        if size > self._most_bytes:
            raise StatusError(grpc.StatusCode.RESOURCE_EXHAUSTED, f"a message of {size} bytes")
        end = start + size
        if len(self._bytes) < end:
            return None
        self._position = end
        return bytes(self._bytes[start:end])
