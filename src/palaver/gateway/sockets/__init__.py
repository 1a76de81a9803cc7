"""WebSockets: the protocol, the handshake, who is connected, and fan-out."""
