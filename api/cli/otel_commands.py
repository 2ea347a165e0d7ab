"""Commands about OpenTelemetry: import and export of GenAI spans."""

from __future__ import annotations

from pathlib import Path

from ..adapters.otel import Window, export_telemetry, import_telemetry
from ..reading import open_for_reading, parse_seconds
from ..settings import keys_root, ledger_place
from .opening import open_for_writing
from .output import base64, print_json, print_table, progress, say


def import_otel(given: str | None, path: Path, as_json: bool) -> None:
    with (
        open_for_writing(given) as ledger,
        progress("importing", quiet=as_json) as on_progress,
    ):
        report = import_telemetry(ledger, path, on_progress)
    if as_json:
        print_json(report.as_json())
        return
    rows = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in report.rows.items() if count)
    say(f"{rows or 'nothing'} read; {report.events} events added, {report.unchanged} were there already")
    if report.findings:
        print_table(("finding", "count"), sorted(report.findings.items()), right=("count",))


def export_otel(
    given: str | None,
    path: Path,
    as_of: str | None,
    start: str | None,
    end: str | None,
    content: bool,
    as_json: bool,
) -> None:
    window = Window(*(None if text is None else parse_seconds(text) for text in (start, end)))
    with (
        open_for_reading(ledger_place(given), keys_root()) as ledger,
        progress("exporting", quiet=as_json) as on_progress,
    ):
        size = ledger.size_as_of(as_of)
        report = export_telemetry(ledger, path, size=size, window=window, content=content, on_progress=on_progress)
    if as_json:
        print_json(report.as_json())
        return
    rows = ", ".join(f"{count} {name.replace('_', ' ')}s" for name, count in report.spans.items() if count)
    say(f"{rows or 'nothing'} exported, " + ("with their content" if content else "without content"))
    for why, count in report.withheld.items():
        if count:
            say(f"content of {count} spans is {why}")
    say(f"from {report.size} entries, root {base64(report.root)}")
