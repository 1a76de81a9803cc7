"""HTTP/2 (RFC 9113) without I/O: frames, and a connection of streams."""
