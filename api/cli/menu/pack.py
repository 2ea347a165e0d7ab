"""Commands about evidence packs. What each does is imported when it is called."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .app import From, Json, To, app


@app.command()
def pack(
    context: typer.Context,
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="FILE", help="The file to write: .html, or .pdf for print.")
    ],
    run: Annotated[str | None, typer.Argument(metavar="[RUN]", help="A run; or give --from and --to.")] = None,
    start: From = None,
    end: To = None,
    calls: Annotated[
        bool, typer.Option("--calls", help="Also disclose the exact requests to models, and their replies.")
    ] = False,
    content: Annotated[
        bool, typer.Option("--content/--no-content", help="Disclose the sealed texts, or none of them.")
    ] = True,
    policy: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A tlog-policy to state in the pack, so that it names its witnesses."),
    ] = None,
    json: Json = False,
) -> None:
    """Write a run, or an evaluation window, into one HTML file that carries its proofs and checks itself."""
    from ..pack_commands import write_pack

    write_pack(context.obj, run, start, end, output, calls=calls, content=content, policy=policy, as_json=json)
