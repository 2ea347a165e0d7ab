"""The evaluation overview: every field of the peer's, by its own definitions, and what it leaves out beside it.

The peer's figures are docs/evaluation.md's first column: rows are counted, weeks begin on Thursday, an empty window
before counts as zero. What we add has names of its own in the same objects and needs no other request.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from sqlalchemy import Connection

from ...domain.evaluation.config import DEFAULT_PIN
from ...ledger.store.opening import EventReader
from .attribution import SessionNames, Titles, rule_attribution, rules_as_json
from .comparisons import open_results
from .counts import undecided_sessions, undecided_turns
from .graded import Graded, load_graded, of_texts, one_a_session
from .scores import Score, SessionsNamed, load_scores, score_tiles
from .segments import alias_of
from .since_first import followed
from .sources import available_sources, comparison, source_sessions
from .tiles import buckets, clustered_rate, distribution, mixed_rulers, sampling, share, successes, tiles
from .trend import empty_trend, load_verdicts, trend_of
from .windows import OverviewRequest, Windows

RECENT_RESULTS = 100
NamesOf = Callable[[Iterable[str]], dict[str, str | None]]


def build_overview(
    views: Connection,
    events: EventReader,
    size: int,
    request: OverviewRequest,
    names_of: NamesOf,
    sessions_named: SessionsNamed,
    *,
    graded: Graded | None = None,
    recent: int = RECENT_RESULTS,
) -> dict[str, Any]:
    """Answer an overview request from the first ``size`` entries.

    ``graded`` is what was loaded for this request, perhaps narrowed to one version of the judge's prompt; without it
    every result counts. At most ``recent`` results are listed.
    """
    windows = Windows.of(request)
    everything = load_graded(views, windows, size) if graded is None else graded
    scores = load_scores(views, windows, size, sessions_named)
    shown = everything if request.source is None else everything.of_sources([request.source])
    names = shown_names(names_of)
    listing = names if request.session_lists else None
    titles_of = Titles(views, everything, size, listing)
    trend = shown.trend
    helpful, harmful = rule_attribution(shown, trend)
    within = None if request.source is None else set(trend["session"].tolist())
    return {
        "hero": {**_hero(shown, views, size), "buckets": buckets(trend, shown.begun, windows.step)},
        "context_tiles": tiles(shown),
        "rule_attribution": rules_as_json(helpful, titles_of, listing),
        "harmful_rules": rules_as_json(harmful, titles_of, None),
        "score_distribution": distribution(shown),
        "braintrust_tiles": score_tiles(scores, windows, within),
        "shadow_win_rate_trend": _shadow(views, windows, size, request),
        "recent_results": open_results(events, newest_first(shown, recent), names_of),
        "source_set_comparison": _source_sets(views, everything, shown, scores, size, request, listing, titles_of),
        "windows": windows.as_json(),
        "warnings": [*windows.warnings, *mixed_rulers(shown)],
    }


def pinned_version(views: Connection, size: int) -> str:
    """The version of the shadow judge's prompt that the configuration names, as of ``size`` entries."""
    row = views.exec_driver_sql("SELECT pin FROM configs WHERE seq < ? ORDER BY seq DESC LIMIT 1", (size,)).first()
    return DEFAULT_PIN if row is None else str(row[0])


def shown_names(names_of: NamesOf) -> SessionNames:
    """Names for lists: of an alias without a name it says why there is none."""

    def shown(aliases: Sequence[str]) -> dict[str, str]:
        return {alias: f"[withheld {alias}]" if name is None else name for alias, name in names_of(aliases).items()}

    return shown


def newest_first(graded: Graded, count: int) -> list[int]:
    """The seqs of the trend's newest results, by when their session began, then by id."""
    import numpy as np

    trend = graded.trend
    if count == 0:
        return []
    if len(trend) > 4 * count:  # only those at least as new as the last one that is shown need sorting
        edge = np.partition(trend["at"], len(trend) - count)[len(trend) - count]
        trend = trend[trend["at"] >= edge]
    order = np.lexsort((trend["seq"], trend["result_id"], trend["at"]))[::-1][:count]
    return [int(seq) for seq in trend["seq"][order]]


def _hero(graded: Graded, views: Connection, size: int) -> dict[str, Any]:
    trend = graded.trend
    single = one_a_session(trend)
    return {
        "state": "shadow_off" if len(trend) else "empty",
        "regular_success_rate_pp": 100 * share(successes(trend), len(trend)),
        "shadow_success_rate_pp": None,
        "delta_pp": None,
        "row_count": len(trend),
        "by_session": clustered_rate(single).as_json(),
        "sampling": {**sampling(graded), "undecided": undecided_sessions(views, graded.windows, size)},
    }


def _shadow(views: Connection, windows: Windows, size: int, request: OverviewRequest) -> dict[str, Any]:
    pin = pinned_version(views, size)
    if not request.include_shadow:
        return empty_trend(pin)
    verdicts = load_verdicts(views, windows.first, windows.last, size)
    return {
        **trend_of(verdicts, pin, followed(views, pin, None, windows.first, windows.last, size)),
        "undecided": undecided_turns(views, pin, windows.first, windows.last, size),
    }


def _source_sets(
    views: Connection,
    everything: Graded,
    graded: Graded,
    scores: list[Score],
    size: int,
    request: OverviewRequest,
    listing: SessionNames | None,
    titles_of: Titles,
) -> dict[str, Any]:
    trend = everything.trend
    matched = [source for given in request.source_sets for source in given.sources]
    unmatched = trend[~of_texts(trend["source"], everything.texts, matched)]
    sets = [
        _source_set(everything.of_sources(given.sources), given.label, given.sources, scores, listing, titles_of)
        for given in request.source_sets
    ]
    found = {
        "available_sources": available_sources(everything, trend),
        "source_sessions": [] if listing is None else source_sessions(graded, graded.trend, listing),
        "sets": sets,
        "unmatched_session_count": len(unmatched) if sets else 0,
        "unmatched_sessions": len(one_a_session(unmatched)) if sets else 0,
    }
    return {**found, "comparison": comparison(everything, request.source_sets, views, size)} if sets else found


def _source_set(
    graded: Graded,
    label: str,
    sources: Sequence[str],
    scores: list[Score],
    listing: SessionNames | None,
    titles_of: Titles,
) -> dict[str, Any]:
    trend = graded.trend
    single = one_a_session(trend)
    helpful, harmful = rule_attribution(graded, trend)
    numbers = single["session"].tolist()
    found = {
        "label": label,
        "sources": list(sources),
        "session_count": len(trend),
        "sessions": len(single),
        "success_rate_pp": 100 * share(successes(trend), len(trend)),
        "by_session": clustered_rate(single).as_json(),
        "sampling": sampling(graded),
        "buckets": buckets(trend, graded.begun, graded.windows.step),
        "context_tiles": tiles(graded),
        "score_distribution": distribution(graded),
        "rule_attribution": rules_as_json(helpful, titles_of, listing),
        "harmful_rules": rules_as_json(harmful, titles_of, None),
        "braintrust_tiles": score_tiles(scores, graded.windows, set(numbers)),
    }
    if listing is not None:
        named = listing([alias_of("session", number) for number in numbers])
        found["session_ids"] = sorted(set(named.values()) - {""})
    return found
