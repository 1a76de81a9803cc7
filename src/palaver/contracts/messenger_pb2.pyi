from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Empty(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GatewayBatch(_message.Message):
    __slots__ = ("hello", "opens", "reopened", "sends", "receipts", "typings", "resumes", "closes", "drained", "reads")
    HELLO_FIELD_NUMBER: _ClassVar[int]
    OPENS_FIELD_NUMBER: _ClassVar[int]
    REOPENED_FIELD_NUMBER: _ClassVar[int]
    SENDS_FIELD_NUMBER: _ClassVar[int]
    RECEIPTS_FIELD_NUMBER: _ClassVar[int]
    TYPINGS_FIELD_NUMBER: _ClassVar[int]
    RESUMES_FIELD_NUMBER: _ClassVar[int]
    CLOSES_FIELD_NUMBER: _ClassVar[int]
    DRAINED_FIELD_NUMBER: _ClassVar[int]
    READS_FIELD_NUMBER: _ClassVar[int]
    hello: AttachHello
    opens: _containers.RepeatedCompositeFieldContainer[SocketOpen]
    reopened: bool
    sends: _containers.RepeatedCompositeFieldContainer[Send]
    receipts: _containers.RepeatedCompositeFieldContainer[ReceiptUpdate]
    typings: _containers.RepeatedCompositeFieldContainer[TypingUpdate]
    resumes: _containers.RepeatedCompositeFieldContainer[ResumeRequest]
    closes: _containers.RepeatedScalarFieldContainer[int]
    drained: _containers.RepeatedScalarFieldContainer[int]
    reads: _containers.RepeatedCompositeFieldContainer[ReadRequest]
    def __init__(self, hello: _Optional[_Union[AttachHello, _Mapping]] = ..., opens: _Optional[_Iterable[_Union[SocketOpen, _Mapping]]] = ..., reopened: _Optional[bool] = ..., sends: _Optional[_Iterable[_Union[Send, _Mapping]]] = ..., receipts: _Optional[_Iterable[_Union[ReceiptUpdate, _Mapping]]] = ..., typings: _Optional[_Iterable[_Union[TypingUpdate, _Mapping]]] = ..., resumes: _Optional[_Iterable[_Union[ResumeRequest, _Mapping]]] = ..., closes: _Optional[_Iterable[int]] = ..., drained: _Optional[_Iterable[int]] = ..., reads: _Optional[_Iterable[_Union[ReadRequest, _Mapping]]] = ...) -> None: ...

class AttachHello(_message.Message):
    __slots__ = ("gateway_id", "followed", "takes_shared_pages")
    GATEWAY_ID_FIELD_NUMBER: _ClassVar[int]
    FOLLOWED_FIELD_NUMBER: _ClassVar[int]
    TAKES_SHARED_PAGES_FIELD_NUMBER: _ClassVar[int]
    gateway_id: str
    followed: _containers.RepeatedCompositeFieldContainer[Position]
    takes_shared_pages: bool
    def __init__(self, gateway_id: _Optional[str] = ..., followed: _Optional[_Iterable[_Union[Position, _Mapping]]] = ..., takes_shared_pages: _Optional[bool] = ...) -> None: ...

class Position(_message.Message):
    __slots__ = ("writer", "number")
    WRITER_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    writer: int
    number: int
    def __init__(self, writer: _Optional[int] = ..., number: _Optional[int] = ...) -> None: ...

class SocketOpen(_message.Message):
    __slots__ = ("socket", "token", "opened_at", "implicit_receipts", "proof")
    SOCKET_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    OPENED_AT_FIELD_NUMBER: _ClassVar[int]
    IMPLICIT_RECEIPTS_FIELD_NUMBER: _ClassVar[int]
    PROOF_FIELD_NUMBER: _ClassVar[int]
    socket: int
    token: str
    opened_at: int
    implicit_receipts: bool
    proof: bytes
    def __init__(self, socket: _Optional[int] = ..., token: _Optional[str] = ..., opened_at: _Optional[int] = ..., implicit_receipts: _Optional[bool] = ..., proof: _Optional[bytes] = ...) -> None: ...

class Send(_message.Message):
    __slots__ = ("socket", "request", "chat_id", "client_ids", "texts", "retry", "traceparent")
    SOCKET_FIELD_NUMBER: _ClassVar[int]
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    CHAT_ID_FIELD_NUMBER: _ClassVar[int]
    CLIENT_IDS_FIELD_NUMBER: _ClassVar[int]
    TEXTS_FIELD_NUMBER: _ClassVar[int]
    RETRY_FIELD_NUMBER: _ClassVar[int]
    TRACEPARENT_FIELD_NUMBER: _ClassVar[int]
    socket: int
    request: int
    chat_id: bytes
    client_ids: _containers.RepeatedScalarFieldContainer[bytes]
    texts: _containers.RepeatedScalarFieldContainer[str]
    retry: bool
    traceparent: str
    def __init__(self, socket: _Optional[int] = ..., request: _Optional[int] = ..., chat_id: _Optional[bytes] = ..., client_ids: _Optional[_Iterable[bytes]] = ..., texts: _Optional[_Iterable[str]] = ..., retry: _Optional[bool] = ..., traceparent: _Optional[str] = ...) -> None: ...

class ReceiptUpdate(_message.Message):
    __slots__ = ("socket", "chat_id", "received_seq", "read_seq", "number")
    SOCKET_FIELD_NUMBER: _ClassVar[int]
    CHAT_ID_FIELD_NUMBER: _ClassVar[int]
    RECEIVED_SEQ_FIELD_NUMBER: _ClassVar[int]
    READ_SEQ_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    socket: int
    chat_id: bytes
    received_seq: int
    read_seq: int
    number: int
    def __init__(self, socket: _Optional[int] = ..., chat_id: _Optional[bytes] = ..., received_seq: _Optional[int] = ..., read_seq: _Optional[int] = ..., number: _Optional[int] = ...) -> None: ...

class TypingUpdate(_message.Message):
    __slots__ = ("socket", "chat_id")
    SOCKET_FIELD_NUMBER: _ClassVar[int]
    CHAT_ID_FIELD_NUMBER: _ClassVar[int]
    socket: int
    chat_id: bytes
    def __init__(self, socket: _Optional[int] = ..., chat_id: _Optional[bytes] = ...) -> None: ...

class ResumeRequest(_message.Message):
    __slots__ = ("socket", "chat_ids", "after_seqs")
    SOCKET_FIELD_NUMBER: _ClassVar[int]
    CHAT_IDS_FIELD_NUMBER: _ClassVar[int]
    AFTER_SEQS_FIELD_NUMBER: _ClassVar[int]
    socket: int
    chat_ids: _containers.RepeatedScalarFieldContainer[bytes]
    after_seqs: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, socket: _Optional[int] = ..., chat_ids: _Optional[_Iterable[bytes]] = ..., after_seqs: _Optional[_Iterable[int]] = ...) -> None: ...

