"""Commands about checking what was handed over. What each does is imported when it is called."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .app import Json, Pinned, Policy, TsaRoots, app


@app.command()
def check(
    context: typer.Context,
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="A pack, evidence, a receipt, fork evidence, a statement, a checkpoint, or an exported log's folder.",
        ),
    ],
    policy: Policy = None,
    vkey: Annotated[
        list[str] | None,
        typer.Option(metavar="VKEY", help="A key of the log, or of a reviewer, as you have it; repeatable."),
    ] = None,
    pinned: Pinned = None,
    tsa_root: TsaRoots = None,
    entry: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The entry of a receipt that does not carry it.")
    ] = None,
    json: Json = False,
) -> None:
    """Check what somebody handed you, with no ledger at hand. Exit codes as for `verify`."""
    from ..check_commands import check_file

    raise typer.Exit(check_file(context.obj, file, policy, vkey or (), pinned or (), tsa_root or (), entry, json))
