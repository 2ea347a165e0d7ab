"""The judges: which version of the prompt was pinned when, what each version gave, its text, and who judges here."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from ....projections.evaluation.configs import config_history
from ....projections.evaluation.judge_versions import (
    RECENT,
    VersionTimes,
    published_prompts,
    recent_judges,
    versions_through_time,
)
from ....projections.evaluation.overview import pinned_version
from ....projections.simulated import is_simulated
from ...moment import Moment
from ..asked import Whole, one_of
from ..charts.versions import left_out, versions_picture
from ..frame import Figure, VisitDep
from .places import source_named

router = APIRouter(include_in_schema=False)

CHANGES = 20
SPANS = {"90": "the last 90 days", "365": "the last year", "all": "all times"}


@router.get("/evaluation/judges")
def show_judges(visit: VisitDep, changes: Whole = 1, span: str = "90") -> Response:
    """Judges through time. ``changes`` is the first change of the configuration on the page, from 1 on."""
    changes = max(1, min(changes, 2**31))
    days = None if one_of("span", span, SPANS) == "all" else int(span)
    with visit.moment() as moment:
        times = versions_through_time(moment.views, moment.events, moment.size, visit.now, days)
        recent = recent_judges(moment.views, moment.size, [found.version for found in times.versions])
        history = config_history(moment.views, moment.size, limit=CHANGES + 1, offset=changes - 1)
        prompts = published_prompts(moment.views, moment.events, moment.size)
        models = {model for given in recent.verdicts.values() for model in given}
        models |= {model for _, model in recent.grades}
        judges = visit.service.judges
        return visit.render(
            "evaluation/judges.html",
            moment,
            title="Judges",
            figures=lambda at: _figures(at, times if at.size == moment.size else None),
            times=times,
            source_named=source_named,
            picture=versions_picture(times),
            left_out=left_out(times),
            span=span,
            spans=SPANS,
            pinned=pinned_version(moment.views, moment.size),
            prompts=prompts,
            published={prompt.version: prompt for prompt in prompts if prompt.judge == "shadow"},
            recent=recent,
            of_late=RECENT,
            simulated=sorted(model for model in models if is_simulated(model)),
            here_now=None if judges is None or visit.as_of is not None else judges.status(),
            judged_here=judges is not None,
            history=history[:CHANGES],
            changes=changes,
            older=visit.here(changes=changes + CHANGES) + "#changes" if len(history) > CHANGES else None,
            newer=visit.here(changes=max(1, changes - CHANGES)) + "#changes" if changes > 1 else None,
        )


def _figures(moment: Moment, times: VersionTimes | None) -> list[Figure]:
    counted = times or versions_through_time(moment.views, moment.events, moment.size, 0)
    return [
        Figure("pinned version", pinned_version(moment.views, moment.size)),
        *(Figure(f"verdicts under {found.version or 'no version'}", f"{found.total:,}") for found in counted.versions),
    ]