class ReadRequest(_message.Message):
    __slots__ = ("number", "token", "list_messages", "traceparent")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    LIST_MESSAGES_FIELD_NUMBER: _ClassVar[int]
    TRACEPARENT_FIELD_NUMBER: _ClassVar[int]
    number: int
    token: str
    list_messages: ListMessagesRequest
    traceparent: str
    def __init__(self, number: _Optional[int] = ..., token: _Optional[str] = ..., list_messages: _Optional[_Union[ListMessagesRequest, _Mapping]] = ..., traceparent: _Optional[str] = ...) -> None: ...

class MessengerBatch(_message.Message):
    __slots__ = ("opened", "sent", "deliveries", "receipts", "typings", "presences", "resumed", "errors", "paused", "read_replies", "followed", "settled", "log_trimmed", "stored_receipts")
    OPENED_FIELD_NUMBER: _ClassVar[int]
    SENT_FIELD_NUMBER: _ClassVar[int]
    DELIVERIES_FIELD_NUMBER: _ClassVar[int]
    RECEIPTS_FIELD_NUMBER: _ClassVar[int]
    TYPINGS_FIELD_NUMBER: _ClassVar[int]
    PRESENCES_FIELD_NUMBER: _ClassVar[int]
    RESUMED_FIELD_NUMBER: _ClassVar[int]
    ERRORS_FIELD_NUMBER: _ClassVar[int]
    PAUSED_FIELD_NUMBER: _ClassVar[int]
    READ_REPLIES_FIELD_NUMBER: _ClassVar[int]
    FOLLOWED_FIELD_NUMBER: _ClassVar[int]
    SETTLED_FIELD_NUMBER: _ClassVar[int]
    LOG_TRIMMED_FIELD_NUMBER: _ClassVar[int]
    STORED_RECEIPTS_FIELD_NUMBER: _ClassVar[int]
    opened: _containers.RepeatedCompositeFieldContainer[SocketOpened]
    sent: _containers.RepeatedCompositeFieldContainer[SentReply]
    deliveries: _containers.RepeatedCompositeFieldContainer[Delivery]
    receipts: _containers.RepeatedCompositeFieldContainer[ReceiptEvent]
    typings: _containers.RepeatedCompositeFieldContainer[TypingEvent]
    presences: _containers.RepeatedCompositeFieldContainer[PresenceEvent]
    resumed: _containers.RepeatedScalarFieldContainer[int]
    errors: _containers.RepeatedCompositeFieldContainer[SocketError]
    paused: _containers.RepeatedScalarFieldContainer[int]
    read_replies: _containers.RepeatedCompositeFieldContainer[ReadReply]
    followed: _containers.RepeatedCompositeFieldContainer[Position]
    settled: bool
    log_trimmed: bool
    stored_receipts: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, opened: _Optional[_Iterable[_Union[SocketOpened, _Mapping]]] = ..., sent: _Optional[_Iterable[_Union[SentReply, _Mapping]]] = ..., deliveries: _Optional[_Iterable[_Union[Delivery, _Mapping]]] = ..., receipts: _Optional[_Iterable[_Union[ReceiptEvent, _Mapping]]] = ..., typings: _Optional[_Iterable[_Union[TypingEvent, _Mapping]]] = ..., presences: _Optional[_Iterable[_Union[PresenceEvent, _Mapping]]] = ..., resumed: _Optional[_Iterable[int]] = ..., errors: _Optional[_Iterable[_Union[SocketError, _Mapping]]] = ..., paused: _Optional[_Iterable[int]] = ..., read_replies: _Optional[_Iterable[_Union[ReadReply, _Mapping]]] = ..., followed: _Optional[_Iterable[_Union[Position, _Mapping]]] = ..., settled: _Optional[bool] = ..., log_trimmed: _Optional[bool] = ..., stored_receipts: _Optional[_Iterable[int]] = ...) -> None: ...

