"""What frames of a client's are answered by, as RFC 6455 has it: the Autobahn suite's groups 1 to 7 and 10.

v2's `ping` with an id is the echo. An answer is a text, a pong's payload as bytes, or a close code.
"""

import struct
from typing import Any

from tests.harness.raw_socket import BINARY, CLOSE, PING, PONG, TEXT, client_frame

CONTINUATION = 0
# In one frame, this is what the id of an echo lies in
AROUND = b'{"type":"ping","id":""}'
MOST_ECHOED = 256


def echo(text: str) -> bytes:
    """The payload that is answered with `text`."""
    return AROUND[:-2] + text.encode() + AROUND[-2:]


def echo_of(size: int) -> bytes:
    """A frame of so many bytes, all of which must be read for its answer."""
    text = echoed_of(size)
    return AROUND[:1] + b" " * (size - len(AROUND) - len(text)) + echo(text)[1:]


def echoed_of(size: int) -> str:
    """Its answer."""
    return "*" * min(size - len(AROUND), MOST_ECHOED)


def close(code: int | None = 1000, reason: bytes = b"") -> bytes:
    """A client's close frame."""
    return client_frame(CLOSE, (b"" if code is None else struct.pack("!H", code)) + reason)


def fragments(payload: bytes, size: int, opcode: int = TEXT) -> bytes:
    """A message in frames of `size` bytes."""
    pieces = [payload[at : at + size] for at in range(0, len(payload), size)]
    return b"".join(
        client_frame(CONTINUATION if number else opcode, piece, fin=number == len(pieces) - 1)
        for number, piece in enumerate(pieces)
    )


HELLO = "Hello-µ@ßöäüàá-UTF-8!!"
ODD = bytes([0x00, 0xFF, 0xFE, 0xFD, 0xFC, 0xFB, 0x00, 0xFF])

