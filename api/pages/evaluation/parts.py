"""The parts of the evaluation page: figures of an overview and a trend put into words and pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from markupsafe import Markup

from ....projections.evaluation.view import DAY
from ....projections.statistics.figures import MINIMUM_N
from ..charts.bars import Versus, distribution, outcomes, versus
from ..charts.intervals import Estimate, against_zero, intervals
from ..charts.sparkline import Day, sparkline
from ..charts.trend import Point, trend
from ..formats import NONE, num, p_value, pp, share, signed
from ..tiles import Tile

Bounds = Sequence[float] | None


class _Kind(NamedTuple):
    key: str
    label: str
    is_share: bool
    more_is_better: bool


_TILES = (
    _Kind("success", "Success", True, True),
    _Kind("behavior_success", "Success, system errors apart", True, True),
    _Kind("corrections", "Corrections per session", False, False),
    _Kind("turns", "User turns to the solution", False, False),
    _Kind("escalation", "Escalated", True, False),
)


def tenth(value: float | None) -> str:
    """A share with one decimal."""
    return share(value, 1)


def mean(value: float | None) -> str:
    """A mean with two decimals."""
    return NONE if value is None else signed(value, 2).removeprefix("+").removeprefix("±")


def hundredth(value: float) -> str:
    """A difference with two decimals and its sign."""
    return signed(value, 2)


def between(bounds: Bounds, how: Callable[[float], str]) -> str:
    """An interval in words."""
    return "no interval" if bounds is None else f"{how(bounds[0])} to {how(bounds[1])}"


def points_between(bounds: Bounds) -> str:
    """The interval of a difference, in percentage points."""
    return "no interval" if bounds is None else f"{signed(100 * bounds[0], 1)} to {signed(100 * bounds[1], 1)} pp"


def day_name(seconds: int) -> str:
    """A day in words; of a time that no calendar here knows its seconds."""
    try:
        moment = datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return f"second {num(seconds)}"
    return f"{moment.day} {moment:%B %Y}"


def hero_picture(hero: Mapping[str, Any], step: int) -> Markup:
    """The success rate by bucket, each with its interval and n."""
    points = [
        Point(
            at=bucket["ts"],
            rate=bucket["session_rate"],
            low=bucket["session_rate_interval"][0],
            high=bucket["session_rate_interval"][1],
            n=bucket["session_count"],
            of=bucket["population"],
        )
        for bucket in hero["buckets"]
        if bucket["session_rate_interval"] is not None
    ]
    what = "day" if step == DAY else "week"
    whole = hero["by_session"]
    overall = None if whole["interval"] is None else (whole["rate"], *whole["interval"])
    return trend(points, step, overall, f"Share of successful sessions by {what}, with 95 % intervals")


def tiles_of(tiles: Mapping[str, Any]) -> list[Tile]:
    """The tiles, by session, each with its interval and by how much it changed."""
    return [_tile(kind, tiles[kind.key]) for kind in _TILES]


def _tile(kind: _Kind, found: Mapping[str, Any]) -> Tile:
    now, then, change = (found["by_session"][name] for name in ("current", "prior", "change"))
    how = tenth if kind.is_share else mean
    named = "rate" if kind.is_share else "mean"
    if not now["n"]:
        return Tile(kind.label, NONE, "no graded session in these days")
    tile = Tile(
        kind.label,
        how(now[named]),
        f"n = {num(now['n'])} sessions, {num(now['clusters'])} users",
        bounds=between(now["interval"], how),
    )
    if then is None or change is None:
        return tile._replace(before="Nothing before to compare with.")
    difference, bounds = change["difference"], change["interval"]
    tile = tile._replace(
        change=pp(100 * difference) if kind.is_share else signed(difference, 2),
        change_bounds=points_between(bounds) if kind.is_share else between(bounds, hundredth),
        before=f"before {how(then[named])}, n = {num(then['n'])}",
    )
    if bounds is None:
        return tile._replace(verdict="no interval: too few users, or no spread")
    low, high = bounds
    tile = tile._replace(picture=against_zero(difference, low, high, f"Change of {kind.label.lower()} against none"))
    if change["users_worth"] < MINIMUM_N:
        worth = num(int(change["users_worth"]))
        return tile._replace(verdict=f"○ too few to tell: users worth {worth} in a window, a verdict needs {MINIMUM_N}")
    if low <= 0 <= high:
        return tile._replace(verdict="○ no clear change")
    better = (difference > 0) == kind.more_is_better
    return tile._replace(verdict="✓ better" if better else "✕ worse", tone="good" if better else "bad")


def scorer_words(found: Mapping[str, Any]) -> str:
    """What a scorer's mean is of, with its interval, and by how much it changed with that of the change."""
    now, then, change = (found["by_score"][name] for name in ("current", "prior", "change"))
    told = f"{_scores_between(now)}; mean of n = {num(now['n'])} scores, {num(now['clusters'])} users"
    if then is None:
        return f"{told}; nothing before to compare with"
    told += f"; before {thousandth(then['mean'])}, n = {num(then['n'])}"
    if change is None:
        return f"{told}; no interval of the change"
    return f"{told}; 95 % interval of the change {between(change['interval'], lambda value: signed(value, 3))}"


