"""What `palaver chat` shows."""

import io

from rich.console import Console

from palaver.client.models import User
from palaver.client.terminal import Screen
from palaver.contracts.frames import Message, Presence
from tests.harness.client_events import ME, message


def shown(*events: Message | Presence) -> list[str]:
    """The lines on a screen."""
    bob = User("other", "bob@x.org", "Bob", "Tallor", "2000-01-01", "male", "", "", "")
    output = io.StringIO()
    screen = Screen(Console(file=output, width=80), ME, bob)
    for event in events:
        screen.show(event)
    return output.getvalue().splitlines()


def with_text(text: str) -> Message:
    """A message of Bob's."""
    found = message(1)
    found.text = text
    return found


def test_messages_are_shown_with_who_and_how() -> None:
    """Nobody would know who said what, or that it was changed."""
    lines = shown(message(1), message(2, sender=ME, edit=1), message(3, edit=1, deleted=True))
    assert [line[6:] for line in lines] == ["Bob: text 1 0", "you: text 2 1 (edited)", "Bob: (deleted)"]


def test_a_message_can_not_command_the_terminal() -> None:
    """A message could clear the screen, retitle the window or fake what others said."""
    [line] = shown(with_text("\x1b[2J\x07[bold]hi\r\x9b"))
    assert line[6:] == "Bob: \ufffd[2J\ufffd[bold]hi\ufffd\ufffd"


def test_only_the_companions_presence_is_shown() -> None:
    """A stranger's coming would look like the companion's."""
    assert shown(Presence("other", True), Presence("stranger", False)) == ["Bob is here"]
