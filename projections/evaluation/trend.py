"""The shadow win rate: how the served answer does against its shadow, turn by turn, under one version of the judge.

Verdicts of different versions are never added up. Ties stand in the denominator of ``win_rate``, as with the peer;
beside it stand the other readings, what the positions did, and evidence that holds however often one looks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection

from ..statistics.rates import dense
from .columns import Columns
from .counts import undecided_turns
from .graded import Rows, counts_of, has, of_texts
from .segments import LOST, SERVED_FIRST, SIGNIFICANT, TIED, Load, Segments, between, load_segments
from .since_first import Followed, SinceFirst, followed
from .tiles import runs, share
from .view import DAY
from .win_rate import (
    LOSS,
    TIE,
    WIN,
    Evidence,
    EvidenceDay,
    evidence,
    first_of_each_subject,
    position_check,
    win_rate,
)

MICRO = 1_000_000


def load_verdicts(views: Connection, from_at: int, to_at: int, size: int, load: Load = load_segments) -> Segments:
    """The effective verdicts of every version that were given from ``from_at`` up to and with ``to_at`` (seconds)."""
    found = load(views, "judged", from_at // DAY, to_at // DAY, size)
    rows = between(found.rows, from_at * MICRO, to_at * MICRO)
    return Segments(rows, found.texts, found.cited, found.rules)


def of_source(verdicts: Segments, source: str | None) -> Segments:
    """The verdicts on sessions of one source, if it is given."""
    if source is None:
        return verdicts
    return replace(verdicts, rows=verdicts.rows[of_texts(verdicts.rows["source"], verdicts.texts, [source])])


def total_under(loaded: Segments, source: str | None, version: str) -> dict[str, Any]:
    """The sums of ``trend_under`` alone."""
    rows = _of_version(of_source(loaded, source), version)
    return _total(*_outcomes(rows))


def trend_of(verdicts: Segments, version: str, before: Followed | None, source: str | None = None) -> dict[str, Any]:
    """The peer's trend of one version, with the statistics beside it. ``before`` is as ``followed`` gives it."""
    rows = _of_version(of_source(verdicts, source), version)
    return {
        **_trend(rows, before),
        "judge_prompt_version": version,
        "judges": counts_of(rows["model"], verdicts.texts),
        "made": counts_of(rows["made"], verdicts.texts),
    }


def _of_version(verdicts: Segments, version: str) -> Rows:
    return Columns(verdicts.rows)[of_texts(verdicts.rows["version"], verdicts.texts, [version])]


def _with_sources(
    views: Connection, verdicts: Segments, version: str, source: str | None, from_at: int, to_at: int, size: int
) -> dict[str, Any]:
    present = {verdicts.texts[code] for code in set(_of_version(verdicts, version)["source"].tolist())}
    by_source = {
        name: trend_of(verdicts, version, followed(views, version, name, from_at, to_at, size), name)
        for name in sorted(present)
    }
    kept = ("daily", "window_total", "statistics")
    return {
        **trend_of(verdicts, version, followed(views, version, source, from_at, to_at, size), source),
        "undecided": undecided_turns(views, version, from_at, to_at, size),
        "by_source": {name: {key: found[key] for key in kept} for name, found in by_source.items()},
    }


def empty_trend(version: str) -> dict[str, Any]:
    return {**deepcopy(_of_nothing()), "judge_prompt_version": version, "judges": {}, "made": {}}


@cache
def _of_nothing() -> dict[str, Any]:
    return _trend(Columns(np.empty(0, dtype=[("at", "i8"), ("user", "u8"), ("flags", "u4")])))


def build_trend(
    views: Connection,
    size: int,
    *,
    from_at: int,
    to_at: int,
    source: str | None = None,
    version: str | None = None,
) -> dict[str, Any]:
    """The trend of each version apart, of one ``source`` or ``version`` where it is given."""
    verdicts = of_source(load_verdicts(views, from_at, to_at, size), source)
    present = sorted({verdicts.texts[code] for code in set(verdicts.rows["version"].tolist())})
    wanted = present if version is None else [version]
    return {
        "from_ts": from_at,
        "to_ts": to_at,
        "source": source,
        "versions": [_with_sources(views, verdicts, known, source, from_at, to_at, size) for known in wanted],
    }


