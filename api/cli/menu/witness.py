"""Commands about witnesses. What each does is imported when it is called."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .app import Json, app

witness = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Cosign other ledgers' checkpoints, as long as they only grow."
)
app.add_typer(witness, name="witness")


@witness.command("key")
def make_witness_key(
    file: Annotated[Path, typer.Argument(help="Where to write the private key, with mode 0600.")],
    name: Annotated[str, typer.Option(help="Such as witness.example/w1; it stands in every cosignature.")],
    ml_dsa: Annotated[bool, typer.Option("--ml-dsa", help="ML-DSA-44 (post-quantum) instead of Ed25519.")] = False,
    json: Json = False,
) -> None:
    """Make a witness's key; its vkey is printed, for the policies of others."""
    from ..witness_commands import make_key

    make_key(file, name, ml_dsa, json)


@witness.command("serve")
def serve_witness(
    state: Annotated[Path, typer.Option(help="What was cosigned last; made where it is missing. Never restore it.")],
    key: Annotated[list[Path], typer.Option(help="A key file; repeatable: every one cosigns each checkpoint.")],
    listen: Annotated[str, typer.Option(metavar="HOST:PORT", help="Where to listen.")] = "127.0.0.1:8129",
    log: Annotated[list[str] | None, typer.Option(metavar="VKEY", help="A log to cosign; repeatable.")] = None,
    policy: Annotated[Path | None, typer.Option(help="A tlog-policy file; its logs are cosigned.")] = None,
) -> None:
    """Serve a witness (C2SP tlog-witness). It asks for no key: a log's signature on its checkpoint is enough."""
    from ..witness_commands import serve

    serve(listen, state, key, log or [], policy)
