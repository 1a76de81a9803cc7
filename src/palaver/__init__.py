"""Palaver: a self-hosted direct-messaging backend."""

__version__ = "0.1.0"
