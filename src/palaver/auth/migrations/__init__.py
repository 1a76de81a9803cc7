"""The versions of auth's schema, in order."""

from pathlib import Path

MIGRATIONS = Path(__file__).parent
