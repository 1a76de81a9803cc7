"""Receipts of a chat's members, as far as a page of its history needs them."""

from collections.abc import Iterable
from typing import Any

from sqlalchemy import Connection, bindparam, select

from palaver.messenger.domain import Receipt
from palaver.messenger.store.schema import members
from palaver.runtime.sql.compiled_query import Query

_receipts = select(members.c.user_id, members.c.received_seq, members.c.read_seq).where(
    members.c.chat_id == bindparam("chat_id")
)
_present = _receipts.where(members.c.left_seq.is_(None))
_of_both = Query(_present)
_own = Query(_receipts.where(members.c.user_id == bindparam("user_id")))
_least_received = Query(_present.order_by(members.c.received_seq).limit(2))
_least_read = Query(_present.order_by(members.c.read_seq).limit(2))


def read_receipts(
    connection: Connection, chat_id: bytes, user_id: bytes, *, direct: bool, left: bool
) -> list[Receipt]:
    """Receipts among which are the least two of all members, by received and by read seq.

    Somebody who left gets their own: how far others come later is not theirs to know.
    """
    given = {"chat_id": chat_id}
    rows: Iterable[tuple[Any, ...]]
    if left:
        rows = _own.rows(connection, {**given, "user_id": user_id})
    elif direct:
        rows = _of_both.rows(connection, given)
    else:
        # A set, since one member may be the least by both
        rows = {*_least_received.rows(connection, given), *_least_read.rows(connection, given)}
    return [Receipt(*row) for row in rows]
