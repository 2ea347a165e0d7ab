"""A verdict as one JSON document, and in words: the same for a ledger and for what was handed over."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from ...ledger.audit.anchors import Bound, print_bounds
from ...ledger.audit.fork import print_fork
from ...ledger.audit.verdict import MEANINGS, Verdict
from .output import base64, say_line

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
    return [bound._asdict() for bound in print_bounds(bounds, size)]


def print_verdict(verdict: Verdict, about: Sequence[str], more: Sequence[str] = ()) -> None:
    """The verdict for people: the word, lines ``about`` the thing, what was checked, ``more``, and what was found."""
    say_line(f"{verdict.verdict.upper()}: {MEANINGS[verdict.verdict]}")
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
