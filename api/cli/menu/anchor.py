"""Commands about trusted time. What each does is imported when it is called."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .app import Json, TsaRoots, app


@app.command()
def anchor(
    context: typer.Context,
    tsa: Annotated[
        str | None,
        typer.Option(metavar="URL", help="The timestamp authority [default: AFFIDAVIT_TSA].", show_default=False),
    ] = None,
    ca: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Its root certificates (PEM) [default: AFFIDAVIT_TSA_CA]."),
    ] = None,
    every: Annotated[
        int | None,
        typer.Option(min=1, metavar="SECONDS", help="Go on until interrupted; skip where nothing is new."),
    ] = None,
    json: Json = False,
) -> None:
    """Sign what is there, and have a timestamp authority (RFC 3161) stamp the checkpoint."""
    from ..anchor_commands import anchor_ledger

    anchor_ledger(context.obj, tsa, ca, every, json)


@app.command()
def anchors(
    context: typer.Context,
    tsa_root: TsaRoots = None,
    json: Json = False,
) -> None:
    """List the anchors, and between which times every entry was written."""
    from ..anchor_commands import list_anchors

    raise typer.Exit(list_anchors(context.obj, tsa_root or [], json))