class SocketOpened(_message.Message):
    __slots__ = ("socket", "opened_at", "error", "opened_after", "proof")
    SOCKET_FIELD_NUMBER: _ClassVar[int]
    OPENED_AT_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    OPENED_AFTER_FIELD_NUMBER: _ClassVar[int]
    PROOF_FIELD_NUMBER: _ClassVar[int]
    socket: int
    opened_at: int
    error: str
    opened_after: _containers.RepeatedCompositeFieldContainer[Position]
    proof: bytes
    def __init__(self, socket: _Optional[int] = ..., opened_at: _Optional[int] = ..., error: _Optional[str] = ..., opened_after: _Optional[_Iterable[_Union[Position, _Mapping]]] = ..., proof: _Optional[bytes] = ...) -> None: ...

class SentReply(_message.Message):
    __slots__ = ("request", "seqs", "ids", "created_at", "error")
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    SEQS_FIELD_NUMBER: _ClassVar[int]
    IDS_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    request: int
    seqs: _containers.RepeatedScalarFieldContainer[int]
    ids: _containers.RepeatedScalarFieldContainer[bytes]
    created_at: _containers.RepeatedScalarFieldContainer[int]
    error: Error
    def __init__(self, request: _Optional[int] = ..., seqs: _Optional[_Iterable[int]] = ..., ids: _Optional[_Iterable[bytes]] = ..., created_at: _Optional[_Iterable[int]] = ..., error: _Optional[_Union[Error, _Mapping]] = ...) -> None: ...

