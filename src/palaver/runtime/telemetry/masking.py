"""Takes out of what is written down what must not be there: the last defence, not the first."""

import re

# Looked for in lower case. Most lines have none of these, and are left alone after three microseconds
_SIGNS = (b"token", b"authorization", b"bearer", b"eyj", b"password", b"secret", b"cookie")
# What a client might put into a path or call itself; the rest of a span is ours. A third of the time
_SPAN_SIGNS = (b"token", b"eyJ")
_NAMES = rb"[\w.-]*(?:token|authorization|password|secret|cookie)"
# What is masked follows the first group, and never takes the quote with it that ends a JSON text
_PATTERNS = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        # A field of such a name: in JSON, in JSON inside of a JSON text, and as Python shows a dict
        rb'("' + _NAMES + rb'"\s*:\s*")(?:[^"\\]|\\.)+',
        rb'(\\"' + _NAMES + rb'\\"\s*:\s*\\")[^"\\]+',
        rb"('" + _NAMES + rb"'\s*:\s*b?')[^'\"\\]+",
        # A query: ?token=…, also where it is escaped
        rb"((?:\b|_|%3f|%26)token(?:=|%3d))[^\s&\"'\\#,;)\]}>]+",
        # A header as some library writes it: `Authorization: Bearer …`, `(b'authorization', b'Bearer …')`
        # Where the name is quoted the value is too: JSON's null and numbers stay what they are
        # A comma without a space is JSON's: behind it comes the next key
        rb"(\bauthorization(?:\\?['\"](?:\s*[:=]\s*|,\s+)b?\\?['\"]|\s*[:=,]\s*(?:b?\\?['\"])?)"
        rb"(?:(?:bearer|basic|digest)\s+)?)[^\s\"'\\,)}\]]+",
        rb"(\bbearer(?:\s|%20|\+)+)[\w.~+/=-]{16,}",
        # A JSON Web Token: the base64url of a header always begins so. A row of beginnings is not read to its
        # end from each of them: a path of `-eyJ-eyJ-eyJ…` took seconds
        rb"()(?:(?<![\w-])eyJ[\w-]{5,}+|\beyJ[\w-]{5,400}+)(?:\.[\w-]*){1,4}",
    )
)


def mask(line: bytes) -> bytes:
    """A line with `***` for tokens, `Authorization`, and values of fields that are named like secrets."""
    lower = line.lower()
    for sign in _SIGNS:
        if sign in lower:
            return mask_found(line)
    return line


def mask_spans(lines: bytes) -> bytes:
    """Spans with `***` for tokens."""
    for sign in _SPAN_SIGNS:
        if sign in lines:
            return mask_found(lines)
    return lines


def mask_found(text: bytes) -> bytes:
    """What matches a pattern is masked."""
    for pattern in _PATTERNS:
        text = pattern.sub(rb"\1***", text)
    return text
