"""Tables and scores as plain text, for answers that are text as a whole."""

from __future__ import annotations

from collections.abc import Sequence


def aligned(columns: Sequence[str], rows: Sequence[Sequence[object]], right: Sequence[str] = ()) -> list[str]:
    """Columns under their names, two blanks between them; those named in ``right`` are numbers.

    None shows as a dash. A cell takes one line, whatever it holds.
    """
    cells = [["—" if value is None else " ".join(str(value).split()) for value in row] for row in rows]
    lines = [list(columns), *cells]
    widths = [max(len(line[index]) for line in lines) for index in range(len(columns))]
    return [
        "  ".join(
            cell.rjust(width) if column in right else cell.ljust(width)
            for cell, width, column in zip(line, widths, columns, strict=True)
        ).rstrip()
        for line in lines
    ]


def score_or_dash(score: float | None) -> str:
    """A score with four decimals; a dash where there is none."""
    return "—" if score is None else f"{score:.4f}"