FRAMING: dict[str, tuple[bytes, list[Any]]] = {
    "1.1.1 an empty text": (client_frame(TEXT), ["malformed", 1000]),
    **{
        f"1.1 a text of {size}": (client_frame(TEXT, echo_of(size)), [echoed_of(size), 1000])
        for size in (125, 126, 127, 128, 65_535, 65_536)
    },
    **{
        f"1.2 binary data of {size}": (client_frame(BINARY, b"\xfe" * size), [1003])
        for size in (0, 125, 126, 127, 128, 65_535, 65_536)
    },
    "1.2 binary data in fragments": (fragments(b"\xfe" * 20, 10, BINARY), [1003]),
    "2.1 an empty ping": (client_frame(PING), [b"", 1000]),
    "2.2 a ping with text": (client_frame(PING, b"Hello, world!"), [b"Hello, world!", 1000]),
    "2.3 a ping with bytes": (client_frame(PING, ODD), [ODD, 1000]),
    "2.4 a ping of 125": (client_frame(PING, b"\xfe" * 125), [b"\xfe" * 125, 1000]),
    "2.5 a ping of 126": (client_frame(PING, b"\xfe" * 126), [1002]),
    "2.7 a pong nobody asked for": (client_frame(PONG), [1000]),
    "2.8 with a payload": (client_frame(PONG, b"unsolicited"), [1000]),
    "2.9 and a ping behind it": (
        client_frame(PONG, b"unsolicited") + client_frame(PING, b"ping"),
        [b"ping", 1000],
    ),
    "2.10 ten pings": (
        b"".join(client_frame(PING, b"payload-%d" % number) for number in range(10)),
        [*(b"payload-%d" % number for number in range(10)), 1000],
    ),
    "a pong of 126": (client_frame(PONG, b"x" * 126), [1002]),
    **{
        f"3 reserved bits {rsv} of opcode {opcode}": (client_frame(opcode, b"", rsv=rsv), [1002])
        for rsv in range(1, 8)
        for opcode in (TEXT, BINARY, CLOSE, PING, PONG)
    },
    **{
        f"3 reserved bits {rsv} behind a text": (
            client_frame(TEXT, echo("a"))
            + client_frame(TEXT, echo("b"), rsv=rsv)
            + client_frame(PING, b"behind"),
            ["a", 1002],
        )
        for rsv in (1, 2, 3, 4, 5, 6, 7)
    },
    "3 reserved bits of a fragment": (
        client_frame(TEXT, b'{"type"', fin=False) + client_frame(CONTINUATION, b"x", rsv=2),
        [1002],
    ),
    **{
        f"4 opcode {opcode}": (client_frame(opcode), [1002])
        for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)
    },
    **{
        f"4 opcode {opcode} with a payload behind a text": (
            client_frame(TEXT, echo("a")) + client_frame(opcode, b"payload") + client_frame(PING, b"behind"),
            ["a", 1002],
        )
        for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)
    },
    "5.1 a ping in fragments": (
        client_frame(PING, b"one", fin=False) + client_frame(CONTINUATION, b"two"),
        [1002],
    ),
    "5.2 a pong in fragments": (
        client_frame(PONG, b"one", fin=False) + client_frame(CONTINUATION, b"two"),
        [1002],
    ),
    "a close in fragments": (client_frame(CLOSE, struct.pack("!H", 1000), fin=False), [1002]),
    "5.3 a text in two fragments": (fragments(echo("ab"), 20), ["ab", 1000]),
    "5.6 a ping between them": (
        client_frame(TEXT, echo("ab")[:20], fin=False)
        + client_frame(PING, b"between")
        + client_frame(CONTINUATION, echo("ab")[20:]),
        [b"between", "ab", 1000],
    ),
    **{
        f"5.9 a continuation of nothing, last {fin}, behind a text {behind}": (
            (client_frame(TEXT, echo("a")) if behind else b"")
            + client_frame(CONTINUATION, b"non-continuation", fin=fin)
            + client_frame(TEXT, echo("b")),
            (["a"] if behind else []) + [1002],
        )
        for fin in (True, False)
        for behind in (True, False)
    },
    "5.15 a continuation behind a whole message": (
        fragments(echo("ab"), 20)
        + client_frame(CONTINUATION, b"fragment3", fin=False)
        + client_frame(TEXT, echo("b")),
        ["ab", 1002],
    ),
    "5.16 a continuation first, and again": (
        (client_frame(CONTINUATION, b"1", fin=False) + fragments(echo("ab"), 20)) * 2,
        [1002],
    ),
    "5.18 two starts": (
        client_frame(TEXT, b"fragment1", fin=False) + client_frame(TEXT, b"fragment2"),
        [1002],
    ),
    "binary data within a text": (
        client_frame(TEXT, b"fragment1", fin=False) + client_frame(BINARY, b"fragment2"),
        [1002],
    ),
    "5.19 five fragments and two pings": (
        client_frame(TEXT, echo("fragments")[:5], fin=False)
        + client_frame(CONTINUATION, echo("fragments")[5:10], fin=False)
        + client_frame(PING, b"one")
        + client_frame(CONTINUATION, b"", fin=False)
        + client_frame(CONTINUATION, echo("fragments")[10:25], fin=False)
        + client_frame(PING, b"two")
        + client_frame(CONTINUATION, echo("fragments")[25:]),
        [b"one", b"two", "fragments", 1000],
    ),
    "a length in more bytes than needed": (
        b"\x81\xfe\x00\x05" + bytes(4) + b"Hello",
        [1002],
    ),
    "a length in eight bytes where two do": (
        b"\x81\xff" + struct.pack("!Q", 65_535) + bytes(4) + b"x" * 65_535,
        [1002],
    ),
    "a length of 64 bits": (b"\x81\xff" + b"\xff" * 8 + bytes(4) + b"x", [1002]),
    "a frame without a mask": (client_frame(TEXT, echo("a"), masked=False), [1002]),
    "one behind a text": (client_frame(TEXT, echo("a")) + client_frame(PING, masked=False), ["a", 1002]),
    "a message that is too large": (client_frame(TEXT, b"x" * 262_145), [1009]),
    "one behind a text, in fragments": (
        client_frame(TEXT, echo("a")) + fragments(b"x" * 300_000, 100_000),
        ["a", 1009],
    ),
    "7.1.1 a text and a close": (client_frame(TEXT, echo("a")), ["a", 1000]),
    "7.1.2 two closes": (close() + close(), [1000]),
    "three closes of other codes": (close(1001) + close(1002) + close(4000), [1001]),
    "7.1.3 a ping behind the close": (close() + client_frame(PING), [1000]),
    "7.1.4 a text behind the close": (close() + client_frame(TEXT, echo("a")), [1000]),
    "7.1.5 a fragment behind the close": (
        client_frame(TEXT, b"fragment1", fin=False) + close() + client_frame(CONTINUATION, b"fragment2"),
        [1000],
    ),
    "7.1.6 a large text before the close": (
        client_frame(TEXT, echo_of(262_144)) + close() + client_frame(PING),
        [echoed_of(262_144), 1000],
    ),
    "nonsense behind the close": (close() + b"\xff" * 500, [1000]),
    "7.3.1 a close without a code": (close(None), [1000]),
    "7.3.2 a close of one byte": (client_frame(CLOSE, b"a"), [1002]),
    "7.3.3 a code alone": (close(), [1000]),
    "7.3.4 a code and a reason": (close(1000, b"Hello World!"), [1000]),
    "7.3.5 a reason of 123 bytes": (close(1000, b"*" * 123), [1000]),
    "7.3.6 a reason of 124 bytes": (close(1000, b"*" * 124), [1002]),
    "7.5.1 a reason that is no UTF-8": (close(1000, b"Hello-\xc2\xb5@\xc3\x9f\xed\xa0\x80edited"), [1007]),
    "a reason that is half a character": (close(1000, "µ".encode()[:1]), [1007]),
    "a reason in UTF-8": (close(1000, HELLO.encode()), [1000]),
    **{
        f"7.7 code {code}": (close(code), [code])
        for code in (
            1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999,
        )
    },
    **{
        f"7.9 code {code}": (close(code), [1002])
        for code in (
            0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 9999, 65_535,
        )
    },
    "7.9 code 1005 with a reason": (close(1005, b"no status"), [1002]),
    "10.1.1 a text in many fragments": (
        fragments(echo_of(65_536), 1_300),
        [echoed_of(65_536), 1000],
    ),
}  # fmt: skip

