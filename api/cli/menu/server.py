"""Commands about the server. What each does is imported when it is called."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .app import BaseUrl, Json, Model, app, keys, rules


@app.command()
def serve(
    context: typer.Context,
    host: Annotated[str, typer.Option(help="Where to listen. Other machines can call only with a key.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535)] = 8128,
    requests_per_minute: Annotated[int, typer.Option(min=1, help="For each key, and for callers without one.")] = 6000,
    max_body_bytes: Annotated[int, typer.Option(min=1024)] = 10 * 1024 * 1024,
    model: Model = None,
    base_url: BaseUrl = None,
    public_log: Annotated[
        bool, typer.Option("--public-log", help="Let everybody read checkpoint, tiles and entries, without a key.")
    ] = False,
) -> None:
    """Serve the HTTP API; with a judge's model, judge what comes in, too."""
    from ..serve_commands import serve

    serve(context.obj, host, port, requests_per_minute, max_body_bytes, model, base_url, public_log=public_log)


@keys.command("create")
def create_key(
    context: typer.Context,
    scope: Annotated[list[str], typer.Option(help="publish, read, review or admin; give it several times.")],
    name: Annotated[str, typer.Option(help="Whose it is, for the list.")] = "",
    json: Json = False,
) -> None:
    """Make a key; its token is printed this once."""
    from ..serve_commands import create_key

    create_key(context.obj, scope, name, json)


@keys.command("list")
def list_keys(context: typer.Context, json: Json = False) -> None:
    """List the keys, without their tokens."""
    from ..serve_commands import list_keys

    list_keys(context.obj, json)


@keys.command("revoke")
def revoke_key(context: typer.Context, key: Annotated[str, typer.Argument(metavar="ID")]) -> None:
    """Take a key out of use."""
    from ..serve_commands import revoke_key

    revoke_key(context.obj, key)


@rules.command("publish")
def publish_rules(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="JSON: one rule, a list, or one a line.")],
    json: Json = False,
) -> None:
    """Publish rules, or new versions of them."""
    from ..serve_commands import publish_rules

    publish_rules(context.obj, file, json)
