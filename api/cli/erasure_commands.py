"""``affidavit erase`` and ``affidavit retention …``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from ...domain.errors import Refused
from ...domain.event import Meta
from ...ledger.application import Ledger
from ..erasing import Erasure, Plan, erase_scopes, plan_run, plan_subject, purge_directory, stray_copies
from ..moment import LiveLedger
from ..reading import open_for_reading
from ..retention import KINDS, Kind, Rule, apply_retention, declare_retention, find_due, read_retention
from ..run_folders import require_runs
from ..settings import keys_root, ledger_place, recorder_name
from .opening import open_for_writing
from .output import print_json, print_table, say


def erase(
    given: str | None,
    subject: str | None,
    run: str | None,
    reason: str,
    note: str | None,
    directories: Sequence[Path],
    yes: bool,
    as_json: bool,
) -> int:
    """Erase a person or a run; the exit code, 3 where whoever was asked said no."""
    if (subject is None) == (run is None):
        raise Refused("erase_one", "expected --subject USER or --run ID, one of them")
    if directories and run is None:
        raise Refused("erase_one", "--directory goes with --run")
    for directory in directories:  # a mistyped name must not be found once the keys are gone
        require_runs(directory)
    with open_for_writing(given) as ledger:
        plan = _plan_run(ledger, run, directories) if run is not None else _plan_subject(ledger, str(subject))
        if not yes and not _agreed(plan, directories):
            say("nothing was erased")
            return 3
        erased = list(erase_scopes(ledger, plan.scopes, reason, note, Meta(recorder=recorder_name())))
        removed = [] if run is None else [_purge(ledger, directory, run) for directory in directories]
    strays = [str(path) for scope in plan.scopes for path in stray_copies(scope)]
    stays = [*plan.stays, *(f"{path}: left by a reading command that was killed; delete it" for path in strays)]
    if as_json:
        print_json({"erased": [_as_json(found) for found in erased], "removed": removed, "stays": stays})
        return 0
    for found in erased:
        say(f"entry {found.executed.seq}  the key of {found.scope} is destroyed, as entry {found.requested.seq} asked")
    for line in removed:
        say(line)
    if erased:
        say("the read models and their search index hold no sealed text and no name, so nothing had to go from there")
        say("what stays, or is out of reach here:")
    for line in stays:
        say(f"  {line}")
    return 0


def set_retention(given: str | None, run: int | None, subject: int | None, as_json: bool) -> None:
    asked: dict[Kind, int | None] = {"run": run, "subject": subject}
    days = {kind: limit for kind, limit in asked.items() if limit is not None}
    with open_for_writing(given) as ledger:
        _print_rule(Rule(days, declare_retention(ledger, days).seq), as_json)


def show_retention(given: str | None, as_json: bool) -> None:
    with open_for_reading(ledger_place(given), keys_root()) as ledger:
        _print_rule(read_retention(ledger.events), as_json)


def apply_rule(given: str | None, dry_run: bool, as_json: bool) -> None:
    with open_for_writing(given) as ledger:
        if dry_run:
            due = find_due(ledger)
            if as_json:
                print_json({"due": [{"kind": it.kind, "scope": it.scope, "last_at": it.last_at} for it in due]})
            elif due:
                print_table(("kind", "scope", "last entry"), [(it.kind, it.scope, it.last_at) for it in due])
            else:
                say("nothing is due")
            return
        erased = list(apply_retention(ledger))
    if as_json:
        print_json({"erased": [_as_json(found) for found in erased]})
        return
    for found in erased:
        say(f"entry {found.executed.seq}  the key of {found.scope} is destroyed")
    if not erased:
        say("nothing is due")


def _plan_run(ledger: Ledger, run: str, directories: Sequence[Path]) -> Plan:
    """What to erase of a run; nothing but its directories where it was erased before."""
    try:
        return plan_run(ledger, run)
    except Refused as refused:
        if refused.rule != "scope_erased" or not directories:
            raise
        return Plan((), ())


def _plan_subject(ledger: Ledger, subject: str) -> Plan:
    with closing(LiveLedger(ledger)) as live:
        plan = plan_subject(live, subject)
    if not plan.scopes:
        raise Refused("subject_known", f"nothing is known of {subject!r} here, or it was erased before")
    return plan


def _agreed(plan: Plan, directories: Sequence[Path]) -> bool:
    """Whether the person at the terminal agrees; ``Refused`` (``yes_needed``) where nobody can be asked."""
    if not sys.stdin.isatty():
        raise Refused("yes_needed", "nobody is here to ask: give --yes")
    for scope in plan.scopes:
        say(f"the key of {scope} will be destroyed")
    for directory in directories:
        say(f"the run's directory under {directory} will be removed")
    say("Nothing can bring it back. Type yes to go on:")
    return sys.stdin.readline().strip() == "yes"


def _purge(ledger: Ledger, directory: Path, run: str) -> str:
    path = purge_directory(ledger, directory, run)
    return f"not there  run {run} has no directory under {directory}" if path is None else f"removed    {path}"


def _print_rule(rule: Rule | None, as_json: bool) -> None:
    days = {} if rule is None else rule.days
    if as_json:
        print_json({"days": days, "seq": None if rule is None else rule.seq})
        return
    for kind in KINDS:
        say(f"{kind:<8} {f'{days[kind]} days after its last entry' if kind in days else 'kept'}")
    say("never declared" if rule is None else f"declared by entry {rule.seq}")


def _as_json(erasure: Erasure) -> dict[str, Any]:
    return {"scope": erasure.scope, "requested": erasure.requested.seq, "executed": erasure.executed.seq}