# Of Markus Kuhn's UTF-8 stress test, as in Autobahn's group 6
VALID_TEXTS = [
    HELLO,
    "κόσμε",
    "\x7f",
    "\u0080",
    "\u07ff",
    "\u0800",
    "\uffff",
    "\U00010000",
    "\U0010ffff",
    "\ud7ff",
    "\ue000",
    "\ufffd",
    "\ufffe",
    "\U0001fffe",
    "\U0008ffff",
    "\U0010fffe",
]
INVALID_TEXTS = [
    "κόσμε".encode() + b"\xed\xa0\x80edited",
    b"\xf8\x88\x80\x80\x80",
    b"\xfc\x84\x80\x80\x80\x80",
    b"\xf7\xbf\xbf\xbf",
    b"\xf4\x90\x80\x80",
    b"\x80",
    b"\xbf",
    b"\x80\xbf\x80\xbf",
    b"\xc0 \xc1 \xc2 ",
    b"\xe0 \xe1 ",
    b"\xf0 ",
    b"\xc0",
    b"\xe0\x80",
    b"\xf0\x80\x80",
    b"\xdf",
    b"\xef\xbf",
    b"\xce\xba\xe1\xbd",
    b"\xfe",
    b"\xff",
    b"\xc0\xaf",
    b"\xe0\x80\xaf",
    b"\xf0\x80\x80\xaf",
    b"\xc1\xbf",
    b"\xe0\x9f\xbf",
    b"\xf0\x8f\xbf\xbf",
    b"\xc0\x80",
    b"\xe0\x80\x80",
    b"\xed\xa0\x80",
    b"\xed\xaf\xbf",
    b"\xed\xbf\xbf",
    b"\xed\xa0\x80\xed\xb0\x80",
]
