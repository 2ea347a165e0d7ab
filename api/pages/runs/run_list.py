"""The run list, and the family tree of a run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from time import thread_time
from urllib.parse import urlsplit

from fastapi import APIRouter
from starlette.responses import RedirectResponse, Response

from ....projections.runs.comparisons import Comparisons
from ....projections.runs.lineage import Kin, branch_counts, family_of
from ....projections.runs.places import require_run
from ....projections.runs.run_list import SORTS, Choices, RunLine, Sort, Wanted, filter_choices, find_runs, run_lines
from ....projections.statistics.gain import PairedComparison
from ...moment import Moment
from ..asked import asked_page, one_of
from ..charts.lineage import Came, Limb, lay_out, lineage_picture
from ..formats import num, signed
from ..frame import Figure, Visit, VisitDep

router = APIRouter(include_in_schema=False)

PAGE = 50
FAMILY = 100
"""How many runs of a family are shown."""
STATUSES = ("completed", "open", "failed", "interrupted")
COLUMNS: tuple[tuple[Sort | None, str], ...] = (
    ("recorded", "run"),
    (None, "status"),
    (None, "strategy and model"),
    ("iterations", "iterations"),
    ("baseline", "baseline"),
    ("best", "best"),
    ("improvement", "improvement"),
    ("tokens", "tokens"),
    ("duration", "duration"),
)
_SECONDS = 0.01
"""How much of the processor's time one page may take for intervals that nobody has asked for before."""
_SECONDS_AGAIN = 0.04
"""The same for a page that is asked for again by itself, or from itself: for the rest of them."""

_MOMENTS = 50


@dataclass(frozen=True, slots=True)
class Row:
    """A run of the list with what it gained: a comparison, why there is none, or None while it is not computed."""

    line: RunLine
    compared: PairedComparison | str | None
    branches: int

    @property
    def is_pending(self) -> bool:
        """Whether the interval is still to be computed."""
        return self.line.improvement is not None and self.compared is None

    @property
    def paired_apart(self) -> float | None:
        """The paired mean difference, where it is not the difference of the scores as printed."""
        found = self.compared
        if not isinstance(found, PairedComparison) or found.mean_difference is None:
            return None
        return None if signed(found.mean_difference) == signed(self.line.improvement) else found.mean_difference


@dataclass(frozen=True, slots=True)
class Heading:
    """A column: how it is sorted now, in the words of ``aria-sort``, and the address that sorts by it."""

    name: str
    sorted: str | None
    address: str | None


@router.get("/")
def lead_in(visit: VisitDep) -> Response:
    return RedirectResponse(visit.link("/runs"), 307)


@router.get("/runs")
def show_runs(visit: VisitDep) -> Response:
    """Runs, ``PAGE`` at a time; ``page`` counts from 1, ``sort`` and ``order`` say by what and which way.

    Runs without a value stand last. A sort, order or page that there is not is 422.
    """
    query = visit.query
    sort = one_of("sort", query.get("sort") or "recorded", tuple(SORTS))
    order = one_of("order", query.get("order") or _first_order(sort), ("up", "down"))
    simulated = one_of("simulated", query.get("simulated") or "", ("", "yes", "no"))
    number = asked_page(query.get("page"))
    wanted = Wanted(
        query.get("status") or None,
        query.get("strategy") or None,
        query.get("model") or None,
        None if not simulated else simulated == "yes",
        query.get("q", "").strip() or None,
    )
    with visit.moment() as moment:
        found = find_runs(
            moment.views,
            moment.size,
            wanted,
            sort=sort,
            descending=order == "down",
            first=PAGE * (number - 1),
            count=PAGE,
        )
        rows = _rows(visit, moment, found.lines)
        more = found.first + len(rows) < found.total
        return visit.render(
            "runs/list.html",
            moment,
            title="Runs",
            figures=lambda at: _figures(visit, at),
            found=found,
            rows=rows,
            pending=sum(row.is_pending for row in rows),
            is_live=any(row.line.status == "open" for row in rows),
            choices=_choices(visit, moment),
            statuses=STATUSES,
            wanted=wanted,
            simulated_asked=simulated,
            headings=[_heading(visit.here, column, name, sort, order) for column, name in COLUMNS],
            newer=visit.here(page=number - 1 if number > 2 else None) if number > 1 else None,
            older=visit.here(page=number + 1) if more else None,
            signed=signed,
            sort=query.get("sort"),
            order=query.get("order"),
        )