def thousandth(value: float) -> str:
    """A mean of scores with three decimals at most."""
    return num(value, 3)


def _scores_between(now: Mapping[str, Any]) -> str:
    return str(now["note"]) if now["interval"] is None else f"95 % interval {between(now['interval'], thousandth)}"


def corrections_picture(found: Mapping[str, Any]) -> Markup:
    return distribution(
        found["labels"],
        found["current_bins"],
        found["baseline_bins"],
        "Results by corrections in their session, current and prior window",
    )


def is_few(n: int) -> bool:
    """Whether so many sessions are too few for a verdict."""
    return n < MINIMUM_N


def rules_picture(rules: Sequence[Mapping[str, Any]], title: str) -> Markup:
    rows = [
        Versus(
            rule["title"] or rule["rule_id"],
            rule["successes_with"],
            rule["failures_with"],
            "few" if is_few(rule["session_count"]) else "",
        )
        for rule in rules
    ]
    return versus(rows, title)


def arms_picture(comparison: Mapping[str, Any]) -> Markup:
    """The share of successful sessions of each set."""
    rows = [
        _estimate(label, arm, f"{tenth(arm['rate'])} ({between(arm['interval'], tenth)}), n = {num(arm['n'])}")
        for label, arm in comparison["arms"].items()
    ]
    return intervals(rows, "Success of each set with 95 % intervals", share)


def differences_picture(comparison: Mapping[str, Any]) -> Markup:
    """The difference of each two sets against none."""
    rows = []
    for found in comparison["differences"]:
        label = f"{found['a']} − {found['b']}"
        low, high = found["interval"] or (None, None)
        printed = f"{pp(_percent(found['difference']))} ({points_between(found['interval'])})"
        rows.append(Estimate(label, found["difference"], low, high, printed))
    return intervals(
        rows,
        "Difference of success between sets with 95 % intervals",
        lambda value: pp(100 * value, 0),
        reference=0.0,
        about="dashed: no difference",
    )


def readings_picture(rates: Mapping[str, Any]) -> Markup:
    """The win rate in its three readings of a tie."""
    named = (("of all", "a tie is no win"), ("decided", "ties left out"), ("half", "a tie is half a win"))
    rows = []
    for place, ((name, words), key) in enumerate(zip(named, ("of_all", "decided", "half"), strict=True)):
        found = rates[key]
        printed = f"{tenth(found['rate'])} ({between(found['interval'], tenth)}), n = {num(found['n'])}"
        rows.append(_estimate(f"{name}: {words}", found, printed, shape=place))
    return intervals(rows, "The win rate in three readings, with 95 % intervals", share, reference=0.5, width=540)


def turns_picture(daily: Sequence[Mapping[str, Any]]) -> Markup:
    """The win rate day by day, with the bound since the version's first verdict."""
    days = [
        Day(
            int(datetime.fromisoformat(day["date"]).replace(tzinfo=UTC).timestamp()) // DAY,
            day["date"],
            day["n"],
            day["wins"],
            day["ties"],
            day["losses"],
            (day["evidence_since_first"]["interval"][0], day["evidence_since_first"]["interval"][1]),
        )
        for day in daily
    ]
    also = "since the first verdict the bound on the share of wins among the first decided turns of each user"
    return sparkline(days, f"Win rate by day, turns judged by day; {also}")


def outcomes_picture(total: Mapping[str, Any]) -> Markup:
    return outcomes(total["wins"], total["ties"], total["losses"], "Wins, ties and losses of the served answers")


def p_pair(found: Mapping[str, Any]) -> str:
    """The p-value of a difference and, where it is another, the adjusted one."""
    if found["p_value"] is None:
        return "no p-value"
    if found["adjusted_p"] is None or found["adjusted_p"] == found["p_value"]:
        return p_value(found["p_value"])
    return f"{p_value(found['p_value'])}, adjusted {p_value(found['adjusted_p'])}"


def _estimate(label: str, found: Mapping[str, Any], printed: str, shape: int = 0) -> Estimate:
    low, high = found["interval"] or (None, None)
    return Estimate(label, found["rate"], low, high, printed, shape)


def _percent(value: float | None) -> float | None:
    return None if value is None else 100 * value
