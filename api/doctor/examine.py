"""One look at a ledger, running or at rest. Nothing is changed, nothing is repaired, and no entry is verified."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from ...domain.errors import AffidavitError
from ...ledger.application import system_clock
from ...ledger.entries.entry import format_at
from ...ledger.errors import Unavailable
from ...ledger.store.condition import Condition, FolderCondition
from ...ledger.store.place import Place
from ...projections.view_state import view_states
from .finding import Check, Finding, Level, worst
from .folder import check_folder
from .key_folder import check_keys
from .log import Room, check_log, check_views
from .server import check_server

_OPENED = Check(
    "opened",
    "the ledger's databases",
    "they can be read by this version",
    "what cannot be read was not looked at",
    "what it says; `affidavit verify` tells whether the ledger is damaged",
)
_READ = Check(
    "read",
    "what the log, the keys or the views say",
    "it can be read",
    "what cannot be read was not looked at",
    "`affidavit verify` tells whether the ledger is damaged",
)


@dataclass(frozen=True, slots=True)
class Report:
    """What was found, in the order of looking. ``origin`` and ``size`` are None where the ledger did not open."""

    place: str
    at: str
    origin: str | None
    size: int | None
    findings: tuple[Finding, ...]

    @property
    def worst(self) -> Level:
        return worst(self.findings)


def examine(
    place: Place, keys_root: Path, *, now: int | None = None, environment: Mapping[str, str] = os.environ
) -> Report:
    """Look at everything. ``now`` is in microseconds since 1970, else the time at which the log is looked at.

    ``Unavailable`` where there is no ledger at all.
    """
    if not place.exists():
        raise Unavailable(f"no ledger in {place}; `affidavit init` makes one")
    findings: list[Finding] = []
    room = None
    try:
        condition = place.condition()
    except AffidavitError as error:
        findings.append(_OPENED.found("danger", str(error)))
    else:
        findings += check_folder(condition) if isinstance(condition, FolderCondition) else check_server(condition)
        room = _room(condition)
    report = Report(str(place), format_at(system_clock() if now is None else now), None, None, ())
    try:
        with place.glance() as reader:
            report = replace(report, origin=reader.origin(), size=reader.head().size)
            at = system_clock() if now is None else now  # after what others recorded until here
            findings += _as_far_as_it_reads(check_log(reader, at, room, environment))
            findings += _as_far_as_it_reads(check_keys(place, keys_root, reader))
            findings += _as_far_as_it_reads(_check_views(place, reader.head().size))
    except AffidavitError as error:
        if not any(finding.check == _OPENED.name for finding in findings):
            findings.append(_OPENED.found("danger", str(error)))
    return replace(report, findings=tuple(findings))


def _room(condition: Condition) -> Room:
    if isinstance(condition, FolderCondition):
        return Room(condition.size, condition.free)
    return Room(condition.size, None, "how much is free on the server's disk, no query says")


def _check_views(place: Place, size: int) -> Iterator[Finding]:
    yield check_views(view_states(place), size)


def _as_far_as_it_reads(findings: Iterator[Finding]) -> Iterator[Finding]:
    """Whatever lies there, what was found before it is told."""
    try:
        yield from findings
    except Exception as error:  # damage raises whatever it raises
        yield _READ.found("danger", f"{type(error).__name__}: {error}")
