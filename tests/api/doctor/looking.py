"""What the tests of the doctor look at, and how."""

from __future__ import annotations

from collections.abc import Iterable

from affidavit.api.doctor.finding import Finding, Level
from affidavit.domain.event import Meta, NewEvent
from affidavit.ledger.application import Ledger
from affidavit.ledger.events import ProjectionSealed

SECOND = 1_000_000
DAY = 86_400 * SECOND
NOW = 1_795_341_600 * SECOND


def levels(findings: Iterable[Finding]) -> dict[str, Level]:
    """Of each check, which is made once."""
    found = [(finding.check, finding.level) for finding in findings]
    assert len(dict(found)) == len(found)
    return dict(found)


def finding(findings: Iterable[Finding], check: str) -> Finding:
    return next(each for each in findings if each.check == check)


def bad(findings: Iterable[Finding]) -> dict[str, Level]:
    return {check: level for check, level in levels(findings).items() if level in ("warning", "danger")}


def append(ledger: Ledger, count: int, start: int = 0) -> None:
    events = (
        NewEvent("run/1", pos, ProjectionSealed(name="n", version=1, upto=0, digest="0" * 64), Meta())
        for pos in range(start, start + count)
    )
    ledger.record(*events)
