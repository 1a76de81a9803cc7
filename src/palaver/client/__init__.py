"""A client of Palaver: REST and the v2 socket, for bots, tests and the terminal.

async with Client("http://localhost:10000") as client:
    await client.sign_in("alice@example.org", "correct horse")
    async with client.socket() as socket:
        async for event in socket:
            ...
"""

from palaver.client.client import Client
from palaver.client.models import Chat, ChatPage, Member, MessagePage, Tokens, User, UserPage
from palaver.client.protocol import Event
from palaver.client.rest import SignedOut
from palaver.client.socket import Socket
from palaver.contracts.errors import PalaverError
from palaver.contracts.frames import Error, Message, Presence, Receipt, Sent, Typing

__all__ = [
    "Chat",
    "ChatPage",
    "Client",
    "Error",
    "Event",
    "Member",
    "Message",
    "MessagePage",
    "PalaverError",
    "Presence",
    "Receipt",
    "Sent",
    "SignedOut",
    "Socket",
    "Tokens",
    "Typing",
    "User",
    "UserPage",
]
