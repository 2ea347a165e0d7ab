"""Commands that take a ledger elsewhere. What each does is imported when it is called."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .app import Json, app


@app.command()
def copy(
    source: Annotated[str, typer.Argument(metavar="SRC", help="The ledger: a folder, or postgresql://…")],
    destination: Annotated[str, typer.Argument(metavar="DST", help="Where it goes on: nothing may lie there.")],
    json: Json = False,
) -> None:
    """Move a ledger to another store: same entries, same root; SRC is closed. Resumes where it stopped."""
    from ..moving_commands import copy

    copy(source, destination, json)


@app.command()
def backup(
    context: typer.Context,
    folder: Annotated[str, typer.Argument(metavar="FOLDER", help="The backup; nothing may lie there.")],
    keys_to: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Keep the wrapped keys too, in a folder elsewhere.")
    ] = None,
    json: Json = False,
) -> None:
    """Back up a ledger while others append to it: a folder to verify and to restore, without keys."""
    from ..moving_commands import backup

    backup(context.obj, folder, keys_to, json)


@app.command()
def restore(
    backup: Annotated[str, typer.Argument(metavar="BACKUP", help="The folder that `backup` made.")],
    destination: Annotated[
        str, typer.Argument(metavar="DST", help="A folder or postgresql://…: nothing may lie there.")
    ],
    keys_from: Annotated[Path | None, typer.Option(metavar="FOLDER", help="The folder of its keys.")] = None,
    behind: Annotated[
        bool, typer.Option("--behind", help="Also where more was signed than it holds: for `reopen`.")
    ] = False,
    json: Json = False,
) -> None:
    """Make a ledger of a backup again, verified. Refused where more was signed than it holds."""
    from ..moving_commands import restore

    restore(backup, destination, keys_from, behind, json)
