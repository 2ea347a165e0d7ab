"""What outside scorers said: tiles by scorer, of all sessions or of those in a set."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from math import fsum
from typing import Any, NamedTuple

from sqlalchemy import Connection

from ...domain.number import parse_number
from .segments import number_of
from .windows import Windows

_EFFECTIVE = """SELECT t.seq, t.scorer, t.value, t.scored_at, t.named FROM scores t
    WHERE t.seq < :size AND t.scored_at BETWEEN :first AND :last AND NOT EXISTS (SELECT 1 FROM scores n
        WHERE n.source = t.source AND n.run = t.run AND n.scorer = t.scorer AND n.seq > t.seq AND n.seq < :size)
    ORDER BY t.seq"""


SessionsNamed = Callable[[Iterable[str]], Mapping[str, Sequence[str]]]
"""The sessions whose id an alias of a session id stands for."""


class Score(NamedTuple):
    scorer: str
    value: float
    at: int
    sessions: frozenset[int]


def load_scores(views: Connection, windows: Windows, size: int, sessions_named: SessionsNamed) -> list[Score]:
    """The scores of both windows, of each run and scorer the newest. Sessions are the bits of their aliases.

    A score that came before its session, or whose session id several users share, is matched by name now.
    """
    bound = {"size": size, "first": windows.prior, "last": windows.last}
    rows = views.exec_driver_sql(_EFFECTIVE, bound).all()
    sessions: dict[int, list[int]] = {}
    for seq, session in views.exec_driver_sql(
        f"SELECT l.seq, l.session FROM ({_EFFECTIVE}) e JOIN score_sessions l ON l.seq = e.seq", bound
    ):
        sessions.setdefault(seq, []).append(number_of(session))
    found = sessions_named({row.named for row in rows if row.named is not None})
    for row in rows:
        sessions.setdefault(row.seq, []).extend(number_of(session) for session in found.get(row.named, ()))
    return [
        Score(scorer, parse_number(value), at, frozenset(sessions.get(seq, ()))) for seq, scorer, value, at, _ in rows
    ]


def score_tiles(scores: list[Score], windows: Windows, within: Container[int] | None = None) -> list[dict[str, Any]]:
    """A tile for each scorer of the current window, by name; of scores whose session is ``within``, where it is given.

    ``delta`` is the peer's: a score exactly where the windows meet counts in both, and no prior score counts as 0.
    """
    if within is not None:
        scores = [score for score in scores if any(session in within for session in score.sessions)]
    current: dict[str, list[float]] = {}
    prior: dict[str, list[float]] = {}
    before: dict[str, list[float]] = {}
    for score in scores:
        if score.at >= windows.current:
            current.setdefault(score.scorer, []).append(score.value)
        if score.at <= windows.current:
            prior.setdefault(score.scorer, []).append(score.value)
        if score.at < windows.current:
            before.setdefault(score.scorer, []).append(score.value)
    return [
        {
            "scorer_name": scorer,
            "current": _mean(values),
            "n": len(values),
            "delta": _mean(values) - _mean(prior.get(scorer, [])),
            "has_baseline": scorer in before,
            "baseline": _mean(before[scorer]) if scorer in before else None,
            "baseline_n": len(before.get(scorer, [])),
        }
        for scorer, values in sorted(current.items())
    ]


def _mean(values: list[float]) -> float:
    try:
        return fsum(values) / len(values) if values else 0.0
    except OverflowError:  # finite numbers whose sum is not
        return fsum(value / len(values) for value in values)
