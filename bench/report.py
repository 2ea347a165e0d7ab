"""Put the figures of bench/results.json into docs/performance.md; that part of the page is never edited by hand.

``python bench/report.py`` writes the page, ``--check`` only says whether it is up to date (exit 1 if not).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).with_name("results.json")
PAGE = Path(__file__).parents[1] / "docs" / "performance.md"
BEGIN = "<!-- figures: written by bench/report.py -->"
END = "<!-- end of figures -->"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 if the page is out of date")
    options = parser.parse_args()
    page = PAGE.read_text()
    fresh = with_figures(page, json.loads(RESULTS.read_text()))
    if not options.check:
        PAGE.write_text(fresh)
    elif fresh != page:
        sys.exit(f"{PAGE.name}: not the figures of {RESULTS.name}; run python bench/report.py")


def with_figures(page: str, results: dict[str, Any]) -> str:
    """``page`` with the part between the two marks made anew."""
    before, rest = page.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n{markdown(results)}{END}{after}"


def markdown(results: dict[str, Any]) -> str:
    """The table, the figures beside it and the machine, as Markdown."""
    rows = results["rows"]
    lines = ["", "| name | what | figure | 95 % interval | n | target | met |", "|---|---|---|---|---|---|---|"]
    lines += [f"| {' | '.join((row['name'], row['what'], *_cells(row)))} |" for row in rows]
    lines += ["", "Beside each:", ""]
    lines += [f"- {row['name']}: {_beside(row)}" for row in rows if row["beside"]]
    lines += ["", f"Measured at {results['at']}, {_load(results)}, on:", ""]
    lines += [f"- {name}: {fact}" for name, fact in results["machine"].items()]
    if results["quick"]:
        lines += ["", "**This was a quick run: its figures mean nothing.**"]
    return "\n".join(lines) + "\n\n"


def print_rows(rows: Sequence[dict[str, Any]]) -> None:
    """Print the table for a terminal, what stands beside each row under it."""
    heads = ("name", "figure", "95 % interval", "n", "target", "met")
    table = [heads, *((row["name"], *_cells(row)) for row in rows)]
    widths = [max(len(line[column]) for line in table) for column in range(len(heads))]
    for number, line in enumerate(table):
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
        if number and rows[number - 1]["beside"]:
            print(f"    {_beside(rows[number - 1])}")


def _cells(row: dict[str, Any]) -> tuple[str, str, str, str, str]:
    measured, unit = row["measured"], row["unit"]
    interval = "one measurement" if measured["n"] == 1 else f"{_number(measured['low'])} – {_number(measured['high'])}"
    if measured["n"] > 1 and measured["coverage"] < 0.95:
        interval += f" ({measured['coverage']:.0%} only)"
    target = "–"
    if row["target"] is not None:
        target = f"{row['rule']} {_number(row['target'])} {unit}"
    return f"{_number(measured['value'])} {unit}", interval, str(measured["n"]), target, row["met"] or "–"


def _beside(row: dict[str, Any]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {_number(value)}" for name, value in row["beside"].items())


def _load(results: dict[str, Any]) -> str:
    return f"load {results['load_before']:.1f} before and {results['load_after']:.1f} after"


def _number(value: float) -> str:
    """Three significant digits, thousands apart."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


if __name__ == "__main__":
    main()
