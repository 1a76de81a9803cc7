"""Logs and traces: what is written, and where it goes."""
