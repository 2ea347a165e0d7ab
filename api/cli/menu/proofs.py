"""Commands that prove and check. What each does is imported when it is called."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .app import Json, app


@app.command()
def verify(
    context: typer.Context,
    json: Json = False,
    vkey: Annotated[
        str | None,
        typer.Option(metavar="VKEY", help="The log's public key as you have it; else the one in entry 0 is used."),
    ] = None,
    pinned: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A signed checkpoint that you kept from an earlier visit."),
    ] = None,
    directory: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Also compare a rebuilt folder with the run directories that were sealed."),
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option(min=1, help="Processes to verify a long log with [default: the number of cores]."),
    ] = None,
) -> None:
    """Derive everything again from the stored bytes, and say what could not be checked."""
    from ..verify_commands import verify_ledger

    raise typer.Exit(verify_ledger(context.obj, json, vkey, pinned, directory, jobs))


@app.command()
def checkpoint(context: typer.Context) -> None:
    """Print the newest signed checkpoint: keep it, and `verify --pinned` it at your next visit."""
    from ..ledger_commands import print_checkpoint

    print_checkpoint(context.obj)


@app.command()
def receipt(
    context: typer.Context,
    seq: Annotated[int, typer.Argument(min=0, help="The entry to prove.")],
) -> None:
    """Print a proof (.tlog-proof) that an entry is in the ledger, under a signed checkpoint."""
    from ..ledger_commands import print_receipt

    print_receipt(context.obj, seq)
