"""Commands about the keys that sign and seal. What each does is imported when it is called."""

from __future__ import annotations

from typing import Annotated

import typer

from .app import Json, app, keys


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


@app.command()
def reopen(
    context: typer.Context,
    reason: Annotated[str, typer.Option(metavar="CODE", help="Why, as a code, such as restored_from_backup.")],
    origin: Annotated[str, typer.Option(metavar="NAME", help="16 random hex digits follow this name.")] = "affidavit",
    json: Json = False,
) -> None:
    """Go on with an older copy of a ledger, as another log that names what was signed of the first."""
    from ..keys_commands import reopen_ledger

    reopen_ledger(context.obj, origin, reason, json)
