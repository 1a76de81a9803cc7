"""A message's way as people read it: who sent it, when it was journalled, who got it when, who has read it.

A report is the plain data that `--json` prints too: the message as the messenger has it, with its `members`,
and `told`, one entry a socket that it was delivered to. Ids are text, times RFC 3339.
"""

from collections.abc import Iterable
from typing import Any

import grpc

from palaver.contracts import messenger_pb2 as pb
from palaver.contracts.errors import UNAVAILABLE
from palaver.contracts.ids import text_from_id
from palaver.contracts.messenger_pb2_grpc import MessengerStub
from palaver.contracts.times import rfc3339
from palaver.runtime.deployment_secret import secret_metadata
from palaver.runtime.grpc.errors import error_from_rpc, wire_error_of
from palaver.runtime.replicas.addresses import SEPARATOR
from palaver.runtime.startup import StartError
from palaver.watch.terminal import bold, first_rows, printable_row
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


def inspect_message(targets: str, secret: str, chat_id: bytes, seq: int) -> pb.MessageInspection:
    """A message without its text, from the first messenger of `targets` that answers. `secret`: the
    deployment's.

    Raises `not_found`, and `StartError` where no messenger answers.
    """
    failures = []
    for target in targets.split(SEPARATOR):
        try:
            return inspect_message_at(target.strip(), secret, chat_id, seq)
        except StartError as error:
            failures.append(str(error))
    raise StartError("; ".join(failures))


def inspect_message_at(target: str, secret: str, chat_id: bytes, seq: int) -> pb.MessageInspection:
    """The same from one messenger."""
    # A proxy of the environment is for the outer world
    with grpc.insecure_channel(target, (("grpc.enable_http_proxy", 0),)) as channel:
        stub: Any = MessengerStub(channel)  # type: ignore[no-untyped-call] # generated without types
        request = pb.InspectMessageRequest(chat_id=chat_id, seq=seq)
        try:
            found: pb.MessageInspection = stub.InspectMessage(
                request, timeout=DEADLINE_SECONDS, metadata=secret_metadata(secret)
            )
        except grpc.RpcError as error:
            known: Any = error  # which has the methods of `AioRpcError`
            meant = error_from_rpc(known)
            if wire_error_of(known) is not None and meant.kind is not UNAVAILABLE:
                raise meant from None
            if known.code() is grpc.StatusCode.UNAUTHENTICATED:
                raise StartError(f"the messenger at {target} has another secret (setting secret)") from None
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
        {
            "at": event.at,
            "service": span.service,
            "socket": number(event.attributes, "palaver.socket", 0),
            "generation": str(event.attributes.get("palaver.generation", "")),
            "user_id": str(event.attributes.get("user.id", "")),
            "session_id": str(event.attributes.get("session.id", "")),
            "on_resume": span.name == RESUME,
        }
        for span in spans
        for event in span.events
        if event.name == DELIVERED and holds_message(span, event, chat_id, seq)
    ]
    return sorted(found, key=lambda one: int(one["at"]))


def holds_message(span: StoredSpan, event: StoredEvent, chat_id: str, seq: int) -> bool:
    """Whether that message is among what was delivered. A resume delivers many chats: its events name theirs
    themselves."""
    fields = event.attributes if "palaver.seq" in event.attributes else span.attributes
    first = number(fields, "palaver.seq", seq + 1)
    count = number(fields, "messaging.batch.message_count", 1)
    return fields.get("palaver.chat_id") == chat_id and first <= seq < first + count


def number(fields: dict[str, Any], name: str, default: int) -> int:
    """An attribute that is a whole number."""
    found = fields.get(name)
    return found if isinstance(found, int) else default


# ---- drawing ----


def draw_message(report: Report) -> list[str]:
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
    members, told = report["members"], report["told"]
    others = [member for member in members if not member["is_sender"] and not member["left_before"]]
    received = sum(member["received"] for member in others)
    read = sum(member["read"] for member in others)
    sockets = f"{len(told):,} socket{'' if len(told) == 1 else 's'}"
    return [
        bold(f"Message {report['seq']} of the {report['kind']} chat {report['chat_id']}"),
        *(f"  {name:<11} {value}" for name, value in rows if value),
        "",
        f"{bold('Members')} received by {received:,}, read by {read:,} of {len(others):,} others",
        *first_rows([f"  {standing(member):<14} {label(member)}" for member in members], MOST_MEMBERS),
        "",
        f"{bold('Told to')} {sockets if told else 'no socket, as far as spans are kept'}",
        *first_rows([delivery_row(one) for one in told], MOST_DELIVERIES),
    ]


def label(one: dict[str, Any]) -> str:
    """A name, where it is known, and the id."""
    return f"{printable_row(one['name'])} ({one['user_id']})" if one["name"] else str(one["user_id"])


def standing(member: dict[str, Any]) -> str:
    """What a member is to the message."""
    words = {
        "is_sender": "sender",
        "left_before": "had left",
        "joined_later": "joined later",
        "read": "has read",
        "received": "has received",
    }
    return next((word for flag, word in words.items() if member[flag]), "not received")


def delivery_row(one: dict[str, Any]) -> str:
    """Which socket got it, and when."""
    socket = f"socket {one['socket']} ({printable_row(one['generation'])}) of {label(one)}"
    session = f"session {printable_row(one['session_id'])}{' on resume' if one['on_resume'] else ''}"
    return f"  {one['at']} {printable_row(one['service'])} {socket} {session}"