class ReadReply(_message.Message):
    __slots__ = ("number", "page", "error", "more_numbers")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    PAGE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    MORE_NUMBERS_FIELD_NUMBER: _ClassVar[int]
    number: int
    page: MessagePage
    error: Error
    more_numbers: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, number: _Optional[int] = ..., page: _Optional[_Union[MessagePage, _Mapping]] = ..., error: _Optional[_Union[Error, _Mapping]] = ..., more_numbers: _Optional[_Iterable[int]] = ...) -> None: ...

class Delivery(_message.Message):
    __slots__ = ("request", "chat_id", "sender_id", "first_seq", "ids", "client_ids", "texts", "created_at", "sockets", "changed", "edited_at", "deleted_at", "traceparent", "resumed", "commit")
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    CHAT_ID_FIELD_NUMBER: _ClassVar[int]
    SENDER_ID_FIELD_NUMBER: _ClassVar[int]
    FIRST_SEQ_FIELD_NUMBER: _ClassVar[int]
    IDS_FIELD_NUMBER: _ClassVar[int]
    CLIENT_IDS_FIELD_NUMBER: _ClassVar[int]
    TEXTS_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    SOCKETS_FIELD_NUMBER: _ClassVar[int]
    CHANGED_FIELD_NUMBER: _ClassVar[int]
    EDITED_AT_FIELD_NUMBER: _ClassVar[int]
    DELETED_AT_FIELD_NUMBER: _ClassVar[int]
    TRACEPARENT_FIELD_NUMBER: _ClassVar[int]
    RESUMED_FIELD_NUMBER: _ClassVar[int]
    COMMIT_FIELD_NUMBER: _ClassVar[int]
    request: int
    chat_id: bytes
    sender_id: bytes
    first_seq: int
    ids: _containers.RepeatedScalarFieldContainer[bytes]
    client_ids: _containers.RepeatedScalarFieldContainer[bytes]
    texts: _containers.RepeatedScalarFieldContainer[str]
    created_at: int
    sockets: _containers.RepeatedScalarFieldContainer[int]
    changed: bool
    edited_at: int
    deleted_at: int
    traceparent: str
    resumed: bool
    commit: Position
    def __init__(self, request: _Optional[int] = ..., chat_id: _Optional[bytes] = ..., sender_id: _Optional[bytes] = ..., first_seq: _Optional[int] = ..., ids: _Optional[_Iterable[bytes]] = ..., client_ids: _Optional[_Iterable[bytes]] = ..., texts: _Optional[_Iterable[str]] = ..., created_at: _Optional[int] = ..., sockets: _Optional[_Iterable[int]] = ..., changed: _Optional[bool] = ..., edited_at: _Optional[int] = ..., deleted_at: _Optional[int] = ..., traceparent: _Optional[str] = ..., resumed: _Optional[bool] = ..., commit: _Optional[_Union[Position, _Mapping]] = ...) -> None: ...

class ReceiptEvent(_message.Message):
    __slots__ = ("chat_id", "user_id", "received_seq", "read_seq", "sockets")
    CHAT_ID_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    RECEIVED_SEQ_FIELD_NUMBER: _ClassVar[int]
    READ_SEQ_FIELD_NUMBER: _ClassVar[int]
    SOCKETS_FIELD_NUMBER: _ClassVar[int]
    chat_id: bytes
    user_id: bytes
    received_seq: int
    read_seq: int
    sockets: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, chat_id: _Optional[bytes] = ..., user_id: _Optional[bytes] = ..., received_seq: _Optional[int] = ..., read_seq: _Optional[int] = ..., sockets: _Optional[_Iterable[int]] = ...) -> None: ...

class TypingEvent(_message.Message):
    __slots__ = ("chat_id", "user_id", "sockets")
    CHAT_ID_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    SOCKETS_FIELD_NUMBER: _ClassVar[int]
    chat_id: bytes
    user_id: bytes
    sockets: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, chat_id: _Optional[bytes] = ..., user_id: _Optional[bytes] = ..., sockets: _Optional[_Iterable[int]] = ...) -> None: ...

