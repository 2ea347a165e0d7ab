"""The command about mirrors. What it does is imported when it is called."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .app import Json, Policy, app


@app.command()
def mirror(
    to: Annotated[Path, typer.Option(metavar="FOLDER", help="The mirror; made where it is missing.")],
    url: Annotated[
        str | None,
        typer.Argument(
            metavar="[URL]", help="Where the log is served: the prefix of /checkpoint and /tile.", show_default=False
        ),
    ] = None,
    vkey: Annotated[
        list[str] | None, typer.Option(metavar="VKEY", help="The log's key as you have it; repeatable.")
    ] = None,
    policy: Policy = None,
    every: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", min=1, help="Go on, asking so often, until interrupted [default: once]."),
    ] = None,
    serve: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Serve the mirror; without a URL what lies in FOLDER.")
    ] = None,
    key: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="A mirror's own key (`witness key` makes one): cosign with it; repeatable."),
    ] = None,
    state: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="What the key cosigned last [default: beside it]. Never restore it."),
    ] = None,
    json: Json = False,
) -> None:
    """Follow a log by its tiles, verify all of it, keep and serve the same files.

    Exit 3: the quorum of --policy is not met; 4: a rollback or a fork.
    """
    from ..mirror_commands import Asked, mirror

    asked = Asked(url, to, vkey or (), policy, key or (), state, every, serve)
    raise typer.Exit(mirror(asked, json))
