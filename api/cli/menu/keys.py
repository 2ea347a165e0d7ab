"""Commands about keys: those of the HTTP API, and the one that signs. What each does is imported when it is called."""

from __future__ import annotations

from typing import Annotated

import typer

from .app import Json, keys


@keys.command("create")
def create_key(
    context: typer.Context,
    scope: Annotated[list[str], typer.Option(help="publish, read, review or admin; repeatable.")],
    name: Annotated[str, typer.Option(help="Whose it is, for the list.")] = "",
    json: Json = False,
) -> None:
    """Make a key; its token is printed this once."""
    from ..api_keys_commands import create_key

    create_key(context.obj, scope, name, json)


@keys.command("list")
def list_keys(context: typer.Context, json: Json = False) -> None:
    """List the keys, without their tokens."""
    from ..api_keys_commands import list_keys

    list_keys(context.obj, json)


@keys.command("revoke")
def revoke_key(context: typer.Context, key: Annotated[str, typer.Argument(metavar="ID")]) -> None:
    """Take a key out of use."""
    from ..api_keys_commands import revoke_key

    revoke_key(context.obj, key)


@keys.command("rotate")
def rotate(
    context: typer.Context,
    overlap: Annotated[
        int, typer.Option(metavar="N", min=0, help="How many entries more the old key signs as well.")
    ] = 1000,
    json: Json = False,
) -> None:
    """Sign checkpoints with a new key, and for a while with the old one too. Prints the new vkey."""
    from ..keys_commands import rotate_key

    rotate_key(context.obj, overlap, json)
