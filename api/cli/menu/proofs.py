"""Commands that prove and check. What each does is imported when it is called."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .app import Json, Pinned, Policy, TsaRoots, app, exports


@app.command()
def verify(
    context: typer.Context,
    json: Json = False,
    vkey: Annotated[
        str | None,
        typer.Option(metavar="VKEY", help="The log's public key as you have it; else the one in entry 0 is used."),
    ] = None,
    pinned: Pinned = None,
    policy: Policy = None,
    max_age: Annotated[
        int | None,
        typer.Option("--max-age", metavar="SECONDS", min=1, help="A quorum of the policy must have cosigned since."),
    ] = None,
    receipt: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="A receipt that you hold: its entry must be there; repeatable."),
    ] = None,
    tsa_root: TsaRoots = None,
    token: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="A time token (.tsr) that you kept from an earlier visit; repeatable."),
    ] = None,
    fork_evidence: Annotated[
        Path | None,
        typer.Option("--fork-evidence", metavar="FILE", help="Where to write what shows a fork to anybody."),
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
    from ..verify_commands import Asked, verify_ledger

    asked = Asked(
        vkey=vkey,
        pinned=pinned or (),
        policy=policy,
        receipts=receipt or (),
        tsa_roots=tsa_root or (),
        tokens=token or (),
        max_age=max_age,
        directory=directory,
        fork_evidence=fork_evidence,
    )
    raise typer.Exit(verify_ledger(context.obj, json, asked, jobs))


@app.command()
def checkpoint(context: typer.Context) -> None:
    """Print the newest signed checkpoint: keep it, and `verify --pinned` it at your next visit."""
    from ..proofs_commands import print_checkpoint

    print_checkpoint(context.obj)


@app.command()
def receipt(
    context: typer.Context,
    seq: Annotated[int, typer.Argument(min=0, help="The entry to prove.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE", help="Write it here [default: print it].")
    ] = None,
) -> None:
    """Print a proof (.tlog-proof) that an entry is in the ledger, under a signed checkpoint. It carries the entry."""
    from ..proofs_commands import print_receipt

    print_receipt(context.obj, seq, output)


@exports.command("tiles")
def export_tiles(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A new folder, or an earlier export to go on with.")],
    json: Json = False,
) -> None:
    """The signed log as a static log (C2SP tlog-tiles): checkpoint, tiles and bundles of entries."""
    from ..export_commands import export_tiles

    export_tiles(context.obj, folder, json)


@exports.command("jsonl")
def export_jsonl(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A new file.")],
    json: Json = False,
) -> None:
    """One JSON line for each entry: seq, leaf_hash, and its exact text as entry."""
    from ..export_commands import export_jsonl

    export_jsonl(context.obj, file, json)
