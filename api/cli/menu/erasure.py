"""Commands that erase, and the rules that do so on time. What each does is imported when it is called."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .app import Json, app

retention = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="How long content is kept, and erasing what is older."
)
app.add_typer(retention, name="retention")


@app.command()
def erase(
    context: typer.Context,
    reason: Annotated[str, typer.Option(metavar="CODE", help="Why, as a code that stands open: user_request.")],
    subject: Annotated[
        str | None,
        typer.Option(metavar="USER", help="A person, by the id or name that was recorded."),
    ] = None,
    run: Annotated[str | None, typer.Option(metavar="ID", help="A run, with its reviews.")] = None,
    note: Annotated[str | None, typer.Option(metavar="TEXT", help="More about why; it is sealed.")] = None,
    directory: Annotated[
        list[Path] | None,
        typer.Option(metavar="DIR", help="A rebuilt folder to remove the run from, too; repeatable."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    json: Json = False,
) -> None:
    """Destroy the keys of a person or a run. What was sealed under them can never be read again; proofs still hold."""
    from ..erasure_commands import erase

    raise typer.Exit(erase(context.obj, subject, run, reason, note, directory or [], yes, json))


@retention.command("set")
def set_retention(
    context: typer.Context,
    run: Annotated[int | None, typer.Option(min=1, metavar="DAYS", help="Runs, after their last entry.")] = None,
    subject: Annotated[int | None, typer.Option(min=1, metavar="DAYS", help="People, after their last entry.")] = None,
    json: Json = False,
) -> None:
    """Declare how many days content is kept. What is not named is kept for good."""
    from ..erasure_commands import set_retention

    set_retention(context.obj, run, subject, json)


@retention.command("show")
def show_retention(context: typer.Context, json: Json = False) -> None:
    """Show the rule in force."""
    from ..erasure_commands import show_retention

    show_retention(context.obj, json)


@retention.command("apply")
def apply_retention(
    context: typer.Context,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what is due.")] = False,
    json: Json = False,
) -> None:
    """Erase what is older than the rule in force allows. `affidavit serve` does this each day."""
    from ..erasure_commands import apply_rule

    apply_rule(context.obj, dry_run, json)
