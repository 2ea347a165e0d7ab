"""Commands that read runs. What each does is imported when it is called."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .. import run_options as option
from .app import AsOf, Json, Profile, app, imports


@imports.command("reflex")
def import_reflex(
    context: typer.Context,
    path: Annotated[Path, typer.Argument(help="A .reflex root: the folder that holds runs/.")],
    json: Json = False,
) -> None:
    """Import the runs that aevyra-reflex wrote. Importing twice adds nothing."""
    from ..run_commands import import_tree

    import_tree(context.obj, path, json)


@app.command()
def runs(context: typer.Context, json: Json = False, as_of: AsOf = None) -> None:
    """List the optimisation runs with status, scores and lineage."""
    from ..run_commands import list_all_runs

    list_all_runs(context.obj, json, as_of)


@app.command()
def show(
    context: typer.Context,
    run: Annotated[str, typer.Argument(metavar="RUN")],
    json: Json = False,
    as_of: AsOf = None,
    prices: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A JSON table of prices per million tokens, by model."),
    ] = None,
) -> None:
    """Show one run: scores, significance, iterations, changes and their effects, tokens, findings."""
    from ..run_commands import show_run

    show_run(context.obj, run, json, as_of, prices)


@app.command()
def history(
    context: typer.Context,
    run: Annotated[str, typer.Argument(metavar="RUN")],
    profile: Profile = "native",
    json: Json = False,
    as_of: AsOf = None,
) -> None:
    """Print the rewrite history: each effect beside the change that caused it, or the lines that reflex logs."""
    from ..run_commands import print_history

    print_history(context.obj, run, profile, json, as_of)


@app.command()
def diff(
    context: typer.Context,
    run: Annotated[str, typer.Argument(metavar="RUN")],
    a: Annotated[
        int | None,
        typer.Argument(metavar="[A]", help="An iteration, 0 for the initial prompt [default: 0]."),
    ] = None,
    b: Annotated[
        int | None,
        typer.Argument(metavar="[B]", help="Another [default: the last]."),
    ] = None,
    words: Annotated[bool, typer.Option("--words", help="Compare word by word.")] = False,
    json: Json = False,
    as_of: AsOf = None,
) -> None:
    """Print what changed between the prompts of two iterations."""
    from ..run_commands import print_diff

    print_diff(context.obj, run, a, b, words, json, as_of)


@app.command()
def explain(
    context: typer.Context,
    run: option.Run,
    json: Json = False,
    as_of: AsOf = None,
    prices: option.Prices = None,
) -> None:
    """Tell what a run came to: what changed, why, what it gained, whether that is significant, what it cost."""
    from ..optimize_commands import explain_run

    explain_run(context.obj, run, json, as_of, prices)


@app.command()
def rebuild(
    context: typer.Context,
    to: Annotated[Path, typer.Option(metavar="DIR", help="The root to make; it must not exist.")],
    profile: Profile = "native",
    run: Annotated[
        str | None,
        typer.Option(metavar="ID", help="Only this run."),
    ] = None,
    as_of: AsOf = None,
    jobs: Annotated[
        int | None,
        typer.Option(min=1, help="Processes to rebuild from a long log with [default: the number of cores]."),
    ] = None,
    json: Json = False,
) -> None:
    """Rebuild run directories from the events, under DIR/runs/."""
    from ..run_commands import rebuild_runs

    rebuild_runs(context.obj, to, profile, run, as_of, json, jobs)
