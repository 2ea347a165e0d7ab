"""The page of evaluation: how sessions went, what goes with success, sources side by side, answers against shadows.

Figures are those of the overview and the trend that the API answers with; the page arranges them. Grades of different
versions of the judge's prompt, and verdicts of different versions, are never shown together: the page shows one
version of each and says what else there is.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from fastapi import APIRouter
from starlette.responses import RedirectResponse, Response

from ....projections.evaluation.comparisons import open_results
from ....projections.evaluation.graded import Graded, counts_of, load_graded, one_a_session
from ....projections.evaluation.latest import last_day
from ....projections.evaluation.newest import Key
from ....projections.evaluation.overview import build_overview, newest_first, pinned_version
from ....projections.evaluation.segments import Segments
from ....projections.evaluation.tiles import clustered_rate, tiles
from ....projections.evaluation.trend import MICRO, headline, load_verdicts, total_under, trend_under
from ....projections.evaluation.verdicts import list_verdicts
from ....projections.evaluation.windows import OverviewRequest, Windows
from ....projections.simulated import is_simulated
from ...moment import LiveLedger, Moment
from ..formats import NONE, num
from ..frame import Figure, Visit, VisitDep
from . import parts as parts
from .places import source_named
from .places import source_of as source_of_query
from .query import (
    PRESETS,
    SETS_OFFERED,
    Window,
    form_names,
    label_of,
    one_each,
    read_window,
    request_of,
    set_text,
    sets_asked,
    sets_built,
    source_of,
)

router = APIRouter(include_in_schema=False)

RECENT_SHOWN = 8
DISAGREEMENTS_SHOWN = 3


@router.get("/evaluation")
def show_evaluation(visit: VisitDep) -> Response:
    """Everything of a window, or what there is to do where nothing was judged yet."""
    built = sets_built(visit)
    if built is not None:
        dropped: dict[str, object] = dict.fromkeys(form_names(visit))
        return RedirectResponse(visit.here(**dropped, set=[set_text(found) for found in built]) + "#sets", 303)
    with visit.moment() as moment:
        window = read_window(visit, last_day(moment.views, moment.size, visit.now))
        shown = _shown(visit, moment, window)
        return visit.render(
            "evaluation/overview.html",
            moment,
            title="Evaluation",
            figures=lambda other: _figures(visit, other, window),
            parts=parts,
            window=window,
            window_step=Windows.of(shown.request).step,
            presets=PRESETS,
            sets_offered=SETS_OFFERED,
            source_named=source_named,
            label_of=label_of,
            shown=shown,
            hero=shown.overview["hero"],
            shadow=shown.shadow,
            comparison=shown.overview["source_set_comparison"].get("comparison"),
            headline=headline(shown.shadow["window_total"]),
            recent=open_results(moment.events, shown.newest, moment.names_of),
            disagreements=_disagreements(visit, moment, window, shown),
            simulated_judges=shown.simulated,
        )


@dataclass(frozen=True, slots=True)
class _Shown:
    """What the page shows of a moment. ``graded_versions`` counts results by version, the one shown is ``graded``.

    ``sources`` are (source, graded, began) of the window. ``own_sets`` says that nobody asked for the sets. ``newest``
    are the seqs of the newest results. No name or text of anybody's is in it.
    """

    request: OverviewRequest
    overview: Mapping[str, Any]
    shadow: Mapping[str, Any]
    pin: str
    version: str
    graded: str | None
    graded_versions: Mapping[str, int]
    sources: Sequence[tuple[str, int, int]]
    own_sets: bool
    newest: Sequence[int]

    @classmethod
    def of(cls, visit: Visit, moment: Moment, window: Window) -> _Shown:
        views, size = moment.views, moment.size
        everything, graded, versions = _graded(visit, moment, window)
        sources = _sources(everything)
        asked = sets_asked(visit)
        sets = asked or one_each([source for source, count, _ in sources if count])
        request = request_of(visit, window, sets)
        overview = build_overview(
            views,
            moment.events,
            size,
            request,
            moment.names_of,
            moment.sessions_named,
            graded=everything,
            recent=0,
        )
        narrowed = everything if request.source is None else everything.of_sources([request.source])
        newest = newest_first(narrowed, RECENT_SHOWN)
        pin = pinned_version(views, size)
        version = visit.query.get("version") or pin
        shadow = trend_under(
            views,
            size,
            _judged(visit, moment, window),
            from_at=window.first,
            to_at=window.last,
            source=source_of(visit),
            version=version,
        )
        return cls(request, overview, shadow, pin, version, graded, versions, sources, not asked, newest)

    @property
    def simulated(self) -> list[str]:
        judges = {*self.shadow["judges"], *self.overview["hero"]["sampling"]["judges"]}
        return sorted(judge for judge in judges if is_simulated(judge))

    @property
    def set_of_source(self) -> dict[str, int]:
        """Of each source that is in a set the set's number, from 1."""
        return {source: number for number, given in enumerate(self.request.source_sets, 1) for source in given.sources}


