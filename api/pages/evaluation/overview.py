"""The page of evaluation: how sessions went, what goes with success, sources side by side, answers against shadows.

Figures are those of the overview and the trend that the API answers with; the page arranges them. Grades of different
versions of the judge's prompt, and verdicts of different versions, are never shown together: the page shows one
version of each and says what else there is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from fastapi import APIRouter
from starlette.responses import RedirectResponse, Response

from ....projections.evaluation.comparisons import open_results
from ....projections.evaluation.graded import Graded, counts_of, load_graded, one_a_session
from ....projections.evaluation.latest import last_day
from ....projections.evaluation.overview import build_overview, newest_first, pinned_version
from ....projections.evaluation.segments import HeldDays, Load, Segments
from ....projections.evaluation.since_first import load_since_first
from ....projections.evaluation.tiles import clustered_rate, tiles
from ....projections.evaluation.trend import headline, load_verdicts, total_under, trend_under
from ....projections.evaluation.verdicts import newest_disagreements
from ....projections.evaluation.windows import OverviewRequest, Windows
from ....projections.simulated import is_simulated
from ...moment import Moment
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

Made = TypeVar("Made")

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
            figures=lambda other: _figures(shown.brief if other is moment else _brief_now(visit, other, window)),
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
        version = _version(visit, pin)
        shadow = trend_under(
            views,
            size,
            _judged(visit, moment, window),
            from_at=window.first,
            to_at=window.last,
            source=source_of(visit),
            version=version,
            since_first=lambda: visit.kept.of(
                "evaluation since first",
                (version, source_of(visit), size),
                lambda: load_since_first(views, version, source_of(visit), size, load=_load(visit, moment)),
                state=_state(moment),
            ),
        )
        return cls(request, overview, shadow, pin, version, graded, versions, sources, not asked, newest)

    @property
    def brief(self) -> _Brief:
        hero = self.overview["hero"]
        return _Brief(
            hero["by_session"],
            hero["sampling"]["population"],
            self.overview["context_tiles"],
            self.version,
            self.shadow["window_total"],
            self.pin,
        )

    @property
    def simulated(self) -> list[str]:
        judges = {*self.shadow["judges"], *self.overview["hero"]["sampling"]["judges"]}
        return sorted(judge for judge in judges if is_simulated(judge))

    @property
    def set_of_source(self) -> dict[str, int]:
        """Of each source that is in a set the set's number, from 1."""
        return {source: number for number, given in enumerate(self.request.source_sets, 1) for source in given.sources}


def _version(visit: Visit, pin: str) -> str:
    """The version of the shadow judge that is asked for, "" for verdicts that name none; else the pinned one."""
    named = source_of_query(visit.query.get("version"))
    return pin if named is None else named


def _graded(visit: Visit, moment: Moment, window: Window) -> tuple[Graded, str | None, dict[str, int]]:
    """The results of the window under one version of the judge's prompt, that version, and how many each has."""
    windows = Windows.of(request_of(visit, window, []))
    loaded = _loaded(visit, moment, windows, lambda load: load_graded(moment.views, windows, moment.size, load))
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
    return _loaded(
        visit, moment, window, lambda load: load_verdicts(moment.views, window.first, window.last, moment.size, load)
    )


def _loaded(visit: Visit, moment: Moment, what: Windows | Window, make: Callable[[Load], Made]) -> Made:
    """Rows that answers are computed from."""
    return visit.kept.of(
        "evaluation loaded", (what, moment.size), lambda: make(_load(visit, moment)), state=_state(moment), most=6
    )


def _load(visit: Visit, moment: Moment) -> Load:
    """Loads the rows of days, which are held until something is recorded."""
    return visit.kept.of("evaluation days", None, HeldDays, state=_state(moment)).load


def _state(moment: Moment) -> int:
    """What is kept of evaluation is of the ledger as it is, whatever the moment that is shown."""
    return moment.events.reader.head().size


def _shown(visit: Visit, moment: Moment, window: Window) -> _Shown:
    """What the page shows."""
    return visit.kept.of(
        "evaluation shown",
        (_asked(visit), window, moment.size),
        lambda: _Shown.of(visit, moment, window),
        state=_state(moment),
    )


def _asked(visit: Visit) -> tuple[tuple[str, str], ...]:
    """The query of the page, whatever moment it is asked for."""
    return tuple(pair for pair in visit.request.query_params.multi_items() if pair[0] != "as_of")


def _sources(graded: Graded) -> list[tuple[str, int, int]]:
    results = counts_of(graded.trend["source"], graded.texts)
    begun = counts_of(graded.begun["source"], graded.texts)
    return [(source, results.get(source, 0), begun.get(source, 0)) for source in sorted({*results, *begun})]


def _disagreements(visit: Visit, moment: Moment, window: Window, shown: _Shown) -> Sequence[Any]:
    """The newest turns of the window whose shadow the judge found significantly better."""
    if not shown.shadow["statistics"]["significant_losses"]:
        return ()
    return newest_disagreements(
        moment.views,
        moment.events,
        moment.size,
        _judged(visit, moment, window),
        version=shown.version,
        source=source_of(visit),
        names_of=moment.names_of,
        limit=DISAGREEMENTS_SHOWN,
    )


@dataclass(frozen=True, slots=True)
class _Brief:
    """Of what the page shows that which is set beside another moment's."""

    success: Mapping[str, Any]
    began: int
    tiles: Mapping[str, Any]
    version: str
    total: Mapping[str, Any]
    pin: str


def _brief_now(visit: Visit, moment: Moment, window: Window) -> _Brief:
    return visit.kept.of(
        "evaluation brief", (_asked(visit), window), lambda: _brief(visit, moment, window), state=_state(moment)
    )


def _brief(visit: Visit, moment: Moment, window: Window) -> _Brief:
    everything, _, _ = _graded(visit, moment, window)
    source = source_of(visit)
    graded = everything if source is None else everything.of_sources([source])
    success = clustered_rate(one_a_session(graded.trend)).as_json()
    pin = pinned_version(moment.views, moment.size)
    version = _version(visit, pin)
    total = total_under(_judged(visit, moment, window), source, version)
    return _Brief(success, len(graded.begun), tiles(graded), version, total, pin)


def _figures(brief: _Brief) -> list[Figure]:
    success = brief.success
    return [
        Figure("Success", f"{parts.tenth(success['rate'])}, n = {num(success['n'])}" if success["n"] else NONE),
        Figure("Sessions that began", num(brief.began)),
        *(Figure(f"{tile.label}, last 7 days", tile.value) for tile in parts.tiles_of(brief.tiles)),
        Figure(f"Per turn, judge prompt {brief.version}", headline(brief.total)),
        Figure("Pinned judge prompt", brief.pin),
    ]
