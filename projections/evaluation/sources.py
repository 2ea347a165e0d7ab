"""Sessions by the source of their first request: sets of sources side by side, and what may be concluded.

A gap between sets is an effect of the source only where chance assigned it. Whoever runs the agents may declare
how sessions were assigned; then the sizes of the sets are held against the declared shares. Without a
declaration the comparison is observational, and says so.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Sequence
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection

from ...domain.number import parse_number
from ..statistics.comparing import Arm, compare_sets
from ..statistics.rates import clustered_share
from ..statistics.sample_ratio import sample_ratio
from ..statistics.weighting import weighted_difference
from .graded import Graded, Rows, counts_of, has, of_texts, one_a_session
from .segments import FLIPPED, SUCCESS, alias_of
from .tiles import strata_of
from .windows import SourceSet

NamesOf = Callable[[Sequence[str]], dict[str, str]]


def available_sources(graded: Graded, rows: Rows) -> list[str]:
    return sorted(counts_of(rows["source"], graded.texts))


def source_sessions(graded: Graded, rows: Rows, names: NamesOf) -> list[dict[str, Any]]:
    """The sessions of each source, by id. A row without a session id stands in no list."""
    single = one_a_session(rows)
    sessions = [alias_of("session", number) for number in single["session"].tolist()]
    users = graded.users_of(single)
    named = names([*sessions, *users])
    found: dict[str, list[tuple[str, str]]] = {}
    for code, session, user in zip(single["source"].tolist(), sessions, users, strict=True):
        listed = found.setdefault(graded.texts[code], [])
        if named[session]:
            listed.append((named[user], named[session]))
    return [
        {
            "source": source,
            "session_ids": sorted({session for _, session in listed}),
            "sessions": [{"user_id": user, "session_id": session} for user, session in sorted(listed)],
        }
        for source, listed in sorted(found.items())
    ]


def comparison(graded: Graded, sets: Sequence[SourceSet], views: Connection, size: int) -> dict[str, Any]:
    """The difference between each two sets, by session, and what stands behind it."""
    trend = graded.trend
    texts = graded.texts
    arms, counts = [], {}
    for given in sets:
        single = one_a_session(trend[of_texts(trend["source"], texts, given.sources)])
        arms.append(Arm(given.label, has(single, SUCCESS), single["user"]))
        counts[given.label] = single
    return {
        "arms": {label: clustered_share(has(s, SUCCESS), s["user"]).as_json() for label, s in counts.items()},
        "differences": _differences(arms, [strata_of(graded.of_sources(given.sources)) for given in sets]),
        "mid_session_source_flips": {label: int(np.count_nonzero(s["flags"] & FLIPPED)) for label, s in counts.items()},
        **_design(
            views,
            size,
            graded,
            [graded.of_sources(given.sources) for given in sets],
            [source for given in sets for source in given.sources],
        ),
    }


def _differences(arms: Sequence[Arm], strata: Sequence[NDArray[np.int64]]) -> list[dict[str, Any]]:
    """Each two sets: of the graded sessions as they are, and when each stratum counts by its size."""
    weighted = [weighted_difference(a, b) for a, b in combinations(strata, 2)]
    return [
        {**found.as_json(), "weighted": beside.as_json()}
        for found, beside in zip(compare_sets(arms), weighted, strict=True)
    ]


def _design(
    views: Connection, size: int, everything: Graded, arms: Sequence[Graded], compared: Collection[str]
) -> dict[str, Any]:
    """Whether chance assigned the compared sessions to their sources, as declared beforehand; and the sizes then."""
    begun = everything.of_sources(list(compared)).begun
    first_at = int(begun["at"].min()) if len(begun) else everything.windows.first
    first_seq = int(begun["seq"].min()) if len(begun) else size
    declared = views.exec_driver_sql(
        "SELECT seq, unit, shares, mechanism, since FROM assignments WHERE seq < ? AND since <= ? "
        "ORDER BY since DESC, seq DESC",
        (size, everything.windows.last),
    ).all()
    row = next((row for row in declared if row.since <= first_at), None)
    if row is None:
        note = (
            "no assignment was declared when the first of these sessions began: a gap is a correlation, not an effect"
        )
        return {"design": "observational", "design_note": note, "assignment": None}
    shares = {source: parse_number(share) for source, share in json.loads(row.shares).items()}
    observed = {source: _units(everything.of_sources([source]).begun, row.unit) for source in shares}
    several = _in_several([arm.begun["user"] for arm in arms])
    found = {
        "seq": row.seq,
        "unit": row.unit,
        "mechanism": row.mechanism,
        "since": row.since,
        "shares": shares,
        "sample_ratio": sample_ratio(observed, shares).as_json(),
        "users_in_several_sets": several,
    }
    why_not = None
    if row.mechanism == "other":
        why_not = f"entry {row.seq} declares an assignment that is not by chance"
    elif row.seq > first_seq:
        why_not = f"entry {row.seq} declares it after the first of these sessions was recorded (entry {first_seq})"
    elif declared[0].seq != row.seq:
        why_not = f"the assignment changed inside the window (entry {declared[0].seq}): compare before and after apart"
    elif missing := sorted(set(compared) - shares.keys()):
        why_not = f"entry {row.seq} assigns nothing to {', '.join(map(repr, missing))}"
    elif row.unit == "user" and several:
        why_not = f"{several} users are in several sets, though users were assigned"
    if why_not is not None:
        return {"design": "observational", "design_note": why_not, "assignment": found}
    note = f"{row.unit}s were assigned to sources by {row.mechanism}, as declared in entry {row.seq}"
    return {"design": "declared", "design_note": note, "assignment": found}


def _in_several(arms: Sequence[NDArray[Any]]) -> int:
    """How many users are in more than one arm."""
    if not arms:
        return 0
    _, counts = np.unique(np.concatenate([np.unique(arm) for arm in arms]), return_counts=True)
    return int(np.count_nonzero(counts > 1))


def _units(rows: Rows, unit: str) -> int:
    return len(rows) if unit == "session" else len(np.unique(rows["user"]))
