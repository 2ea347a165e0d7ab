"""What people signed, newest first, each verified as it is read."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from ....ledger.entries.review import OPINIONS
from ....projections.reviews_view import count_reviews, newest_reviews, verdict_counts
from ...moment import Moment
from ...reviews import review_at
from ..asked import asked_number
from ..formats import num
from ..frame import Figure, VisitDep

router = APIRouter(include_in_schema=False)

PAGE = 20


@router.get("/reviews")
def list_reviews(visit: VisitDep, run: str = "", verdict: str = "", before: str = "") -> Response:
    """Reviews, newest first, each verified as it is read."""
    asked_run, asked_verdict = run.strip() or None, verdict if verdict in OPINIONS else None
    with visit.moment() as moment:
        below = min(asked_number("before", before) or moment.size, moment.size)
        seqs = newest_reviews(moment.views, below, PAGE + 1, run=asked_run, verdict=asked_verdict)
        total = count_reviews(moment.views, moment.size, run=asked_run, verdict=asked_verdict)
        newer = count_reviews(moment.views, moment.size, start=below, run=asked_run, verdict=asked_verdict)
        shown = [review_at(moment.events, seq) for seq in seqs[:PAGE]]
        return visit.render(
            "reviews/list.html",
            moment,
            title="Reviews",
            figures=_figures,
            reviews=shown,
            counts=verdict_counts(moment.views, moment.size),
            opinions=OPINIONS,
            run=asked_run,
            verdict=asked_verdict,
            total=total,
            first=newer + 1,
            handed_in=asked_number("handed_in", visit.query.get("handed_in", "")),
            newest=visit.here(before=None, handed_in=None) if newer else None,
            older=visit.here(before=shown[-1].seq, handed_in=None) if len(seqs) > PAGE else None,
        )


def _figures(moment: Moment) -> list[Figure]:
    counts = verdict_counts(moment.views, moment.size)
    return [Figure(f"reviews: {opinion}", num(counts.get(opinion, 0))) for opinion in OPINIONS]
