"""The figures of a set of results: rates, buckets, tiles, distribution, as the peer defines them, and beside
each what it leaves out: how many sessions, the interval, whether there was a baseline at all.

The peer counts rows, so a session that was graded twice counts twice. Beside its figures stand those by session:
of each session the result that was recorded last.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..statistics.rates import Clusters, Mean, Share, clustered_share, clusters_in_each, dense
from ..statistics.rates import share as clustered
from ..statistics.weighting import weighted_share
from .changes import Change, mean_change, share_change, sides
from .graded import Codes, Graded, Rows, counts_of, has, one_a_session
from .segments import ESCALATED, FLIPPED, NONE, SUCCESS, SYSTEM_ERROR
from .view import DAY

_COUNTED_PER_ROW = 4
_BEGAN_AT_ONCE = 8
"""Sessions that began in one second are looked through one by one, up to so many."""

DISTRIBUTION = ("0", "1", "2", "3", "4", "5+")


def successes(rows: Rows) -> int:
    return _count(rows, SUCCESS)


def clustered_rate(single: Rows) -> Share:
    """The share of successful sessions, one row each."""
    return clustered_share(has(single, SUCCESS), single["user"])


def share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def buckets(rows: Rows, begun: Rows, step: int) -> list[dict[str, Any]]:
    """The trend by day or week, only buckets with results. ``population`` counts the sessions that began in one."""
    if not len(rows):
        return []
    numbers, place = runs(rows["at"] // step)
    size = len(numbers)
    wins, escalated = has(rows, SUCCESS), has(rows, ESCALATED)
    counts, successes = np.bincount(place, minlength=size), np.bincount(place[wins], minlength=size)
    escalations = np.bincount(place[escalated], minlength=size)
    corrections = _sums(place, rows["corrections"], size)
    single = one_a_session(rows)
    single_place = np.searchsorted(numbers, single["at"] // step)
    sessions = np.bincount(single_place, minlength=size)
    session_wins = np.bincount(single_place[has(single, SUCCESS)], minlength=size)
    began = begun["at"] // step
    population = np.searchsorted(began, numbers, side="right") - np.searchsorted(began, numbers)
    spread = _clusters_in(single_place, single, size)
    found = []
    for i in range(size):
        n = int(counts[i])
        counted = clustered(int(session_wins[i]), int(sessions[i]), clusters=spread[i])
        found.append(
            {
                "ts": int(numbers[i]) * step,
                "regular_rate": share(int(successes[i]), n),
                "regular_n": n,
                "shadow_rate": None,
                "shadow_n": 0,
                "avg_corrections": share(corrections[i], n),
                "escalation_rate": share(int(escalations[i]), n),
                "session_count": int(sessions[i]),
                "session_rate": share(int(session_wins[i]), int(sessions[i])),
                "session_rate_interval": counted.as_json()["interval"],
                "population": int(population[i]),
            }
        )
    return found


def runs(values: Codes) -> tuple[Codes, Codes]:
    """The values that there are, and of each which one it is; as ``numpy.unique``, of values that never fall."""
    if not len(values):
        return values, np.zeros(0, dtype=np.int64)
    begins = np.append(True, values[1:] != values[:-1])
    return values[begins], np.cumsum(begins) - 1


def tiles(graded: Graded) -> dict[str, Any]:
    """The current window against the prior one. ``delta`` is the peer's, which takes an empty prior window for 0."""
    current, prior = graded.current, graded.prior
    n, before = len(current), len(prior)
    eligible, eligible_before = current[~has(current, SYSTEM_ERROR)], prior[~has(prior, SYSTEM_ERROR)]
    rate, rate_before = (share(_count(rows, SUCCESS), len(rows)) for rows in (current, prior))
    behavior = share(_count(eligible, SUCCESS), len(eligible)) if len(eligible) else None
    behavior_before = share(_count(eligible_before, SUCCESS), len(eligible_before)) if len(eligible_before) else None
    turns, turns_before = (rows["turns"][rows["turns"] != NONE] for rows in (current, prior))
    corrections, corrections_before = _mean(current["corrections"]), _mean(prior["corrections"])
    escalated, escalated_before = (share(_count(rows, ESCALATED), len(rows)) for rows in (current, prior))
    single, single_before = one_a_session(current), one_a_session(prior)
    behaved, behaved_before = (rows[~has(rows, SYSTEM_ERROR)] for rows in (single, single_before))
    solved, solved_before = (rows[rows["turns"] != NONE] for rows in (single, single_before))
    return {
        "success": {
            "current": 100 * rate,
            "delta_pp": 100 * rate - 100 * rate_before,
            **_beside_share(single, single_before, SUCCESS),
        },
        "behavior_success": {
            "current": None if behavior is None else 100 * behavior,
            "delta_pp": None if behavior is None or behavior_before is None else 100 * behavior - 100 * behavior_before,
            "eligible_sessions": len(eligible),
            "excluded_system_errors": n - len(eligible),
            **_beside_share(behaved, behaved_before, SUCCESS),
        },
        "corrections": {
            "current": corrections,
            "delta": corrections - corrections_before,
            **_beside_mean(single, single_before, "corrections"),
        },
        "turns": {
            "current": _mean(turns),
            "delta": _mean(turns) - _mean(turns_before),
            **_beside_mean(solved, solved_before, "turns"),
        },
        "escalation": {
            "current": 100 * escalated,
            "delta_pp": 100 * escalated - 100 * escalated_before,
            **_beside_share(single, single_before, ESCALATED),
        },
        "rows": {"current": n, "prior": before},
        "sessions": {"current": len(single), "prior": len(single_before)},
    }


