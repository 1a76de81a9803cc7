"""A message's way as people read it: who sent it, when it was journalled, who was told, who has read it.

A story is the plain data that `--json` prints too: `message` as the journal has it, with its `members`, and
`told`, one entry a socket. Ids are text, times RFC 3339.
"""

from collections.abc import Sequence
from typing import Any

from palaver.watch.terminal import Line, Piece, printable
from palaver.watch.text import service_style

# Of a large group; all are in the JSON
MOST_MEMBERS = 50
MOST_TOLD = 50

Story = dict[str, Any]


def draw_message(story: Story) -> list[Line]:
    """The rows of a message's story. There is no text in it."""
    rows = [
        ("id", story["id"]),
        ("client id", story["client_id"]),
        ("sender", person(story["sender"])),
        ("journalled", story["journalled_at"]),
        ("edited", story["edited_at"]),
        ("deleted", story["deleted_at"]),
        ("trace", story["trace_id"] or "none: traces were off when it was sent"),
    ]
    head = f"Message {story['seq']} of the {story['kind']} chat {story['chat_id']}"
    drawn: list[Line] = [[Piece(head, "bold")]]
    drawn += [[Piece(f"  {name:<11} ", "dim"), Piece(value)] for name, value in rows if value]
    return [*drawn, *draw_members(story["members"]), *draw_told(story["told"])]


def person(one: dict[str, Any]) -> str:
    """A name, where it is known, and the id."""
    return f"{printable(one['name'])} ({one['user_id']})" if one["name"] else str(one["user_id"])


def draw_members(members: Sequence[dict[str, Any]]) -> list[Line]:
    """Who has received and read it."""
    others = [member for member in members if not member["is_sender"] and not member["left_before"]]
    received = sum(member["received"] for member in others)
    read = sum(member["read"] for member in others)
    head = f"received by {received:,}, read by {read:,} of {len(others):,} others"
    drawn: list[Line] = [[], [Piece("Members ", "bold"), Piece(head)]]
    for member in members[:MOST_MEMBERS]:
        word, style = standing(member)
        drawn.append([Piece(f"  {word:<14} ", style), Piece(person(member))])
    return [*drawn, *rest(len(members) - MOST_MEMBERS)]


def standing(member: dict[str, Any]) -> tuple[str, str]:
    """What a member is to the message, and its style."""
    if member["is_sender"]:
        return "sender", "cyan"
    if member["left_before"]:
        return "had left", "dim"
    if member["joined_later"]:
        return "joined later", "dim"
    if member["read"]:
        return "has read", "green"
    return ("has received", "yellow") if member["received"] else ("not received", "red")


def draw_told(told: Sequence[dict[str, Any]]) -> list[Line]:
    """Which sockets got it, and when."""
    if not told:
        return [[], [Piece("Told to ", "bold"), Piece("no socket, as far as spans are kept")]]
    sockets = "socket" if len(told) == 1 else "sockets"
    drawn: list[Line] = [[], [Piece("Told to ", "bold"), Piece(f"{len(told):,} {sockets}")]]
    drawn += [telling(one) for one in told[:MOST_TOLD]]
    return [*drawn, *rest(len(told) - MOST_TOLD)]


def telling(one: dict[str, Any]) -> Line:
    """One socket that was told."""
    return [
        Piece(f"  {one['at']} "),
        Piece(f"{printable(one['service'])} ", service_style(one["service"])),
        Piece(f"socket {one['socket']} ({printable(one['generation'])}) of {person(one)}"),
        Piece(f" session {printable(one['session_id'])}", "dim"),
        Piece(" on resume" if one["on_resume"] else "", "yellow"),
    ]


def rest(more: int) -> list[Line]:
    """Says how many rows were left out."""
    return [[Piece(f"  … and {more:,} more (all with --json)", "dim")]] if more > 0 else []