def trend_under(
    views: Connection,
    size: int,
    loaded: Segments,
    *,
    from_at: int,
    to_at: int,
    source: str | None,
    version: str,
    since_first: Callable[[], SinceFirst] | None = None,
) -> dict[str, Any]:
    """The trend of one version, of one ``source`` where it is given; ``versions`` counts the verdicts of each.

    ``loaded`` is what ``load_verdicts`` gives for the window, ``since_first`` as for ``followed``.
    """
    verdicts = of_source(loaded, source)
    return {
        **trend_of(loaded, version, followed(views, version, source, from_at, to_at, size, since_first), source),
        "undecided": undecided_turns(views, version, from_at, to_at, size),
        "versions": counts_of(verdicts.rows["version"], verdicts.texts),
    }


def headline(total: Mapping[str, Any]) -> str:
    """The sums of a trend in one line, as the peer prints them: 67% win rate · 134 wins · …"""
    counts = f"{total['wins']} wins · {total['ties']} ties · {total['losses']} losses"
    return f"{100 * total['win_rate']:.0f}% win rate · {counts} · n={total['n']} sampled"


def outcome_of(better: str, served_first: bool) -> str:
    """``win``, ``loss`` or ``tie`` of the served answer."""
    return "tie" if better == "tie" else "win" if (better == "1") == served_first else "loss"


def _trend(rows: Rows, before: Followed | None = None) -> dict[str, Any]:
    """``before`` is the evidence since the first verdict of the version, where any precede the window: without it the
    evidence of the window is that."""
    won, lost, tied = _outcomes(rows)
    first = has(rows, SERVED_FIRST)
    days, place = runs(rows["at"] // (DAY * MICRO))
    counted = [np.bincount(place[chosen], minlength=len(days)).tolist() for chosen in (won, lost, tied)]
    daily = [
        {"date": _date(day), "n": wins + losses + ties, "wins": wins, "losses": losses, "ties": ties}
        for day, wins, losses, ties in zip(days.tolist(), *counted, strict=True)
    ]
    n = len(rows)
    outcomes = np.where(won, WIN, np.where(lost, LOSS, TIE))
    subjects = dense(rows["user"])
    found = evidence(
        first_of_each_subject(outcomes, subjects, place, len(days)) if n else [],
        one_of_each=True,
        since_first=before is None,
    )
    whole = before or Followed(found, int(rows["at"][0]) // MICRO if n else None, n)
    since_days = whole.evidence.days[len(whole.evidence.days) - len(daily) :]
    for day, of_window, of_whole in zip(daily, found.days, since_days, strict=True):
        day["evidence"] = _of_day(of_window)
        day["evidence_since_first"] = {**_of_day(of_whole), "wins": of_whole.wins, "losses": of_whole.losses}
    return {
        "daily": daily,
        "window_total": _total(won, lost, tied),
        "statistics": {
            "n": n,
            "significant_losses": int((lost & has(rows, SIGNIFICANT)).sum()),
            "rates": win_rate(outcomes, subjects).as_json(),
            "evidence": _without_days(found),
            "evidence_since_first": {
                "since": whole.since,
                "verdicts": whole.verdicts,
                **_without_days(whole.evidence),
            },
            "positions": position_check(
                *(int((chosen & shown).sum()) for shown in (first, ~first) for chosen in (won, lost)),
                first_ties=int((tied & first).sum()),
                second_ties=int((tied & ~first).sum()),
            ).as_json(),
        },
    }


def _of_day(followed: EvidenceDay) -> dict[str, Any]:
    return {"e_value": followed.e_value, "interval": [followed.interval.low, followed.interval.high]}


def _without_days(found: Evidence) -> dict[str, Any]:
    return {key: value for key, value in replace(found, days=()).as_json().items() if key != "days"}


def _outcomes(rows: Rows) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]:
    """Which of the rows the served answer won, lost and tied."""
    lost, tied = has(rows, LOST), has(rows, TIED)
    return ~lost & ~tied, lost, tied


def _total(won: NDArray[np.bool_], lost: NDArray[np.bool_], tied: NDArray[np.bool_]) -> dict[str, Any]:
    n, wins, losses, ties = len(won), int(won.sum()), int(lost.sum()), int(tied.sum())
    counts = {"n": n, "wins": wins, "losses": losses, "ties": ties}
    return {**counts, "win_rate": share(wins, n), "net_win": share(wins - losses, n)}


def _date(day: int) -> str:
    return datetime.fromtimestamp(day * DAY, UTC).date().isoformat()
