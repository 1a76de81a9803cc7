"""What services share through Redis, and how they reach it. Imported only where a setting names a Redis."""