def distribution(graded: Graded) -> dict[str, Any]:
    return {
        "labels": list(DISTRIBUTION),
        "current_bins": _bins(graded.current),
        "baseline_bins": _bins(graded.prior),
    }


def sampling(graded: Graded) -> dict[str, Any]:
    """How the trend's results came to be, and what the share is when each stratum counts by its size.

    A stratum is (UTC day, first source): its population the sessions that began then and there. Results that the
    sticky sample, clicks and jobs chose are mixed in any window; weighting by stratum takes out that they chose
    strata differently, and nothing else.
    """
    single = one_a_session(graded.trend)
    strata = strata_of(graded)
    weighted = weighted_share(strata) if len(strata) else None
    return {
        "sessions": len(single),
        "population": len(graded.begun),
        "sessions_begun": _known_to_begin(single, graded.begun),
        "made": counts_of(single["made"], graded.texts),
        "judges": counts_of(single["model"], graded.texts),
        "judge_prompt_versions": counts_of(single["prompt"], graded.texts),
        "evaluation_names": counts_of(single["name"], graded.texts),
        "strata": len(strata),
        "weighted": None if weighted is None else weighted.as_json(),
        "mid_session_source_flips": _count(single, FLIPPED),
    }


def _known_to_begin(single: Rows, begun: Rows) -> int:
    """How many of these sessions are among those that began."""
    # Nearly all are graded by when they began, so that they are looked for there; sorting all of them takes long.
    place, after = (np.searchsorted(begun["at"], single["at"], side=side) for side in ("left", "right"))
    rest, missed = np.arange(len(single)), [np.zeros(0, dtype=np.intp)]
    for _ in range(_BEGAN_AT_ONCE):
        within = place[rest] < after[rest]
        missed.append(rest[~within])
        rest = rest[within]
        rest = rest[begun["session"][place[rest]] != single["session"][rest]]
        place[rest] += 1
    rest = np.concatenate([*missed, rest])
    found = int(np.count_nonzero(np.isin(single["session"][rest], begun["session"]))) if len(rest) else 0
    return len(single) - len(rest) + found


def mixed_rulers(graded: Graded) -> list[str]:
    """What makes results of one answer hard to compare, in words."""
    found = []
    names = counts_of(graded.trend["name"], graded.texts)
    if len(names) > 1:
        found.append(f"results of {len(names)} evaluations are counted together: {', '.join(map(repr, names))}")
    current, prior = (set(counts_of(rows["prompt"], graded.texts)) for rows in (graded.current, graded.prior))
    if current and prior and current != prior:
        found.append("the current and the prior window were not graded under the same versions of the judge's prompt")
    return found