class PresenceEvent(_message.Message):
    __slots__ = ("user_id", "online", "last_seen_at", "sockets")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    ONLINE_FIELD_NUMBER: _ClassVar[int]
    LAST_SEEN_AT_FIELD_NUMBER: _ClassVar[int]
    SOCKETS_FIELD_NUMBER: _ClassVar[int]
    user_id: bytes
    online: bool
    last_seen_at: int
    sockets: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, user_id: _Optional[bytes] = ..., online: _Optional[bool] = ..., last_seen_at: _Optional[int] = ..., sockets: _Optional[_Iterable[int]] = ...) -> None: ...

class SocketError(_message.Message):
    __slots__ = ("socket", "chat_id", "error")
    SOCKET_FIELD_NUMBER: _ClassVar[int]
    CHAT_ID_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    socket: int
    chat_id: bytes
    error: Error
    def __init__(self, socket: _Optional[int] = ..., chat_id: _Optional[bytes] = ..., error: _Optional[_Union[Error, _Mapping]] = ...) -> None: ...

class Error(_message.Message):
    __slots__ = ("code", "message", "field", "retry_after")
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    FIELD_FIELD_NUMBER: _ClassVar[int]
    RETRY_AFTER_FIELD_NUMBER: _ClassVar[int]
    code: str
    message: str
    field: str
    retry_after: float
    def __init__(self, code: _Optional[str] = ..., message: _Optional[str] = ..., field: _Optional[str] = ..., retry_after: _Optional[float] = ...) -> None: ...

class Member(_message.Message):
    __slots__ = ("user_id", "name", "surname", "received_seq", "read_seq", "online", "last_seen_at", "joined_at")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    SURNAME_FIELD_NUMBER: _ClassVar[int]
    RECEIVED_SEQ_FIELD_NUMBER: _ClassVar[int]
    READ_SEQ_FIELD_NUMBER: _ClassVar[int]
    ONLINE_FIELD_NUMBER: _ClassVar[int]
    LAST_SEEN_AT_FIELD_NUMBER: _ClassVar[int]
    JOINED_AT_FIELD_NUMBER: _ClassVar[int]
    user_id: bytes
    name: str
    surname: str
    received_seq: int
    read_seq: int
    online: bool
    last_seen_at: int
    joined_at: int
    def __init__(self, user_id: _Optional[bytes] = ..., name: _Optional[str] = ..., surname: _Optional[str] = ..., received_seq: _Optional[int] = ..., read_seq: _Optional[int] = ..., online: _Optional[bool] = ..., last_seen_at: _Optional[int] = ..., joined_at: _Optional[int] = ...) -> None: ...

class Chat(_message.Message):
    __slots__ = ("id", "group", "title", "created_at", "created_by", "last_seq", "active_at", "unread", "last_message", "members", "left", "existed", "last_text_cut", "member_count")
    ID_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    TITLE_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    CREATED_BY_FIELD_NUMBER: _ClassVar[int]
    LAST_SEQ_FIELD_NUMBER: _ClassVar[int]
    ACTIVE_AT_FIELD_NUMBER: _ClassVar[int]
    UNREAD_FIELD_NUMBER: _ClassVar[int]
    LAST_MESSAGE_FIELD_NUMBER: _ClassVar[int]
    MEMBERS_FIELD_NUMBER: _ClassVar[int]
    LEFT_FIELD_NUMBER: _ClassVar[int]
    EXISTED_FIELD_NUMBER: _ClassVar[int]
    LAST_TEXT_CUT_FIELD_NUMBER: _ClassVar[int]
    MEMBER_COUNT_FIELD_NUMBER: _ClassVar[int]
    id: bytes
    group: bool
    title: str
    created_at: int
    created_by: bytes
    last_seq: int
    active_at: int
    unread: int
    last_message: Message
    members: _containers.RepeatedCompositeFieldContainer[Member]
    left: bool
    existed: bool
    last_text_cut: bool
    member_count: int
    def __init__(self, id: _Optional[bytes] = ..., group: _Optional[bool] = ..., title: _Optional[str] = ..., created_at: _Optional[int] = ..., created_by: _Optional[bytes] = ..., last_seq: _Optional[int] = ..., active_at: _Optional[int] = ..., unread: _Optional[int] = ..., last_message: _Optional[_Union[Message, _Mapping]] = ..., members: _Optional[_Iterable[_Union[Member, _Mapping]]] = ..., left: _Optional[bool] = ..., existed: _Optional[bool] = ..., last_text_cut: _Optional[bool] = ..., member_count: _Optional[int] = ...) -> None: ...

