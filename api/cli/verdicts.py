"""A verdict as one JSON document, and in words: the same for a ledger and for what was handed over."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from ...ledger.audit.anchors import Bound
from ...ledger.audit.fork import print_fork
from ...ledger.audit.verdict import Verdict
from ...ledger.entries.entry import format_at
from .output import base64, say_line

_MEANING = {
    "ok": "everything that was checked is as it was recorded",
    "damaged": "this is not as it was recorded",
    "not_proven": "it is not shown that this is what it was to be",
    "rollback": "this is older than what was signed",
    "fork": "the log has another history than one that was signed",
}
_MOST_LINES = 20


def verdict_json(verdict: Verdict) -> dict[str, Any]:
    """What every verdict says, in the order of the documents."""
    return {
        "verdict": verdict.verdict,
        "size": verdict.size,
        "root": base64(verdict.root),
        "origin": verdict.origin,
        "signed_size": verdict.signed_size,
        "checked": verdict.checked,
        "erased": verdict.erased,
        "not_checked": list(verdict.not_checked),
        "not_checked_because": verdict.not_checked,
        "damage": [
            {"kind": found.kind, "seq": found.seq, "detail": found.detail, "unmet": found.unmet}
            for found in verdict.damage
        ],
        "fork_evidence": None if verdict.fork is None else json.loads(print_fork(verdict.fork)),
    }


def bounds_json(bounds: Iterable[Bound], size: int) -> list[dict[str, Any]]:
    """The bounds of a log of ``size`` entries, where the last of them ends."""
    return [
        {
            "first": bound.first,
            "stop": size if bound.stop is None else bound.stop,
            "not_before": moment(bound.not_before),
            "not_after": moment(bound.not_after),
        }
        for bound in bounds
    ]


def moment(microseconds: int | None) -> str | None:
    """Microseconds since 1970 in the form of ``at``, or in seconds where that has none: others may sign any number."""
    if microseconds is None:
        return None
    try:
        return format_at(microseconds)
    except (ValueError, OverflowError, OSError):
        return f"{microseconds // 1_000_000} seconds after 1970"


def print_verdict(verdict: Verdict, about: Sequence[str], more: Sequence[str] = ()) -> None:
    """The verdict for people: the word, lines ``about`` the thing, what was checked, ``more``, and what was found."""
    say_line(f"{verdict.verdict.upper()}: {_MEANING[verdict.verdict]}")
    for line in about:
        say_line(f"  {line}")
    if verdict.checked:
        say_line(f"  checked  {', '.join(verdict.checked)}")
    for line in more:
        say_line(f"  {line}")
    if verdict.not_checked:
        say_line("  not checked")
        for name, reason in verdict.not_checked.items():
            say_line(f"    {name}: {reason}")
    for found in verdict.damage[:_MOST_LINES]:
        place = "" if found.seq is None else f" at entry {found.seq}"
        say_line(f"  {'not met' if found.unmet else 'damage'}: {found.kind}{place}: {found.detail}")
    if len(verdict.damage) > _MOST_LINES:
        say_line(f"  and {len(verdict.damage) - _MOST_LINES} more; --json lists them all")
