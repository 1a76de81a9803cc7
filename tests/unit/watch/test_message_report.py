"""Drawing a message's report."""

from typing import Any

import click

from palaver.watch.message_report import MOST_MEMBERS, draw_message

ALICE = {"user_id": "id-a", "name": "Alice Liddell"}
BOB = {"user_id": "id-b", "name": ""}


def member(one: dict[str, Any], **more: bool) -> dict[str, Any]:
    """A member who has got nothing yet."""
    flags = ("is_sender", "joined_later", "left_before", "received", "read")
    return {**one, **dict.fromkeys(flags, False), **more}


def report(**more: Any) -> dict[str, Any]:
    """A message's report."""
    return {
        "chat_id": "id-chat",
        "seq": 7,
        "kind": "group",
        "id": "id-m",
        "client_id": "id-client",
        "sender": ALICE,
        "journalled_at": "2025-11-23T12:00:00.000000Z",
        "edited_at": None,
        "deleted_at": None,
        "trace_id": "",
        "members": [],
        "told": [],
        **more,
    }


def text(drawn: Any) -> list[str]:
    """Rows as a pipe gets them."""
    return [click.unstyle(row).rstrip() for row in drawn]


def test_a_report_names_who_when_and_to_whom() -> None:
    """An operator could not answer where a message is."""
    told = {"at": "2025-11-23T12:00:00.001000Z", "service": "gateway", "socket": 3, "generation": "v2"}
    drawn = text(
        draw_message(
            report(
                edited_at="2025-11-23T12:05:00.000000Z",
                trace_id="t",
                members=[
                    member(ALICE, is_sender=True, received=True, read=True),
                    member(BOB, received=True),
                    member(BOB, received=True, read=True),
                    member(BOB),
                    member(BOB, joined_later=True, received=True),
                    member(BOB, left_before=True),
                ],
                told=[{**told, **BOB, "session_id": "s", "on_resume": True}],
            )
        )
    )
    assert drawn == [
        "Message 7 of the group chat id-chat",
        "  id          id-m",
        "  client id   id-client",
        "  sender      Alice Liddell (id-a)",
        "  journalled  2025-11-23T12:00:00.000000Z",
        "  edited      2025-11-23T12:05:00.000000Z",
        "  trace       t",
        "",
        "Members received by 3, read by 1 of 4 others",
        "  sender         Alice Liddell (id-a)",
        "  has received   id-b",
        "  has read       id-b",
        "  not received   id-b",
        "  joined later   id-b",
        "  had left       id-b",
        "",
        "Told to 1 socket",
        "  2025-11-23T12:00:00.001000Z gateway socket 3 (v2) of id-b session s on resume",
    ]


def test_what_is_not_known_is_said() -> None:
    """Silence would be taken for a message that nobody got."""
    drawn = text(draw_message(report(deleted_at="2025-11-23T12:05:00.000000Z")))
    assert "  deleted     2025-11-23T12:05:00.000000Z" in drawn
    assert "  trace       none: traces were off when it was sent" in drawn
    assert drawn[-1] == "Told to no socket, as far as spans are kept"


def test_a_large_group_fits_a_terminal() -> None:
    """What matters would scroll away behind a thousand members."""
    drawn = text(draw_message(report(members=[member(BOB)] * 1_000)))
    assert drawn[-3] == f"  … and {1_000 - MOST_MEMBERS} more (all with --json)"
    assert len(drawn) < 80


def test_a_name_is_no_command_for_the_terminal() -> None:
    """A user's name could change what an operator sees."""
    evil = {"user_id": "id-e", "name": "\x1b[2J"}
    assert all(row.isprintable() for row in text(draw_message(report(members=[member(evil)], sender=evil))))