class Message(_message.Message):
    __slots__ = ("chat_id", "seq", "id", "sender_id", "client_id", "text", "created_at", "edited_at", "deleted_at", "trace_id")
    CHAT_ID_FIELD_NUMBER: _ClassVar[int]
    SEQ_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    SENDER_ID_FIELD_NUMBER: _ClassVar[int]
    CLIENT_ID_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    EDITED_AT_FIELD_NUMBER: _ClassVar[int]
    DELETED_AT_FIELD_NUMBER: _ClassVar[int]
    TRACE_ID_FIELD_NUMBER: _ClassVar[int]
    chat_id: bytes
    seq: int
    id: bytes
    sender_id: bytes
    client_id: bytes
    text: str
    created_at: int
    edited_at: int
    deleted_at: int
    trace_id: str
    def __init__(self, chat_id: _Optional[bytes] = ..., seq: _Optional[int] = ..., id: _Optional[bytes] = ..., sender_id: _Optional[bytes] = ..., client_id: _Optional[bytes] = ..., text: _Optional[str] = ..., created_at: _Optional[int] = ..., edited_at: _Optional[int] = ..., deleted_at: _Optional[int] = ..., trace_id: _Optional[str] = ...) -> None: ...

class OpenDirectChatRequest(_message.Message):
    __slots__ = ("companion_id",)
    COMPANION_ID_FIELD_NUMBER: _ClassVar[int]
    companion_id: bytes
    def __init__(self, companion_id: _Optional[bytes] = ...) -> None: ...

class FindDirectChatRequest(_message.Message):
    __slots__ = ("companion_id",)
    COMPANION_ID_FIELD_NUMBER: _ClassVar[int]
    companion_id: bytes
    def __init__(self, companion_id: _Optional[bytes] = ...) -> None: ...

class CreateGroupRequest(_message.Message):
    __slots__ = ("title", "member_ids", "idempotency_key")
    TITLE_FIELD_NUMBER: _ClassVar[int]
    MEMBER_IDS_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    title: str
    member_ids: _containers.RepeatedScalarFieldContainer[bytes]
    idempotency_key: str
    def __init__(self, title: _Optional[str] = ..., member_ids: _Optional[_Iterable[bytes]] = ..., idempotency_key: _Optional[str] = ...) -> None: ...

class GetChatRequest(_message.Message):
    __slots__ = ("chat_id",)
    CHAT_ID_FIELD_NUMBER: _ClassVar[int]
    chat_id: bytes
    def __init__(self, chat_id: _Optional[bytes] = ...) -> None: ...

class ListChatsRequest(_message.Message):
    __slots__ = ("limit", "cursor", "offset", "with_total")
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    WITH_TOTAL_FIELD_NUMBER: _ClassVar[int]
    limit: int
    cursor: str
    offset: int
    with_total: bool
    def __init__(self, limit: _Optional[int] = ..., cursor: _Optional[str] = ..., offset: _Optional[int] = ..., with_total: _Optional[bool] = ...) -> None: ...

class ChatPage(_message.Message):
    __slots__ = ("chats", "next_cursor", "total")
    CHATS_FIELD_NUMBER: _ClassVar[int]
    NEXT_CURSOR_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    chats: _containers.RepeatedCompositeFieldContainer[Chat]
    next_cursor: str
    total: int
    def __init__(self, chats: _Optional[_Iterable[_Union[Chat, _Mapping]]] = ..., next_cursor: _Optional[str] = ..., total: _Optional[int] = ...) -> None: ...

class AddMembersRequest(_message.Message):
    __slots__ = ("chat_id", "user_ids")
    CHAT_ID_FIELD_NUMBER: _ClassVar[int]
    USER_IDS_FIELD_NUMBER: _ClassVar[int]
    chat_id: bytes
    user_ids: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, chat_id: _Optional[bytes] = ..., user_ids: _Optional[_Iterable[bytes]] = ...) -> None: ...

class RemoveMemberRequest(_message.Message):
    __slots__ = ("chat_id", "user_id")
    CHAT_ID_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    chat_id: bytes
    user_id: bytes
    def __init__(self, chat_id: _Optional[bytes] = ..., user_id: _Optional[bytes] = ...) -> None: ...

