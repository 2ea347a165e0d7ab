"""The page of evaluation: how sessions went, what goes with success, sources side by side, answers against shadows.

Figures are those of the overview and the trend that the API answers with; the page arranges them. Grades of different
versions of the judge's prompt, and verdicts of different versions, are never shown together: the page shows one
version of each and says what else there is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from fastapi import APIRouter
from starlette.responses import RedirectResponse, Response

from ....projections.evaluation.comparisons import open_results
from ....projections.evaluation.graded import Graded, counts_of, load_graded
from ....projections.evaluation.latest import last_day
from ....projections.evaluation.newest import Key
from ....projections.evaluation.overview import build_overview, newest_first, pinned_version
from ....projections.evaluation.trend import MICRO, headline, trend_under
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
            figures=lambda other: _figures(_Shown.of(visit, other, window)),
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
        windows = Windows.of(request_of(visit, window, []))
        everything = load_graded(views, windows, size)
        versions = everything.versions()
        chosen = source_of_query(visit.query.get("graded"))
        graded = chosen if chosen is not None else next(iter(versions), None)
        if graded is not None and set(versions) != {graded}:
            everything = everything.under(graded)
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
            views, size, from_at=window.first, to_at=window.last, source=source_of(visit), version=version
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


_KEPT: WeakKeyDictionary[LiveLedger, tuple[int, dict[tuple[str, Window], _Shown]]] = WeakKeyDictionary()
_KEPT_MOST = 32


def _shown(visit: Visit, moment: Moment, window: Window) -> _Shown:
    """What the page shows; of the present it is kept until something is recorded, for those who look again."""
    if visit.as_of is not None:
        return _Shown.of(visit, moment, window)
    size, known = _KEPT.get(visit.service.live, (0, {}))
    if size != moment.size:
        known = {}
        _KEPT[visit.service.live] = (moment.size, known)
    asked = (visit.request.url.query, window)
    found = known.get(asked)
    if found is None:
        if len(known) >= _KEPT_MOST:
            known.clear()
        found = known[asked] = _Shown.of(visit, moment, window)
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


def _figures(shown: _Shown) -> list[Figure]:
    hero = shown.overview["hero"]
    success = hero["by_session"]
    figures = [
        Figure("Success", f"{parts.tenth(success['rate'])}, n = {num(success['n'])}" if success["n"] else NONE),
        Figure("Sessions that began", num(hero["sampling"]["population"])),
    ]
    tiles = parts.tiles_of(shown.overview["context_tiles"])
    figures += [Figure(f"{tile.label}, last 7 days", tile.value) for tile in tiles]
    figures.append(Figure(f"Per turn, judge prompt {shown.version}", headline(shown.shadow["window_total"])))
    figures.append(Figure("Pinned judge prompt", shown.pin))
    return figures
