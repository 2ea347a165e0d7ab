"""``affidavit doctor``: what endangers the ledger, for people and for programs."""

from __future__ import annotations

from dataclasses import asdict

from ..doctor.examine import Report, examine
from ..doctor.finding import LEVELS, Finding
from ..settings import keys_root, ledger_place
from .output import print_json, say_line

ENDANGERED = 3
"""The exit code where something endangers the ledger: something that was asked for is not met."""


def examine_ledger(given: str | None, as_json: bool) -> int:
    """Print what was found and return the exit code."""
    report = examine(ledger_place(given), keys_root())
    if as_json:
        print_json(
            {
                "ledger": report.place,
                "at": report.at,
                "origin": report.origin,
                "size": report.size,
                "worst": report.worst,
                "findings": [asdict(finding) for finding in report.findings],
            }
        )
    else:
        _print(report)
    return ENDANGERED if report.worst == "danger" else 0


def _print(report: Report) -> None:
    say_line(f"ledger   {report.place}")
    if report.origin is not None:
        say_line(f"origin   {report.origin}, {report.size} entries")
    for level in reversed(LEVELS):
        for finding in report.findings:
            if finding.level == level:
                _print_finding(finding)
    counts = ((level, sum(finding.level == level for finding in report.findings)) for level in reversed(LEVELS))
    say_line(", ".join(f"{count} {level.replace('_', ' ')}" for level, count in counts if count))


def _print_finding(finding: Finding) -> None:
    say_line(f"{finding.level.replace('_', ' '):<12} {finding.check}: {finding.found}")
    if finding.level in ("warning", "danger"):
        for name, text in (
            ("looked at", finding.looked_at),
            ("expected", finding.expected),
            ("because", finding.why),
            ("to do", finding.advice),
        ):
            say_line(f"{'':<12}   {name:<9} {text}")
