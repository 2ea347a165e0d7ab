"""Commands about the ledger itself. What each does is imported when it is called."""

from __future__ import annotations

from typing import Annotated

import typer

from .app import Json, app


@app.command()
def init(
    context: typer.Context,
    origin: Annotated[str, typer.Option(metavar="NAME", help="16 random hex digits follow this name.")] = "affidavit",
) -> None:
    """Make a ledger, its keys and its origin. The keys lie outside the ledger's folder."""
    from ..ledger_commands import make_ledger

    make_ledger(context.obj, origin)


@app.command()
def reopen(
    context: typer.Context,
    reason: Annotated[str, typer.Option(metavar="CODE", help="Why, as a code, such as restored_from_backup.")],
    origin: Annotated[str, typer.Option(metavar="NAME", help="16 random hex digits follow this name.")] = "affidavit",
    json: Json = False,
) -> None:
    """Go on with an older copy of a ledger, as another log that names what was signed of the first."""
    from ..ledger_commands import reopen_ledger

    reopen_ledger(context.obj, origin, reason, json)


@app.command()
def seal(context: typer.Context, json: Json = False) -> None:
    """Seal the projections as of now and sign a checkpoint."""
    from ..ledger_commands import seal_ledger

    seal_ledger(context.obj, json)


@app.command()
def log(
    context: typer.Context,
    stream: Annotated[
        str | None,
        typer.Option(metavar="S", help="Only this stream, such as run/001."),
    ] = None,
    json: Json = False,
) -> None:
    """List the entries in order."""
    from ..ledger_commands import list_entries

    list_entries(context.obj, stream, json)


@app.command()
def demo() -> None:
    """Show the main job in a scratch folder: runs, judged sessions, a run that is killed, a pack; and damage found."""
    from ..demo import run_demo

    run_demo()
