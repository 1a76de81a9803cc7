"""A message's way as people read it: who sent it, when it was journalled, who got it when, who has read it.

A report is the plain data that `--json` prints too: the message as the messenger has it, with its `members`,
and `told`, one entry a socket that it was delivered to. Ids are text, times RFC 3339.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import grpc

from palaver.contracts import messenger_pb2 as pb
from palaver.contracts.errors import UNAVAILABLE
from palaver.contracts.ids import text_from_id
from palaver.contracts.messenger_pb2_grpc import MessengerStub
from palaver.contracts.times import rfc3339
from palaver.runtime.grpc.errors import error_from_rpc, wire_error_of
from palaver.runtime.startup import StartError
from palaver.watch.terminal import Line, Piece, printable_row, service_piece
from palaver.watch.trace_reader import StoredEvent, StoredSpan

# Of a large group; all are in the JSON
MOST_MEMBERS = 50
MOST_DELIVERIES = 50
DEADLINE_SECONDS = 10.0
# The event of a span that delivers, and the span that delivers what was missed
DELIVERED = "told"
RESUME = "resume"

Report = dict[str, Any]


# ---- what the messenger knows ----


def inspect_message(target: str, chat_id: bytes, seq: int) -> pb.MessageInspection:
    """A message without its text, from the messenger at `target`. Raises `not_found`, and `StartError` where
    no messenger answers."""
    # A proxy of the environment is for the outer world
    with grpc.insecure_channel(target, (("grpc.enable_http_proxy", 0),)) as channel:
        stub: Any = MessengerStub(channel)  # type: ignore[no-untyped-call] # generated without types
        request = pb.InspectMessageRequest(chat_id=chat_id, seq=seq)
        try:
            found: pb.MessageInspection = stub.InspectMessage(request, timeout=DEADLINE_SECONDS)
        except grpc.RpcError as error:
            known: Any = error  # which has the methods of `AioRpcError`
            meant = error_from_rpc(known)
            if wire_error_of(known) is not None and meant.kind is not UNAVAILABLE:
                raise meant from None
            raise StartError(f"the messenger at {target} does not answer ({known.code().name})") from None
    return found


def report_of(found: pb.MessageInspection, spans: Iterable[StoredSpan]) -> Report:
    """The report of a message, with its deliveries as far as they are among the spans."""
    message = found.message
    chat_id, sender_id = text_from_id(message.chat_id), text_from_id(message.sender_id)
    names = {one["user_id"]: one["name"] for one in map(person, found.members)}
    return {
        "chat_id": chat_id,
        "seq": message.seq,
        "kind": "group" if found.group else "direct",
        "id": text_from_id(message.id),
        "client_id": text_from_id(message.client_id),
        "sender": {"user_id": sender_id, "name": names.get(sender_id, "")},
        "journalled_at": rfc3339(message.created_at),
        "edited_at": rfc3339(message.edited_at) if message.edited_at else None,
        "deleted_at": rfc3339(message.deleted_at) if message.deleted_at else None,
        "trace_id": message.trace_id,
        "members": [{**person(member), **progress(member, message)} for member in found.members],
        "told": [
            {**one, "at": rfc3339(one["at"] // 1000), "name": names.get(one["user_id"], "")}
            for one in deliveries_of(spans, chat_id, message.seq)
        ],
    }


def person(one: pb.InspectedMember) -> dict[str, str]:
    """A user. `name` is empty where it is not known."""
    return {"user_id": text_from_id(one.user_id), "name": f"{one.name} {one.surname}".strip()}


def progress(member: pb.InspectedMember, message: pb.Message) -> dict[str, bool]:
    """What a present or former member is to a message."""
    return {
        "is_sender": member.user_id == message.sender_id,
        # Who joins has received all that came before: it is history to them, and unread to nobody
        "joined_later": member.joined_at > message.created_at,
        "left_before": member.HasField("left_seq") and member.left_seq < message.seq,
        "received": member.received_seq >= message.seq,
        "read": member.read_seq >= message.seq,
    }


# ---- what spans know ----


def deliveries_of(spans: Iterable[StoredSpan], chat_id: str, seq: int) -> list[dict[str, Any]]:
    """When one message was written to which sockets, in the order of time. `at`: nanoseconds."""
    found = [
        delivery_of(span, event)
        for span in spans
        for event in span.events
        if event.name == DELIVERED and holds_message(span, event, chat_id, seq)
    ]
    return sorted(found, key=lambda one: int(one["at"]))


def holds_message(span: StoredSpan, event: StoredEvent, chat_id: str, seq: int) -> bool:
    """Whether that message is among what was delivered. A resume delivers many chats: its events name theirs
    themselves."""
    fields = event.attributes if "palaver.seq" in event.attributes else span.attributes
    first = fields.get("palaver.seq")
    if fields.get("palaver.chat_id") != chat_id or not isinstance(first, int):
        return False
    return first <= seq < first + number(fields, "messaging.batch.message_count", 1)


def delivery_of(span: StoredSpan, event: StoredEvent) -> dict[str, Any]:
    """Which socket an event names."""
    fields = event.attributes
    return {
        "at": event.at,
        "service": span.service,
        "socket": number(fields, "palaver.socket", 0),
        "generation": str(fields.get("palaver.generation", "")),
        "user_id": str(fields.get("user.id", "")),
        "session_id": str(fields.get("session.id", "")),
        "on_resume": span.name == RESUME,
    }


def number(fields: dict[str, Any], name: str, default: int) -> int:
    """An attribute that is a whole number."""
    found = fields.get(name)
    return found if isinstance(found, int) else default


# ---- drawing ----


def draw_message(report: Report) -> list[Line]:
    """The rows of a message's report. There is no text in it."""
    rows = [
        ("id", report["id"]),
        ("client id", report["client_id"]),
        ("sender", label(report["sender"])),
        ("journalled", report["journalled_at"]),
        ("edited", report["edited_at"]),
        ("deleted", report["deleted_at"]),
        ("trace", report["trace_id"] or "none: traces were off when it was sent"),
    ]
    head = f"Message {report['seq']} of the {report['kind']} chat {report['chat_id']}"
    drawn: list[Line] = [[Piece(head, "bold")]]
    drawn += [[Piece(f"  {name:<11} ", "dim"), Piece(value)] for name, value in rows if value]
    return [*drawn, *draw_members(report["members"]), *draw_deliveries(report["told"])]


