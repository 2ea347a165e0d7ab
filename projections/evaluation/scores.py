"""What outside scorers said: tiles by scorer, of all sessions or of those in a set."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import replace
from math import fsum
from typing import Any, NamedTuple

import numpy as np
from sqlalchemy import Connection

from ...domain.number import parse_number
from ..statistics.gain import INTERVAL_FROM
from ..statistics.rates import Mean, Subjects
from .changes import mean_change, sides
from .segments import number_of
from .stale import fill_sessions
from .windows import Windows

_EFFECTIVE = """SELECT t.seq, t.scorer, t.value, t.scored_at, t.named FROM scores t
    WHERE t.seq < :size AND t.scored_at BETWEEN :first AND :last AND NOT EXISTS (SELECT 1 FROM scores n
        WHERE n.source = t.source AND n.run = t.run AND n.scorer = t.scorer AND n.seq > t.seq AND n.seq < :size)
    ORDER BY t.seq"""
_USERS = (
    "SELECT q.session, min(q.user) FROM asked CROSS JOIN requests q "
    "WHERE q.session = asked.session AND q.seq < ? GROUP BY q.session"
)
_LEAST = 1e-60
"""Spreads below it, and above its inverse, have no fourth power among floating-point numbers."""

SessionsNamed = Callable[[Iterable[str]], Mapping[str, Sequence[str]]]
"""The sessions whose id an alias of a session id stands for."""


class Score(NamedTuple):
    """``subject`` is whose it is: the user of its session, else the session that it names, else itself."""

    scorer: str
    value: float
    at: int
    sessions: frozenset[int]
    subject: str


def load_scores(views: Connection, windows: Windows, size: int, sessions_named: SessionsNamed) -> list[Score]:
    """The scores of both windows, of each run and scorer the newest. Sessions are the bits of their aliases.

    A score that came before its session, or whose session id several users share, is matched by name now.
    """
    bound = {"size": size, "first": windows.prior, "last": windows.last}
    rows = views.exec_driver_sql(_EFFECTIVE, bound).all()
    sessions: dict[int, list[str]] = {}
    for seq, session in views.exec_driver_sql(
        f"SELECT l.seq, l.session FROM ({_EFFECTIVE}) e JOIN score_sessions l ON l.seq = e.seq", bound
    ):
        sessions.setdefault(seq, []).append(session)
    found = sessions_named({row.named for row in rows if row.named is not None})
    for row in rows:
        sessions.setdefault(row.seq, []).extend(found.get(row.named, ()))
    users = {}
    if asked := {session for its_own in sessions.values() for session in its_own}:
        fill_sessions(views, asked)
        users = {session: user for session, user in views.exec_driver_sql(_USERS, (size,)) if user is not None}
    return [
        Score(
            scorer,
            parse_number(value),
            at,
            frozenset(number_of(session) for session in sessions[seq]),
            min((users.get(session, session) for session in sessions[seq]), default=named or str(seq)),
        )
        for seq, scorer, value, at, named in rows
    ]


def score_tiles(scores: list[Score], windows: Windows, within: Container[int] | None = None) -> list[dict[str, Any]]:
    """A tile for each scorer of the current window, by name; of scores whose session is ``within``, where it is given.

    ``delta`` is the peer's: a score exactly where the windows meet counts in both, and no prior score counts as 0.
    ``by_score`` has the mean with its interval, of the current window and of the one before, and the change.
    """
    if within is not None:
        scores = [score for score in scores if any(session in within for session in score.sessions)]
    current: dict[str, list[Score]] = {}
    prior: dict[str, list[Score]] = {}
    before: dict[str, list[Score]] = {}
    for score in scores:
        if score.at >= windows.current:
            current.setdefault(score.scorer, []).append(score)
        if score.at <= windows.current:
            prior.setdefault(score.scorer, []).append(score)
        if score.at < windows.current:
            before.setdefault(score.scorer, []).append(score)
    return [
        {
            "scorer_name": scorer,
            "current": _mean(found),
            "n": len(found),
            "delta": _mean(found) - _mean(prior.get(scorer, [])),
            "has_baseline": scorer in before,
            "baseline": _mean(before[scorer]) if scorer in before else None,
            "baseline_n": len(before.get(scorer, [])),
            "by_score": _by_score(found, before.get(scorer, [])),
        }
        for scorer, found in sorted(current.items())
    ]


def _by_score(current: list[Score], before: list[Score]) -> dict[str, Any]:
    codes: dict[str, int] = {}
    values, subjects = [], []
    for scores in (current, before):
        values.append(np.array([score.value for score in scores], dtype=float))
        subjects.append(np.array([codes.setdefault(score.subject, len(codes)) for score in scores], dtype=np.int64))
    with np.errstate(all="ignore"):  # scores may be as large as numbers are
        of_now, of_before = sides(values[0], subjects[0], values[1], subjects[1])
        now, then = _with_interval(of_now, current), _with_interval(of_before, before)
        change = None if now.interval is None or then.interval is None else mean_change(of_now, of_before)
    return {
        "current": now.as_json(),
        "prior": then.as_json() if then.n else None,
        "change": None if change is None else change.as_json(),
    }


def _with_interval(side: Subjects, scores: list[Score]) -> Mean:
    """The mean of scores with Student's interval, where there are subjects enough for one and they differ."""
    if not scores:
        return side.mean
    found = replace(side.mean, mean=_mean(scores))
    if found.clusters < INTERVAL_FROM:
        note = f"too few: an interval needs scores of {INTERVAL_FROM} users"
    elif found.standard_error == 0:
        note = "every user has the same mean, which shows no spread"
    elif found.interval is None or not _LEAST < abs(found.interval.high - found.interval.low) < 1 / _LEAST:
        note = "numbers too large or too small for an interval"
    else:
        return found
    return replace(found, standard_error=None, interval=None, note=note)


def _mean(scores: list[Score]) -> float:
    values = [score.value for score in scores]
    try:
        return fsum(values) / len(values) if values else 0.0
    except OverflowError:  # finite numbers whose sum is not
        return fsum(value / len(values) for value in values)