def _graded(visit: Visit, moment: Moment, window: Window) -> tuple[Graded, str | None, dict[str, int]]:
    """The results of the window under one version of the judge's prompt, that version, and how many each has."""
    windows = Windows.of(request_of(visit, window, []))
    loaded = _kept(visit, moment).loaded.get(
        ("graded", moment.size, windows), lambda: load_graded(moment.views, windows, moment.size)
    )
    versions = loaded.versions()
    chosen = source_of_query(visit.query.get("graded"))
    # a version that is named before none, then the one with the most results
    graded = (
        chosen if chosen is not None else max(versions, key=lambda name: (name != "", versions[name]), default=None)
    )
    if graded is not None and set(versions) != {graded}:
        loaded = loaded.under(graded)
    return loaded, graded, versions


def _judged(visit: Visit, moment: Moment, window: Window) -> Segments:
    """The verdicts of the window, of every version."""
    found: Segments = _kept(visit, moment).loaded.get(
        ("judged", moment.size, window),
        lambda: load_verdicts(moment.views, window.first, window.last, moment.size),
    )
    return found


class _Few:
    """The things that were asked for last, by key."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._found: OrderedDict[Hashable, Any] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], Any]) -> Any:
        if key not in self._found:
            self._found[key] = make()
            while len(self._found) > self._most:
                self._found.popitem(last=False)
        self._found.move_to_end(key)
        return self._found[key]


class _Kept:
    """What was computed of a ledger of one size: for who looks again, at another source, or from another moment.

    ``loaded`` are the rows that answers are computed from, some megabytes each.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.shown = _Few(32)
        self.loaded = _Few(6)


_KEPT: WeakKeyDictionary[LiveLedger, _Kept] = WeakKeyDictionary()


def _kept(visit: Visit, moment: Moment) -> _Kept:
    """What is kept until something is recorded. Those who look do so one after another."""
    live, size = visit.service.live, moment.events.reader.head().size
    found = _KEPT.get(live)
    if found is None or found.size != size:
        found = _KEPT[live] = _Kept(size)
    return found


def _shown(visit: Visit, moment: Moment, window: Window) -> _Shown:
    """What the page shows."""
    asked = tuple(pair for pair in visit.request.query_params.multi_items() if pair[0] != "as_of")
    found: _Shown = _kept(visit, moment).shown.get(
        (asked, window, moment.size), lambda: _Shown.of(visit, moment, window)
    )
    return found


def _sources(graded: Graded) -> list[tuple[str, int, int]]:
    results = counts_of(graded.trend["source"], graded.texts)
    begun = counts_of(graded.begun["source"], graded.texts)
    return [(source, results.get(source, 0), begun.get(source, 0)) for source in sorted({*results, *begun})]


def _disagreements(visit: Visit, moment: Moment, window: Window, shown: _Shown) -> Sequence[Any]:
    """The newest turns of the window whose shadow the judge found significantly better."""
    if not shown.shadow["statistics"]["significant_losses"]:
        return ()
    page = list_verdicts(
        moment.views,
        moment.events,
        moment.size,
        version=shown.version,
        names_of=moment.names_of,
        outcome="loss",
        significant=True,
        source=source_of(visit),
        before=Key((window.last + 1) * MICRO, -1),
        limit=DISAGREEMENTS_SHOWN,
    )
    return [verdict for verdict in page.verdicts if verdict.judged_at >= window.first * MICRO]


def _figures(visit: Visit, moment: Moment, window: Window) -> list[Figure]:
    everything, _, _ = _graded(visit, moment, window)
    source = source_of(visit)
    graded = everything if source is None else everything.of_sources([source])
    success = clustered_rate(one_a_session(graded.trend)).as_json()
    figures = [
        Figure("Success", f"{parts.tenth(success['rate'])}, n = {num(success['n'])}" if success["n"] else NONE),
        Figure("Sessions that began", num(len(graded.begun))),
    ]
    figures += [Figure(f"{tile.label}, last 7 days", tile.value) for tile in parts.tiles_of(tiles(graded))]
    pin = pinned_version(moment.views, moment.size)
    version = visit.query.get("version") or pin
    total = total_under(_judged(visit, moment, window), source, version)
    figures.append(Figure(f"Per turn, judge prompt {version}", headline(total)))
    figures.append(Figure("Pinned judge prompt", pin))
    return figures
