"""What the command prints: tables for people, one JSON document for programs, progress on a terminal; and files."""

from __future__ import annotations

import json
import os
import sys
from base64 import b64encode
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from textwrap import wrap
from typing import Any

from ...ledger.errors import Unavailable
from ...ledger.files import write_whole

OnProgress = Callable[[int, int], None]

_PIPE_WIDTH = 160
_LEAST_LAST = 16
"""Characters that a table's last column, which may break, is not narrower than."""
_GAP = 3


def put(text: str) -> None:
    """Write to standard output. A reader that has seen enough and closed the pipe is no error."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def print_json(document: Any) -> None:
    """Print one JSON document and nothing else."""
    put(json.dumps(document, ensure_ascii=False, indent=2, allow_nan=False) + "\n")


def say(line: str = "") -> None:
    """Print a line for people. Control characters show as escapes: recorded text must not drive a terminal."""
    put(safe(line) + "\n")


def say_line(line: str) -> None:
    """Print one line, whatever stands in it: a line feed in a text that somebody handed over begins no line here."""
    say(line.replace("\n", "\\n"))


def safe(text: str) -> str:
    """``text`` with control characters, but for tab and line feed, as escapes."""
    return "".join(
        character if character.isprintable() or character in "\t\n" else f"\\u{ord(character):04x}"
        for character in text
    )


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]], right: Sequence[str] = ()) -> None:
    """Print a table; the columns named in ``right`` are numbers. Missing values show as a dash.

    Where the terminal is too narrow for it, each row is told in words: nothing is cut.
    """
    from rich.box import SIMPLE_HEAD
    from rich.cells import cell_len
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        # Only the last column may break; a number broken over two lines cannot be read.
        table.add_column(
            column, justify="right" if column in right else "left", overflow="fold", no_wrap=column != columns[-1]
        )
    cells = [["—" if value is None else safe(str(value)) for value in row] for row in rows]
    for row_cells in cells:
        table.add_row(*map(Text, row_cells))
    # As wide as the terminal; in a pipe wide enough to break little.
    console = Console(width=None if sys.stdout.isatty() else _PIPE_WIDTH, highlight=False, markup=False)
    widths = [max(map(cell_len, column)) for column in zip(columns, *cells, strict=True)]
    if sum(widths[:-1]) + min(widths[-1], _LEAST_LAST) + _GAP * len(widths) > console.width:
        for row_cells in cells:
            told = " · ".join(f"{column} {cell}" for column, cell in zip(columns, row_cells, strict=True))
            put("\n".join(wrap(told, console.width, subsequent_indent="  ", break_long_words=False)) + "\n")
        return
    with console.capture() as captured:
        console.print(table)
    put(captured.get())


def write_file(path: Path, content: bytes, *, new: bool = False) -> None:
    """Write a file that was asked for, whole or not at all; with ``new`` never over something."""
    try:
        write_whole(path, content, new=new)
    except OSError as error:
        raise Unavailable(f"{path}: {error.strerror}") from error


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


def count_answers(samples: int | None, answers: int | None, failed: int | None) -> str:
    """How many samples a score is of, in the words of ``explain``; ``samples`` is None where they are not open."""
    parts = [f"n = {answers if samples is None else samples}"]
    if samples not in (None, answers):
        parts.append(f"{answers} answers, averaged per sample")
    if failed:
        parts.append(f"{failed} failed")
    return ", ".join(parts)


def score(value: float | None) -> str | None:
    return None if value is None else f"{value:.4f}"


def base64(data: bytes) -> str:
    return b64encode(data).decode()