class ListMessagesRequest(_message.Message):
    __slots__ = ("chat_id", "limit", "before_seq", "after_seq", "from_start", "mark_read")
    CHAT_ID_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    BEFORE_SEQ_FIELD_NUMBER: _ClassVar[int]
    AFTER_SEQ_FIELD_NUMBER: _ClassVar[int]
    FROM_START_FIELD_NUMBER: _ClassVar[int]
    MARK_READ_FIELD_NUMBER: _ClassVar[int]
    chat_id: bytes
    limit: int
    before_seq: int
    after_seq: int
    from_start: bool
    mark_read: bool
    def __init__(self, chat_id: _Optional[bytes] = ..., limit: _Optional[int] = ..., before_seq: _Optional[int] = ..., after_seq: _Optional[int] = ..., from_start: _Optional[bool] = ..., mark_read: _Optional[bool] = ...) -> None: ...

class MessagePage(_message.Message):
    __slots__ = ("chat_id", "seqs", "ids", "sender_ids", "client_ids", "texts", "created_at", "edited_at", "deleted_at", "trace_ids", "last_seq", "receipts")
    CHAT_ID_FIELD_NUMBER: _ClassVar[int]
    SEQS_FIELD_NUMBER: _ClassVar[int]
    IDS_FIELD_NUMBER: _ClassVar[int]
    SENDER_IDS_FIELD_NUMBER: _ClassVar[int]
    CLIENT_IDS_FIELD_NUMBER: _ClassVar[int]
    TEXTS_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    EDITED_AT_FIELD_NUMBER: _ClassVar[int]
    DELETED_AT_FIELD_NUMBER: _ClassVar[int]
    TRACE_IDS_FIELD_NUMBER: _ClassVar[int]
    LAST_SEQ_FIELD_NUMBER: _ClassVar[int]
    RECEIPTS_FIELD_NUMBER: _ClassVar[int]
    chat_id: bytes
    seqs: _containers.RepeatedScalarFieldContainer[int]
    ids: _containers.RepeatedScalarFieldContainer[bytes]
    sender_ids: _containers.RepeatedScalarFieldContainer[bytes]
    client_ids: _containers.RepeatedScalarFieldContainer[bytes]
    texts: _containers.RepeatedScalarFieldContainer[str]
    created_at: _containers.RepeatedScalarFieldContainer[int]
    edited_at: _containers.RepeatedScalarFieldContainer[int]
    deleted_at: _containers.RepeatedScalarFieldContainer[int]
    trace_ids: _containers.RepeatedScalarFieldContainer[str]
    last_seq: int
    receipts: _containers.RepeatedCompositeFieldContainer[Receipt]
    def __init__(self, chat_id: _Optional[bytes] = ..., seqs: _Optional[_Iterable[int]] = ..., ids: _Optional[_Iterable[bytes]] = ..., sender_ids: _Optional[_Iterable[bytes]] = ..., client_ids: _Optional[_Iterable[bytes]] = ..., texts: _Optional[_Iterable[str]] = ..., created_at: _Optional[_Iterable[int]] = ..., edited_at: _Optional[_Iterable[int]] = ..., deleted_at: _Optional[_Iterable[int]] = ..., trace_ids: _Optional[_Iterable[str]] = ..., last_seq: _Optional[int] = ..., receipts: _Optional[_Iterable[_Union[Receipt, _Mapping]]] = ...) -> None: ...

class SendMessagesRequest(_message.Message):
    __slots__ = ("chat_id", "client_ids", "texts", "retry")
    CHAT_ID_FIELD_NUMBER: _ClassVar[int]
    CLIENT_IDS_FIELD_NUMBER: _ClassVar[int]
    TEXTS_FIELD_NUMBER: _ClassVar[int]
    RETRY_FIELD_NUMBER: _ClassVar[int]
    chat_id: bytes
    client_ids: _containers.RepeatedScalarFieldContainer[bytes]
    texts: _containers.RepeatedScalarFieldContainer[str]
    retry: bool
    def __init__(self, chat_id: _Optional[bytes] = ..., client_ids: _Optional[_Iterable[bytes]] = ..., texts: _Optional[_Iterable[str]] = ..., retry: _Optional[bool] = ...) -> None: ...

