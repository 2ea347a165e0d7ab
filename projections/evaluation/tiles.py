"""The figures of a set of results: rates, buckets, tiles, distribution, rules, as the peer defines them, and beside
each what it leaves out: how many sessions, the interval, whether there was a baseline at all.

The peer counts rows, so a session that was graded twice counts twice. Beside its figures stand those by session:
of each session the result that was recorded last.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection

from ..rates import Clusters, Share, clustered_share, mean_interval, weighted_share
from ..rates import share as clustered
from .segments import (
    ESCALATED,
    FLIPPED,
    NONE,
    REPEATED,
    SUCCESS,
    SUPERSEDED,
    SYSTEM_ERROR,
    alias_of,
    between,
    load_segments,
)
from .stale import fill_sessions
from .view import DAY
from .windows import Windows

Rows = NDArray[Any]
DISTRIBUTION = ("0", "1", "2", "3", "4", "5+")
RULES_SHOWN = 5
SessionNames = Callable[[Sequence[str]], dict[str, str]]


@dataclass(frozen=True, slots=True)
class Graded:
    """The results of an overview's windows, and the sessions that began in its trend, of all sources or of some.

    ``drawn`` are the trend's results that chance chose, also where somebody has asked for another grade since. All
    stand in order of time. In ``rows`` users are numbers from 0 on, into ``users``. All share one numbering of
    sources, ``texts``.
    """

    windows: Windows
    rows: Rows
    drawn: Rows
    begun: Rows
    texts: tuple[str, ...]
    users: NDArray[np.uint64]
    cited: NDArray[np.int32]
    rules: tuple[tuple[str, str], ...]

    @property
    def trend(self) -> Rows:
        return between(self.rows, self.windows.first, self.windows.last)

    @property
    def current(self) -> Rows:
        return between(self.rows, self.windows.current, self.windows.last)

    @property
    def prior(self) -> Rows:
        return between(self.rows, self.windows.prior, self.windows.current - 1)

    def of_sources(self, sources: Sequence[str]) -> Graded:
        """Those whose session's first request had one of these sources."""
        rows, drawn, begun = (
            found[of_texts(found["source"], self.texts, sources)] for found in (self.rows, self.drawn, self.begun)
        )
        return replace(self, rows=rows, drawn=drawn, begun=begun)

    def users_of(self, rows: Rows) -> list[str]:
        """The alias of each row's user."""
        return [alias_of("user", number) for number in self.users[rows["user"]].tolist()]


