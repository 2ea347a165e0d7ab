"""Commands for reviewers, who sign what they think. What each does is imported when it is called."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .app import AsOf, Json, app


@app.command()
def review(
    context: typer.Context,
    verdict: Annotated[str, typer.Option(metavar="V", help="approve, reject or question.")],
    note: Annotated[str, typer.Option(metavar="TEXT", help="What you have to say; it is signed with the verdict.")],
    key: Annotated[Path, typer.Option(metavar="FILE", help="Your private key; `review-key` makes one.")],
    run: Annotated[str | None, typer.Argument(metavar="[RUN]", help="The run that it is about.")] = None,
    iteration: Annotated[int | None, typer.Option(min=0, metavar="N", help="Only this iteration of the run.")] = None,
    entries: Annotated[
        str | None, typer.Option(metavar="A-B", help="In place of a run: the entries A to B, both included.")
    ] = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The checkpoint of what you have looked at [default: the log as it is now]."),
    ] = None,
    server: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Hand it in there (AFFIDAVIT_API_KEY), not to a ledger on this machine."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Also write the signed statement here.")
    ] = None,
    json: Json = False,
) -> None:
    """Sign what you think of a run, an iteration or a range of entries, and record it. The key stays here."""
    from ..review_commands import Asked, sign_review

    asked = Asked(verdict, note, run, iteration, entries, checkpoint)
    sign_review(context.obj, asked, key, server, output, json)


@app.command()
def reviews(
    context: typer.Context,
    run: Annotated[
        str | None, typer.Argument(metavar="[RUN]", help="Without it, reviews of ranges of entries.")
    ] = None,
    as_of: AsOf = None,
    json: Json = False,
) -> None:
    """List what reviewers signed about a run and its iterations, each verified. Exit 1: one does not verify."""
    from ..review_commands import list_reviews

    raise typer.Exit(list_reviews(context.obj, run, as_of, json))


@app.command("review-key")
def review_key(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where to write it; nothing may be there.")],
    name: Annotated[str, typer.Option(metavar="NAME", help="Who signs, without spaces, such as ada@example.org.")],
) -> None:
    """Make a private key for reviews, and print the public one."""
    from ..review_commands import make_review_key

    make_review_key(file, name)
