"""Which rules go with success: of each rule, how many of the sessions that cite it succeeded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection

from ..statistics.rates import clustered_share
from .graded import Codes, Graded, Rows, has, last_of_each
from .segments import REPEATED, SUCCESS, alias_of
from .stale import fill_sessions

RULES_SHOWN = 5
SessionNames = Callable[[Sequence[str]], dict[str, str]]


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
    found = []
    for i in _candidates(totals, successes):
        citing = np.flatnonzero(numbers == i)
        of_rule = deciding[owner[citing]]
        counts = int(successes[i]), int(totals[i] - successes[i])
        found.append(Rule(*graded.rules[i], *counts, of_rule["session"], of_rule["user"], won[citing]))
    found.sort(key=lambda rule: (-rule.net, -rule.total, rule.kind, rule.rule))
    harmful = sorted((rule for rule in found if rule.net < 0), key=lambda r: (r.net, -r.total, r.kind, r.rule))
    return found[:RULES_SHOWN], harmful[:RULES_SHOWN]


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule, the sessions that cite it with their users and whether each succeeded, and how many of those did."""

    kind: str
    rule: str
    successes: int
    failures: int
    sessions: NDArray[np.uint64]
    users: NDArray[Any]
    won: NDArray[np.bool_]

    @property
    def net(self) -> int:
        return self.successes - self.failures

    @property
    def total(self) -> int:
        return self.successes + self.failures


# The titles of rules and when each was first recorded, by skipping through the index from title to title.
_TITLES = """WITH RECURSIVE asked(kind, rule) AS (VALUES {}), t(kind, rule, title) AS (
    SELECT kind, rule, (SELECT min(title) FROM citations c WHERE c.kind = a.kind AND c.rule = a.rule AND c.title > '')
    FROM asked a UNION ALL
    SELECT kind, rule, (SELECT min(title) FROM citations c WHERE c.kind = t.kind AND c.rule = t.rule
        AND c.title > t.title) FROM t WHERE t.title IS NOT NULL)
    SELECT kind, rule, title, f FROM (SELECT kind, rule, title, (SELECT min(seq) FROM citations c
        WHERE c.kind = t.kind AND c.rule = t.rule AND c.title = t.title) AS f
    FROM t WHERE title IS NOT NULL) s WHERE f < ? ORDER BY f"""


class Titles:
    """Titles of rules. One rule may have been cited under several: the peer shows the first that is not empty in order
    of (session id, time), over all sessions of the trend, whatever set the rule is shown for. Without ``names`` it is
    the one that was recorded first."""

    def __init__(self, views: Connection, everything: Graded, size: int, names: SessionNames | None) -> None:
        self._views = views
        self._graded = everything
        self._size = size
        self._names = names
        self._known: dict[tuple[str, str], str] = {}

    def of(self, rules: Sequence[Rule]) -> list[str]:
        """The title of each of these rules, "" where it has none."""
        asked = [(rule.kind, rule.rule) for rule in rules]
        new = [rule for rule in dict.fromkeys(asked) if rule not in self._known]
        if new:
            bound = (*(text for rule in new for text in rule), self._size)
            titles: dict[tuple[str, str], list[str]] = {rule: [] for rule in new}
            query = _TITLES.format(", ".join(["(?, ?)"] * len(new)))
            for kind, rule, title, _ in self._views.exec_driver_sql(query, bound):
                titles[kind, rule].append(title)
            self._known |= {rule: self._title(*rule, found) for rule, found in titles.items()}
        return [self._known[rule] for rule in asked]

    def _title(self, kind: str, rule: str, titles: Sequence[str]) -> str:
        if self._names is None or not titles:
            return titles[0] if titles else ""
        return self._first(kind, rule, self._names, several=len(titles) > 1)

    def _first(self, kind: str, rule: str, names: SessionNames, *, several: bool) -> str:
        trend = self._graded.trend
        owner, numbers = _citations(trend, self._graded)
        citing = np.unique(trend["session"][owner[numbers == self._graded.rules.index((kind, rule))]])
        sessions = [alias_of("session", number) for number in citing.tolist()]
        fill_sessions(self._views, sessions)
        rows = self._views.exec_driver_sql(
            "SELECT c.title, c.session, c.created_at, c.seq, c.n FROM asked CROSS JOIN citations c "
            "WHERE c.session = asked.session AND c.kind = ? AND c.rule = ? AND c.title <> '' AND c.seq < ?",
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
            "title": title,
            "successes_with": rule.successes,
            "failures_with": rule.failures,
            "net_sessions": rule.net,
            "session_count": rule.total,
            "by_session": clustered_share(rule.won, rule.users).as_json(),
            **({} if names is None else {"cited_session_ids": _listed(rule, names)}),
        }
        for rule, title in zip(rules, titles.of(rules), strict=True)
    ]


def _listed(rule: Rule, names: SessionNames) -> list[str]:
    return sorted(names([alias_of("session", number) for number in rule.sessions.tolist()]).values())


def _candidates(totals: Codes, successes: Codes) -> list[int]:
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
    several = np.flatnonzero(repeated)
    sessions, ids, at = (rows[name][several] for name in ("session", "result_id", "at"))
    return rows[np.concatenate([np.flatnonzero(~repeated), several[last_of_each(sessions, ids, -at)]])]


def _citations(rows: Rows, graded: Graded) -> tuple[Codes, Codes]:
    """(row, rule) for each rule that a row's session cites."""
    counts = rows["cited"].astype(np.int64)
    owner = np.repeat(np.arange(len(rows)), counts)
    within = np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)
    return owner, graded.cited[np.repeat(rows["first_cited"].astype(np.int64), counts) + within]
