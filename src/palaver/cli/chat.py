"""`palaver chat`: a client in the terminal."""

from typing import Annotated

import typer


def chat(
    email: Annotated[str, typer.Argument(help="Email of whom to chat with.")],
    me: Annotated[
        str | None, typer.Option("--as", metavar="EMAIL", help="Your own; else it is asked.")
    ] = None,
    url: Annotated[str, typer.Option(help="The gateway's address.")] = "http://localhost:10000",
) -> None:
    """Chat with somebody in the terminal. Asks for your password; Ctrl-D leaves.

    Example:

        palaver chat alice@example.org --as bob@example.org --url https://chat.example.org
    """
    from palaver.client.terminal import run

    raise typer.Exit(run(email, url, me))
