"""What stops a service from starting."""


class StartError(Exception):
    """A service cannot start. The text is one line for the operator, who can do something about it."""
