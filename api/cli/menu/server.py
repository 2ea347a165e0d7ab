"""Commands about the server. What each does is imported when it is called."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ...telemetry.logs import LogFormat
from .app import BaseUrl, Json, Model, app, rules


@app.command()
def serve(
    context: typer.Context,
    host: Annotated[str, typer.Option(help="Where to listen. Other machines can call only with a key.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535)] = 8128,
    requests_per_minute: Annotated[int, typer.Option(min=1, help="For each key, and for callers without one.")] = 6000,
    max_body_bytes: Annotated[int, typer.Option(min=1024)] = 10 * 1024 * 1024,
    model: Model = None,
    base_url: BaseUrl = None,
    ledgers: Annotated[
        Path | None,
        typer.Option(help="A TOML file that lists many ledgers to serve, each to whoever shows one of its keys."),
    ] = None,
    public_log: Annotated[
        bool, typer.Option("--public-log", help="Let everybody read checkpoint, tiles and entries, without a key.")
    ] = False,
    log_format: Annotated[LogFormat, typer.Option(help="How log lines on stderr are written.")] = LogFormat.TEXT,
    access_log: Annotated[bool, typer.Option("--access-log", help="A log line for each request.")] = False,
    drain_seconds: Annotated[
        int, typer.Option(min=0, max=300, help="How long to go on answering, no longer ready, once told to stop.")
    ] = 0,
) -> None:
    """Serve the pages and the HTTP API; with a judge's model, judge what comes in, too."""
    from ..serve_commands import serve, serve_many

    if ledgers is not None:
        if context.obj or public_log:
            raise typer.BadParameter("with --ledgers the file says which ledgers and whose log is public")
        serve_many(
            ledgers,
            host,
            port,
            requests_per_minute,
            max_body_bytes,
            model,
            base_url,
            log_format=log_format,
            access_log=access_log,
            drain_seconds=drain_seconds,
        )
        return
    serve(
        context.obj,
        host,
        port,
        requests_per_minute,
        max_body_bytes,
        model,
        base_url,
        public_log=public_log,
        log_format=log_format,
        access_log=access_log,
        drain_seconds=drain_seconds,
    )


@rules.command("publish")
def publish_rules(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="JSON: one rule, a list, or one a line.")],
    json: Json = False,
) -> None:
    """Publish rules, or new versions of them."""
    from ..serve_commands import publish_rules

    publish_rules(context.obj, file, json)