def strata_of(graded: Graded) -> NDArray[np.int64]:
    """(population, graded, successes) of each (UTC day, first source), of what chance chose."""
    # Whoever clicks chooses: only what chance chose may speak for its stratum.
    return _strata(one_a_session(graded.drawn), graded.begun, len(graded.texts))


def _strata(single: Rows, begun: Rows, sources: int) -> NDArray[np.int64]:
    """Rows (population, graded, successes) of each (day, source) that has results or sessions."""
    if not len(single) and not len(begun):
        return np.empty((0, 3), dtype=np.int64)
    keys = np.concatenate([_stratum(begun, sources), _stratum(single, sources)])
    place = dense(keys - keys.min())
    size = int(place.max()) + 1
    graded_place = place[len(begun) :]
    population = np.bincount(place[: len(begun)], minlength=size)
    graded = np.bincount(graded_place, minlength=size)
    successes = np.bincount(graded_place[has(single, SUCCESS)], minlength=size)
    present = (population > 0) | (graded > 0)
    population, graded, successes = population[present], graded[present], successes[present]
    # Where no session is known to have begun, nobody knows what the graded ones were drawn from.
    known = np.where(population > 0, np.maximum(population, graded), 0)
    return np.stack([known, graded, successes], axis=1)


def _stratum(rows: Rows, sources: int) -> NDArray[np.int64]:
    return np.asarray((rows["at"] // DAY) * sources + rows["source"], dtype=np.int64)


def _clusters_in(place: Codes, rows: Rows, size: int) -> list[Clusters]:
    """For each place what its users' totals say of how much their sessions resemble each other."""
    users = int(rows["user"].max()) + 1 if len(rows) else 1
    keys = place * users + rows["user"].astype(np.int64)
    if size * users > _COUNTED_PER_ROW * len(rows):
        present, keys = np.unique(keys, return_inverse=True)
    else:
        present = None
    n = np.bincount(keys, minlength=0 if present is None else len(present))
    won = np.bincount(keys[has(rows, SUCCESS)], minlength=len(n))
    if present is None:  # counting is linear in places times users, sorting in n log n
        present = np.flatnonzero(n)
        n, won = n[present], won[present]
    return clusters_in_each(present // users, won.astype(float), n.astype(float), size)


def _beside_share(current: Rows, prior: Rows, flag: int) -> dict[str, Any]:
    now, then = sides(has(current, flag), current["user"], has(prior, flag), prior["user"])
    return _beside(now.share, then.share, share_change(now, then))


def _beside_mean(current: Rows, prior: Rows, column: str) -> dict[str, Any]:
    now, then = sides(current[column], current["user"], prior[column], prior["user"])
    return _beside(now.mean, then.mean, mean_change(now, then))


def _beside(now: Share | Mean, then: Share | Mean, change: Change | None) -> dict[str, Any]:
    return {
        "by_session": {
            "current": now.as_json(),
            "prior": then.as_json() if then.n else None,
            "change": None if change is None else change.as_json(),
        },
        "has_baseline": then.n > 0,
    }


def _bins(rows: Rows) -> list[int]:
    clipped = np.clip(rows["corrections"], 0, len(DISTRIBUTION) - 1)
    return [int(count) for count in np.bincount(clipped, minlength=len(DISTRIBUTION))]


def _count(rows: Rows, flag: int) -> int:
    return int(np.count_nonzero(rows["flags"] & flag))


def _mean(values: Codes) -> float:
    """The mean of whole numbers, 0.0 of none. Large ones are added as Python's integers, which do not overflow."""
    if not len(values):
        return 0.0
    if int(np.abs(values).max()) < 2**40:
        return int(values.sum()) / len(values)
    total: int = sum(values.tolist())
    return total / len(values)


def _sums(place: Codes, values: Codes, size: int) -> list[int]:
    if len(values) and int(np.abs(values).max()) < 2**20:
        return [int(total) for total in np.bincount(place, weights=values, minlength=size)]
    sums = [0] * size
    for at, value in zip(place.tolist(), values.tolist(), strict=True):
        sums[at] += value
    return sums
