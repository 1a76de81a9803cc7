"""What a gateway remembers to have passed on."""

from palaver.gateway.upstream.delivered import MARGIN_US, REMEMBER_US, Delivered

CHAT = bytes(16)
MINUTE_US = 60_000_000


def test_what_was_passed_on_is_remembered_for_longer_than_may_be_told_again() -> None:
    """Messages would come twice after a break, or the memory of them would grow for ever."""
    passed_on = Delivered()
    passed_on.pass_time(MINUTE_US)
    passed_on.note(CHAT, 7)
    passed_on.pass_time(MINUTE_US + MARGIN_US)
    assert passed_on.last_seq(CHAT) == 7
    passed_on.pass_time(MINUTE_US + REMEMBER_US + 1)
    assert passed_on.last_seq(CHAT) == 7
    passed_on.pass_time(MINUTE_US + 2 * REMEMBER_US + 2)
    assert passed_on.last_seq(CHAT) == 0
