"""Who you are: accounts, sessions, signing keys."""
