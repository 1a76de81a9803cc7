"""The versions of the messenger's schema, in order."""

from pathlib import Path

MIGRATIONS = Path(__file__).parent