def load_graded(views: Connection, windows: Windows, size: int) -> Graded:
    """What an overview of these windows is computed from, over the first ``size`` entries."""
    graded = load_segments(views, "graded", *windows.days, size)
    begun = load_segments(views, "begun", windows.first // DAY, windows.last // DAY, size)
    texts = {text: number for number, text in enumerate(graded.texts)}
    numbers = np.array([texts.setdefault(text, len(texts)) for text in begun.texts], dtype=np.int32)
    began = between(begun.rows, windows.first, windows.last).copy()
    began["source"] = numbers[began["source"]] if len(began) else began["source"]
    rows = between(graded.rows, min(windows.first, windows.prior), windows.last).copy()
    users, codes = np.unique(rows["user"], return_inverse=True)
    rows["user"] = codes
    drawn = between(rows[~of_texts(rows["made"], graded.texts, ["on_demand"])], windows.first, windows.last)
    superseded = has(rows, SUPERSEDED)
    if superseded.any():
        rows = rows[~superseded]
    return Graded(windows, rows, drawn, began, tuple(texts), users, graded.cited, graded.rules)


def of_texts(numbers: Rows, texts: Sequence[str], wanted: Sequence[str]) -> Rows:
    """Which of ``numbers`` stand for one of the ``wanted`` texts."""
    return np.isin(numbers, [number for number, text in enumerate(texts) if text in set(wanted)])


def counts_of(numbers: Rows, texts: Sequence[str]) -> dict[str, int]:
    """How often each text stands there, by text. The empty text stands for what nobody said."""
    counts = np.bincount(numbers, minlength=1).tolist()
    return dict(sorted((texts[code], count) for code, count in enumerate(counts) if count))


def has(rows: Rows, flag: int) -> Rows:
    found: Rows = (rows["flags"] & flag) != 0
    return found


def one_a_session(rows: Rows) -> Rows:
    """Of each session the result that was recorded last."""
    repeated = has(rows, REPEATED)
    if not repeated.any():
        return rows
    several = rows[repeated]
    several = several[np.lexsort((several["seq"], several["session"]))]
    last = np.append(several["session"][1:] != several["session"][:-1], True)
    return np.concatenate([rows[~repeated], several[last]])


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
    number, first = rows["at"] // step, int((rows["at"] // step).min())
    place = number - first
    size = int(place.max()) + 1
    wins, escalated = has(rows, SUCCESS), has(rows, ESCALATED)
    counts, successes = np.bincount(place, minlength=size), np.bincount(place[wins], minlength=size)
    escalations = np.bincount(place[escalated], minlength=size)
    corrections = _sums(place, rows["corrections"], size)
    single = one_a_session(rows)
    single_place = single["at"] // step - first
    sessions = np.bincount(single_place, minlength=size)
    session_wins = np.bincount(single_place[has(single, SUCCESS)], minlength=size)
    began = begun["at"] // step - first
    population = np.bincount(began[(began >= 0) & (began < size)], minlength=size)
    spread = _clusters_in(single_place, single, size)
    found = []
    for i in np.flatnonzero(counts).tolist():
        n = int(counts[i])
        counted = clustered(int(session_wins[i]), int(sessions[i]), clusters=spread[i])
        found.append(
            {
                "ts": (first + i) * step,
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
    # Whoever clicks chooses: only what chance chose may speak for its stratum.
    strata = _strata(one_a_session(graded.drawn), graded.begun)
    weighted = weighted_share(strata) if len(strata) else None
    return {
        "sessions": len(single),
        "population": len(graded.begun),
        "made": counts_of(single["made"], graded.texts),
        "judges": counts_of(single["model"], graded.texts),
        "strata": len(strata),
        "weighted": None if weighted is None else weighted.as_json(),
        "mid_session_source_flips": _count(single, FLIPPED),
    }


def rule_attribution(graded: Graded, rows: Rows) -> tuple[list[Rule], list[Rule]]:
    """The rules that sessions cite: the five of the peer's list, and the five at its other end with a net below 0.

    Of a session with several results the one that began first decides, of those the last by id, as with the peer.
    Equal rules stand in order of kind and id.
    """
    deciding = _deciding(rows)
    owner, numbers = _citations(deciding, graded)
    if not len(numbers):
        return [], []
    size = len(graded.rules)
    won = has(deciding, SUCCESS)[owner]
    totals = np.bincount(numbers, minlength=size)
    successes = np.bincount(numbers[won], minlength=size)
    found = [
        Rule(
            *graded.rules[i], int(successes[i]), int(totals[i] - successes[i]), deciding["session"][owner[numbers == i]]
        )
        for i in _candidates(totals, successes)
    ]
    found.sort(key=lambda rule: (-rule.net, -rule.total, rule.kind, rule.rule))
    harmful = sorted((rule for rule in found if rule.net < 0), key=lambda r: (r.net, -r.total, r.kind, r.rule))
    return found[:RULES_SHOWN], harmful[:RULES_SHOWN]


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule, the sessions that cite it, and how many of those succeeded."""

    kind: str
    rule: str
    successes: int
    failures: int
    sessions: NDArray[np.uint64]

    @property
    def net(self) -> int:
        return self.successes - self.failures

    @property
    def total(self) -> int:
        return self.successes + self.failures


# The titles of a rule and when each was first recorded, by skipping through the index from title to title.
_TITLES = """WITH RECURSIVE t(title) AS (
    SELECT (SELECT min(title) FROM citations WHERE kind = :kind AND rule = :rule AND title > '') UNION ALL
    SELECT (SELECT min(title) FROM citations c WHERE c.kind = :kind AND c.rule = :rule AND c.title > t.title)
    FROM t WHERE t.title IS NOT NULL)
    SELECT title, (SELECT min(seq) FROM citations c WHERE c.kind = :kind AND c.rule = :rule AND c.title = t.title) AS f
    FROM t WHERE title IS NOT NULL AND f < :size ORDER BY f"""


class Titles:
    """Titles of rules. One rule may have been cited under several: the peer shows the first that is not empty in order
    of (session id, time), over all sessions of the trend, whatever set the rule is shown for. Without ``names`` it is
    the one that was recorded first."""

    def __init__(self, views: Connection, everything: Graded, size: int, names: SessionNames | None) -> None:
        self._views = views
        self._graded = everything
        self._size = size
        self._names = names

    def of(self, kind: str, rule: str) -> str:
        titles = self._views.exec_driver_sql(_TITLES, {"kind": kind, "rule": rule, "size": self._size}).all()
        if self._names is None or not titles:
            return str(titles[0][0]) if titles else ""
        return self._first(kind, rule, self._names, several=len(titles) > 1)

    def _first(self, kind: str, rule: str, names: SessionNames, *, several: bool) -> str:
        trend = self._graded.trend
        owner, numbers = _citations(trend, self._graded)
        citing = np.unique(trend["session"][owner[numbers == self._graded.rules.index((kind, rule))]])
        sessions = [alias_of("session", number) for number in citing.tolist()]
        fill_sessions(self._views, sessions)
        rows = self._views.exec_driver_sql(
            "SELECT c.title, c.session, c.created_at, c.seq, c.n FROM asked JOIN citations c "
            "ON c.session = asked.session WHERE c.kind = ? AND c.rule = ? AND c.title <> '' AND c.seq < ?",
            (kind, rule, self._size),
        )
        if not several:  # then nobody's name decides
            only = rows.first()
            return "" if only is None else str(only[0])
        named = names(sessions)
        first = min(rows, key=lambda row: (named[row[1]], *row[2:]), default=None)
        return "" if first is None else str(first[0])


def rules_as_json(rules: Sequence[Rule], titles: Titles, names: SessionNames | None) -> list[dict[str, Any]]:
    """Rules as the answer shows them; with ``names`` the citing sessions are listed by id."""
    return [
        {
            "rule_id": rule.rule,
            "kind": rule.kind,
            "title": titles.of(rule.kind, rule.rule),
            "successes_with": rule.successes,
            "failures_with": rule.failures,
            "net_sessions": rule.net,
            "session_count": rule.total,
            **({} if names is None else {"cited_session_ids": _listed(rule, names)}),
        }
        for rule in rules
    ]


def _listed(rule: Rule, names: SessionNames) -> list[str]:
    return sorted(names([alias_of("session", number) for number in rule.sessions.tolist()]).values())


def _candidates(totals: Rows, successes: Rows) -> list[int]:
    """Rules that can be among the first or the last five, by net and total alone; all, where they are few."""
    cited = np.flatnonzero(totals)
    if len(cited) <= 4 * RULES_SHOWN:
        return [int(i) for i in cited]
    net = 2 * successes[cited] - totals[cited]
    order = np.lexsort((-totals[cited], -net))
    worst = np.lexsort((-totals[cited], net))
    keep: set[int] = set()
    for ranked in (order, worst):
        edge = ranked[RULES_SHOWN - 1]
        tied = (net == net[edge]) & (totals[cited] == totals[cited][edge])
        keep |= {int(i) for i in cited[ranked[:RULES_SHOWN]]} | {int(i) for i in cited[tied]}
    return sorted(keep)


def _deciding(rows: Rows) -> Rows:
    """Of each session the row that comes last in order of (time falling, id rising)."""
    repeated = has(rows, REPEATED)
    if not repeated.any():
        return rows
    several = rows[repeated]
    several = several[np.lexsort((several["result_id"], -several["at"], several["session"]))]
    last = np.append(several["session"][1:] != several["session"][:-1], True)
    return np.concatenate([rows[~repeated], several[last]])


def _citations(rows: Rows, graded: Graded) -> tuple[Rows, Rows]:
    """(row, rule) for each rule that a row's session cites."""
    counts = rows["cited"].astype(np.int64)
    owner = np.repeat(np.arange(len(rows)), counts)
    within = np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)
    return owner, graded.cited[np.repeat(rows["first_cited"].astype(np.int64), counts) + within]


def _strata(single: Rows, begun: Rows) -> NDArray[np.int64]:
    """Rows (population, graded, successes) of each (day, source) that has results or sessions."""
    if not len(single) and not len(begun):
        return np.empty((0, 3), dtype=np.int64)
    keys = np.concatenate([_stratum(begun), _stratum(single)])
    _, place = np.unique(keys, return_inverse=True)
    size = int(place.max()) + 1
    graded_place = place[len(begun) :]
    population = np.bincount(place[: len(begun)], minlength=size)
    graded = np.bincount(graded_place, minlength=size)
    successes = np.bincount(graded_place[has(single, SUCCESS)], minlength=size)
    # Results of sessions whose requests are not on the ledger are a population of their own.
    return np.stack([np.maximum(population, graded), graded, successes], axis=1)


def _stratum(rows: Rows) -> NDArray[np.int64]:
    return np.asarray((rows["at"] // DAY) * 4096 + rows["source"], dtype=np.int64)


def _clusters_in(place: Rows, rows: Rows, size: int) -> list[Clusters]:
    """For each place what its users' totals say of how much their sessions resemble each other."""
    users = int(rows["user"].max()) + 1 if len(rows) else 1
    key, where = np.unique(place * users + rows["user"].astype(np.int64), return_inverse=True)
    n = np.bincount(where, minlength=len(key)).astype(float)
    won = np.bincount(where[has(rows, SUCCESS)], minlength=len(key)).astype(float)
    group = key // users
    count, squares, products, sizes = (
        np.bincount(group, weights=weights, minlength=size).tolist() for weights in (None, won * won, won * n, n * n)
    )
    return [Clusters(*found) for found in zip(count, squares, products, sizes, strict=True)]


def _beside_share(current: Rows, prior: Rows, flag: int) -> dict[str, Any]:
    now, then = (clustered_share(has(rows, flag), rows["user"]) for rows in (current, prior))
    return {
        "by_session": {"current": now.as_json(), "prior": then.as_json() if then.n else None},
        "has_baseline": then.n > 0,
    }


def _beside_mean(current: Rows, prior: Rows, column: str) -> dict[str, Any]:
    now, then = (mean_interval(rows[column], rows["user"]) for rows in (current, prior))
    return {
        "by_session": {"current": now.as_json(), "prior": then.as_json() if then.n else None},
        "has_baseline": then.n > 0,
    }


def _bins(rows: Rows) -> list[int]:
    clipped = np.clip(rows["corrections"], 0, len(DISTRIBUTION) - 1)
    return [int(count) for count in np.bincount(clipped, minlength=len(DISTRIBUTION))]


def _count(rows: Rows, flag: int) -> int:
    return int(np.count_nonzero(rows["flags"] & flag))


def _mean(values: Rows) -> float:
    """The mean of whole numbers, 0.0 of none. Large ones are added as Python's integers, which do not overflow."""
    if not len(values):
        return 0.0
    if int(np.abs(values).max()) < 2**40:
        return int(values.sum()) / len(values)
    total: int = sum(values.tolist())
    return total / len(values)


def _sums(place: Rows, values: Rows, size: int) -> list[int]:
    if len(values) and int(np.abs(values).max()) < 2**20:
        return [int(total) for total in np.bincount(place, weights=values, minlength=size)]
    sums = [0] * size
    for at, value in zip(place.tolist(), values.tolist(), strict=True):
        sums[at] += value
    return sums
