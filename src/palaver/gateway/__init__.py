"""The one public door: generations v0, v1 and v2, and the sockets."""