@router.get("/runs/lineage/{run}")
def show_lineage(visit: VisitDep, run: str) -> Response:
    """The family of a run: what it was branched from, and everything that was branched from that."""
    with visit.moment() as moment:
        require_run(moment.views, run, moment.size)
        family = family_of(moment.views, moment.size, run, FAMILY)
        rows = {
            row.line.run: row
            for row in _rows(visit, moment, run_lines(moment.views, moment.size, _runs(family.members)))
        }
        limbs = lay_out(family.members, {name: row.line.iterations for name, row in rows.items()})
        return visit.render(
            "runs/lineage.html",
            moment,
            title=f"Lineage of run {run}",
            figures=lambda then: _family_figures(then, run),
            signed=signed,
            run=run,
            family=family,
            rows=rows,
            steps=_steps(limbs),
            last_depth=limbs[-1].depth,
            pending=sum(row.is_pending for row in rows.values()),
            picture=lineage_picture(
                limbs,
                run,
                {name: Came(row.line.status, row.line.improvement, row.line.iterations) for name, row in rows.items()},
            ),
        )


def _rows(visit: Visit, moment: Moment, lines: Sequence[RunLine]) -> list[Row]:
    deadline = thread_time() + (_SECONDS_AGAIN if _is_again(visit) else _SECONDS)
    comparisons = visit.kept.of("run comparisons", None, Comparisons)
    measured = [line.run for line in lines if line.improvement is not None]
    compared = comparisons.of(moment.views, moment.events, moment.size, measured, lambda: thread_time() < deadline)
    branches = branch_counts(moment.views, moment.size, [line.run for line in lines])
    return [Row(line, compared.get(line.run), branches.get(line.run, 0)) for line in lines]


def _is_again(visit: Visit) -> bool:
    """Whether the visitor, or the page itself while it is shown, asks for what is shown already."""
    shown, asked = urlsplit(visit.request.headers.get("referer", "")), visit.request.url
    return (shown.path, shown.query) == (asked.path, asked.query)


def _choices(visit: Visit, moment: Moment) -> Choices:
    """What the runs differ in; of the moments that were looked at last it is kept until something is recorded."""
    head = moment.events.reader.head().size
    return visit.kept.of(
        "run choices", moment.size, lambda: filter_choices(moment.views, moment.size), state=head, most=_MOMENTS
    )


def _figures(visit: Visit, moment: Moment) -> list[Figure]:
    choices = _choices(visit, moment)
    return [
        Figure("runs", num(sum(choices.statuses.values()))),
        *(Figure(f"runs {status}", num(choices.statuses.get(status, 0))) for status in STATUSES),
    ]


def _family_figures(moment: Moment, run: str) -> list[Figure]:
    family = family_of(moment.views, moment.size, run, FAMILY)
    lines = run_lines(moment.views, moment.size, _runs(family.members))
    return [
        Figure("runs shown of this family", num(len(lines))),
        *(Figure(f"of these {status}", num(sum(line.status == status for line in lines))) for status in STATUSES),
    ]


def _runs(members: Iterable[Kin]) -> list[str]:
    return [kin.run for kin in members]


def _steps(limbs: Sequence[Limb]) -> list[tuple[Kin, int, int]]:
    """Each run of the family with how many lists end before it, and begin."""
    depths = [limb.depth for limb in limbs]
    turns = [now - before for before, now in zip([0, *depths], depths, strict=False)]
    return [(limb.kin, max(0, -turn), max(0, turn)) for limb, turn in zip(limbs, turns, strict=True)]


def _heading(here: Callable[..., str], column: Sort | None, name: str, sort: str, order: str) -> Heading:
    if column is None:
        return Heading(name, None, None)
    if column != sort:
        return Heading(name, None, here(sort=column, order=_first_order(column), page=None))
    other = "up" if order == "down" else "down"
    return Heading(name, "descending" if order == "down" else "ascending", here(sort=column, order=other, page=None))


def _first_order(sort: str) -> str:
    return "up" if sort == "run" else "down"
