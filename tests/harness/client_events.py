"""Frames for tests."""

from palaver.contracts.frames import Hello, Message, Sent

ME = "me"
HELLO = Hello(ME, "session", "2026-01-01T00:00:00.000000Z")


def message(
    seq: int,
    chat: str = "A",
    *,
    sender: str = "other",
    client_id: str = "",
    edit: int = 0,
    deleted: bool = False,
) -> Message:
    """A message; `edit` counts its edits."""
    at = f"2026-01-01T00:00:{edit:02}.000000Z" if edit else None
    return Message(
        chat,
        seq,
        f"id-{chat}-{seq}",
        sender,
        client_id or f"{chat}-{seq}",
        "" if deleted else f"text {seq} {edit}",
        "2026-01-01T00:00:00.000000Z",
        None if deleted else at,
        at if deleted else None,
    )


def sent(seq: int, client_id: str, chat: str = "A") -> Sent:
    """An acknowledgement."""
    return Sent(client_id, chat, seq, f"id-{chat}-{seq}", "2026-01-01T00:00:00.000000Z")