class SentMessages(_message.Message):
    __slots__ = ("messages",)
    MESSAGES_FIELD_NUMBER: _ClassVar[int]
    messages: _containers.RepeatedCompositeFieldContainer[Message]
    def __init__(self, messages: _Optional[_Iterable[_Union[Message, _Mapping]]] = ...) -> None: ...

class EditMessageRequest(_message.Message):
    __slots__ = ("chat_id", "seq", "text")
    CHAT_ID_FIELD_NUMBER: _ClassVar[int]
    SEQ_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    chat_id: bytes
    seq: int
    text: str
    def __init__(self, chat_id: _Optional[bytes] = ..., seq: _Optional[int] = ..., text: _Optional[str] = ...) -> None: ...

class DeleteMessageRequest(_message.Message):
    __slots__ = ("chat_id", "seq")
    CHAT_ID_FIELD_NUMBER: _ClassVar[int]
    SEQ_FIELD_NUMBER: _ClassVar[int]
    chat_id: bytes
    seq: int
    def __init__(self, chat_id: _Optional[bytes] = ..., seq: _Optional[int] = ...) -> None: ...

class SetReceiptRequest(_message.Message):
    __slots__ = ("chat_id", "received_seq", "read_seq")
    CHAT_ID_FIELD_NUMBER: _ClassVar[int]
    RECEIVED_SEQ_FIELD_NUMBER: _ClassVar[int]
    READ_SEQ_FIELD_NUMBER: _ClassVar[int]
    chat_id: bytes
    received_seq: int
    read_seq: int
    def __init__(self, chat_id: _Optional[bytes] = ..., received_seq: _Optional[int] = ..., read_seq: _Optional[int] = ...) -> None: ...

class Receipt(_message.Message):
    __slots__ = ("user_id", "received_seq", "read_seq")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    RECEIVED_SEQ_FIELD_NUMBER: _ClassVar[int]
    READ_SEQ_FIELD_NUMBER: _ClassVar[int]
    user_id: bytes
    received_seq: int
    read_seq: int
    def __init__(self, user_id: _Optional[bytes] = ..., received_seq: _Optional[int] = ..., read_seq: _Optional[int] = ...) -> None: ...

class InspectMessageRequest(_message.Message):
    __slots__ = ("chat_id", "seq")
    CHAT_ID_FIELD_NUMBER: _ClassVar[int]
    SEQ_FIELD_NUMBER: _ClassVar[int]
    chat_id: bytes
    seq: int
    def __init__(self, chat_id: _Optional[bytes] = ..., seq: _Optional[int] = ...) -> None: ...

class MessageInspection(_message.Message):
    __slots__ = ("message", "group", "members")
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    MEMBERS_FIELD_NUMBER: _ClassVar[int]
    message: Message
    group: bool
    members: _containers.RepeatedCompositeFieldContainer[InspectedMember]
    def __init__(self, message: _Optional[_Union[Message, _Mapping]] = ..., group: _Optional[bool] = ..., members: _Optional[_Iterable[_Union[InspectedMember, _Mapping]]] = ...) -> None: ...

class InspectedMember(_message.Message):
    __slots__ = ("user_id", "name", "surname", "joined_at", "left_seq", "received_seq", "read_seq")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    SURNAME_FIELD_NUMBER: _ClassVar[int]
    JOINED_AT_FIELD_NUMBER: _ClassVar[int]
    LEFT_SEQ_FIELD_NUMBER: _ClassVar[int]
    RECEIVED_SEQ_FIELD_NUMBER: _ClassVar[int]
    READ_SEQ_FIELD_NUMBER: _ClassVar[int]
    user_id: bytes
    name: str
    surname: str
    joined_at: int
    left_seq: int
    received_seq: int
    read_seq: int
    def __init__(self, user_id: _Optional[bytes] = ..., name: _Optional[str] = ..., surname: _Optional[str] = ..., joined_at: _Optional[int] = ..., left_seq: _Optional[int] = ..., received_seq: _Optional[int] = ..., read_seq: _Optional[int] = ...) -> None: ...
