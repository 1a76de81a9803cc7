"""What a send on a gateway's stream may be, whatever the gateway was set to take."""

from palaver.contracts.errors import INVALID, MALFORMED, PalaverError
from palaver.contracts.messenger_pb2 import Send
from palaver.runtime.settings.messenger import MessengerSettings
from palaver.runtime.texts import BYTES_OF_CODE_POINT, check_text

ID_BYTES = 16


class SendChecks:
    """The messenger's bounds of a send."""

    def __init__(self, settings: MessengerSettings) -> None:
        self._most = settings.messages_per_request
        self._characters = settings.text_characters
        self._bytes = settings.text_bytes
        # Shorter ones are within both bounds: nearly every text is decided by its length alone
        self._short = min(self._characters, self._bytes // BYTES_OF_CODE_POINT)

    def check(self, send: Send) -> None:
        """Raises `malformed` for what the contract does not allow, `invalid` for what the settings do not."""
        texts = send.texts
        count = len(texts)
        if len(send.client_ids) != count or len(send.chat_id) != ID_BYTES:
            raise PalaverError(MALFORMED, "malformed send")
        if not 1 <= count <= self._most:
            raise PalaverError(INVALID, f"messages must be 1 to {self._most:,}", field="messages")
        for client_id in send.client_ids:
            if len(client_id) != ID_BYTES:
                raise PalaverError(MALFORMED, "malformed send")
        for text in texts:
            if not 0 < len(text) <= self._short or "\0" in text:
                check_text(text, "text", self._characters, self._bytes)
