"""The command line's frame: the application, its groups of commands, and the options that several share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help: it starts in half the time, and pipes well
    help="Affidavit: a tamper-evident ledger for AI quality evidence.",
)
imports = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Read what another system wrote into the ledger."
)
exports = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Write out the signed log, or what is recorded in the form of another system.",
)
keys = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Keys for the HTTP API, by scope; and the key that signs, which is rotated.",
)
rules = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="The rules that agents search.")
app.add_typer(imports, name="import")
app.add_typer(exports, name="export")
app.add_typer(keys, name="keys")
app.add_typer(rules, name="rules")

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]
Profile = Annotated[str, typer.Option(help="native (everything) or reflex-0.2 (as aevyra-reflex 0.2 writes it).")]
AsOf = Annotated[
    str | None,
    typer.Option("--as-of", metavar="SEQ_OR_TIME", help="Up to this entry (digits), or to this time (with a '-')."),
]
Policy = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="A tlog-policy: the log's keys, the witnesses you trust, how many suffice."),
]
Pinned = Annotated[
    list[Path] | None,
    typer.Option(metavar="FILE", help="A signed checkpoint that you kept from an earlier visit; repeatable."),
]
TsaRoots = Annotated[
    list[Path] | None,
    typer.Option("--tsa-root", metavar="FILE", help="Certificates (PEM) of a time authority; repeatable."),
]

From = Annotated[
    str | None,
    typer.Option("--from", metavar="T", help="Seconds since 1970, or a time [default: 30 days before --to]."),
]
To = Annotated[str | None, typer.Option("--to", metavar="T", help="Seconds since 1970, or a time [default: now].")]
Source = Annotated[str | None, typer.Option(metavar="S", help="Only sessions whose first request had this source.")]

Model = Annotated[
    str | None,
    typer.Option(metavar="M", help="The judge's model [default: AFFIDAVIT_JUDGE_MODEL].", show_default=False),
]
BaseUrl = Annotated[
    str | None,
    typer.Option(metavar="URL", help="Its OpenAI-compatible address [default: AFFIDAVIT_JUDGE_BASE_URL]."),
]


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"affidavit {version('affidavit')}")
        raise typer.Exit


@app.callback()
def start(
    context: typer.Context,
    ledger: Annotated[
        str | None,
        typer.Option(
            metavar="DIR|URL",
            help="The ledger's folder, or postgresql://USER@HOST/DATABASE?ledger=NAME "
            "[default: .affidavit, or AFFIDAVIT_LEDGER].",
        ),
    ] = None,
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True)] = False,
) -> None:
    context.obj = ledger
