"""Commands about interactions and how they were judged. What each does is imported when it is called."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .app import AsOf, BaseUrl, From, Json, Model, Source, To, app, exports, imports


@imports.command("evaluation")
def import_evaluation(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="JSON, or NDJSON by its name's ending: docs/import-evaluation.md.")],
    json: Json = False,
) -> None:
    """Import evaluation data of a reflexio server. Importing twice adds nothing."""
    from ..evaluation_commands import import_evaluation

    import_evaluation(context.obj, file, json)


@imports.command("otel")
def import_otel(
    context: typer.Context,
    path: Annotated[Path, typer.Argument(help="Spans as OTLP/JSON: docs/opentelemetry.md.")],
    json: Json = False,
) -> None:
    """Import GenAI spans of OpenTelemetry. Importing twice adds nothing."""
    from ..otel_commands import import_otel

    import_otel(context.obj, path, json)


@exports.command("otel")
def export_otel(
    context: typer.Context,
    path: Annotated[Path, typer.Argument(help="The file to write.")],
    as_of: AsOf = None,
    start: Annotated[str | None, typer.Option("--from", metavar="T", help="Seconds since 1970, or a time.")] = None,
    end: Annotated[str | None, typer.Option("--to", metavar="T", help="Seconds since 1970, or a time.")] = None,
    content: Annotated[bool, typer.Option("--content", help="With the texts that are open here.")] = False,
    json: Json = False,
) -> None:
    """Export interactions and evaluations as GenAI spans of OpenTelemetry."""
    from ..otel_commands import export_otel

    export_otel(context.obj, path, as_of, start, end, content, json)


@app.command()
def overview(
    context: typer.Context,
    start: From = None,
    end: To = None,
    bucket: Annotated[str | None, typer.Option(metavar="day|week", help="Length of a point of the trend.")] = None,
    source: Source = None,
    source_set: Annotated[
        list[str] | None,
        typer.Option(metavar="LABEL=a,b", help="Compare sessions of these first sources; repeatable."),
    ] = None,
    request: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A request body of the HTTP endpoint, as JSON.")
    ] = None,
    as_of: AsOf = None,
    json: Json = False,
) -> None:
    """Show how sessions went: success, tiles, rules, source sets, shadow win rate, with intervals."""
    from ..evaluation_commands import show_overview

    show_overview(context.obj, start, end, bucket, source, source_set or [], request, as_of, json)


@app.command()
def trend(
    context: typer.Context,
    start: From = None,
    end: To = None,
    source: Source = None,
    version: Annotated[
        str | None, typer.Option(metavar="V", help="Only this version of the judge's prompt [default: each apart].")
    ] = None,
    as_of: AsOf = None,
    json: Json = False,
) -> None:
    """Show the shadow win rate by day, each version of the judge's prompt apart."""
    from ..evaluation_commands import show_trend

    show_trend(context.obj, start, end, source, version, as_of, json)


@app.command()
def judge(
    context: typer.Context,
    once: Annotated[bool, typer.Option("--once", help="Stop when nothing waits to be judged.")] = False,
    model: Model = None,
    base_url: BaseUrl = None,
) -> None:
    """Judge turns against their shadows and grade sessions, as they come. Exit 3 with --once: some stayed undecided."""
    from ..judge_commands import judge

    raise typer.Exit(judge(context.obj, once, model, base_url))
