"""What the command prints: tables for people, one JSON document for programs, progress on a terminal."""

from __future__ import annotations

import json
import sys
from base64 import b64encode
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

OnProgress = Callable[[int, int], None]


def print_json(document: Any) -> None:
    """Print one JSON document and nothing else."""
    sys.stdout.write(json.dumps(document, ensure_ascii=False, indent=2, allow_nan=False))
    sys.stdout.write("\n")


def say(line: str = "") -> None:
    """Print a line for people. Control characters show as escapes: recorded text must not drive a terminal."""
    print(safe(line))


def safe(text: str) -> str:
    """``text`` with control characters, but for tab and line feed, as escapes."""
    return "".join(
        character if character.isprintable() or character in "\t\n" else f"\\u{ord(character):04x}"
        for character in text
    )


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]], right: Sequence[str] = ()) -> None:
    """Print a table; the columns named in ``right`` are numbers. Missing values show as a dash."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text("—" if value is None else safe(str(value))) for value in row))
    console().print(table)


def console() -> Any:
    """Where people read: the terminal's width there, wide enough to cut nothing in a pipe."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else 160, highlight=False, markup=False)


@contextmanager
def progress(what: str, *, quiet: bool = False) -> Iterator[OnProgress | None]:
    """A progress bar on a terminal's standard error; None, and nothing printed, in a pipe."""
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def score(value: float | None) -> str | None:
    return None if value is None else f"{value:.4f}"


def base64(data: bytes) -> str:
    return b64encode(data).decode()