def label(one: dict[str, Any]) -> str:
    """A name, where it is known, and the id."""
    return f"{printable_row(one['name'])} ({one['user_id']})" if one["name"] else str(one["user_id"])


def draw_members(members: Sequence[dict[str, Any]]) -> list[Line]:
    """Who has received and read it."""
    others = [member for member in members if not member["is_sender"] and not member["left_before"]]
    received = sum(member["received"] for member in others)
    read = sum(member["read"] for member in others)
    head = f"received by {received:,}, read by {read:,} of {len(others):,} others"
    drawn: list[Line] = [[], [Piece("Members ", "bold"), Piece(head)]]
    for member in members[:MOST_MEMBERS]:
        word, style = standing(member)
        drawn.append([Piece(f"  {word:<14} ", style), Piece(label(member))])
    return [*drawn, *draw_rest(len(members) - MOST_MEMBERS)]


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


def draw_deliveries(deliveries: Sequence[dict[str, Any]]) -> list[Line]:
    """Which sockets got it, and when."""
    sockets = "socket" if len(deliveries) == 1 else "sockets"
    head = f"{len(deliveries):,} {sockets}" if deliveries else "no socket, as far as spans are kept"
    drawn: list[Line] = [[], [Piece("Told to ", "bold"), Piece(head)]]
    drawn += [
        [
            Piece(f"  {one['at']} "),
            service_piece(one["service"]),
            Piece(f"socket {one['socket']} ({printable_row(one['generation'])}) of {label(one)}"),
            Piece(f" session {printable_row(one['session_id'])}", "dim"),
            Piece(" on resume" if one["on_resume"] else "", "yellow"),
        ]
        for one in deliveries[:MOST_DELIVERIES]
    ]
    return [*drawn, *draw_rest(len(deliveries) - MOST_DELIVERIES)]


def draw_rest(more: int) -> list[Line]:
    """How many rows were left out."""
    return [[Piece(f"  … and {more:,} more (all with --json)", "dim")]] if more > 0 else []
