"""Commands for who runs a ledger. What each does is imported when it is called."""

from __future__ import annotations

import typer

from .app import Json, app


@app.command()
def doctor(context: typer.Context, json: Json = False) -> None:
    """Look for what endangers the ledger: settings, disk, clock, rights, keys; exit code 3 where something does."""
    from ..doctor_commands import examine_ledger

    raise typer.Exit(examine_ledger(context.obj, json))
