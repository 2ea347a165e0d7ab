"""The recorded calls of a run: all of them, a page at a time, and one of them whole."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from fastapi import Path as PathParameter
from starlette.responses import Response

from ....domain.event import Withheld
from ....projections.runs.places import last_iteration, require_run
from ....projections.runs.recorded_calls import Attempt, iteration_stretch, read_call, read_calls
from ....projections.simulated import is_simulated
from ...moment import Moment
from ..asked import Whole
from ..formats import num
from ..frame import Figure, VisitDep
from .messages import read_reply, read_request

router = APIRouter(include_in_schema=False)

ROWS = 50
"""Requests on a page."""
_GLANCE = 160
"""Characters of a text that a row shows."""


@router.get("/runs/{run}/calls")
def show_calls(
    visit: VisitDep,
    run: str,
    iteration: Annotated[Whole, Query(ge=0)] | Literal[""] = "",
    start: Annotated[Whole, Query(ge=0, alias="from")] = 0,
) -> Response:
    """Requests in the order of recording, ``ROWS`` at a time from position ``from`` of the run's stream on.

    ``iteration`` keeps those of one stretch, 0 those before the first iteration. An unknown run is 404.
    """
    with visit.moment() as moment:
        require_run(moment.views, run, moment.size)
        size = moment.size
        stretch = None if iteration == "" else iteration_stretch(moment.views, run, iteration, size)
        page = read_calls(moment.views, moment.events, run, size, stretch=stretch, start=start, most=ROWS)
        return visit.render(
            "runs/calls.html",
            moment,
            title=f"Calls of run {run}",
            figures=lambda then: [Figure("requests on record", num(_count(then, run)))],
            run=run,
            iteration=None if iteration == "" else iteration,
            iterations=last_iteration(moment.views, run, size),
            page=page,
            start=start,
            rows=[call_row(attempt) for attempt in page.attempts],
            simulated_models=_simulated(page.attempts),
        )


@router.get("/runs/{run}/calls/{seq}")
def show_call(visit: VisitDep, run: str, seq: Annotated[Whole, PathParameter(ge=0)]) -> Response:
    """The call that entry ``seq`` is a request of or an answer to, with all its attempts; 404 where it is neither."""
    with visit.moment() as moment:
        require_run(moment.views, run, moment.size)
        call = read_call(moment.views, moment.events, run, seq, moment.size)
        shown = call.attempts[call.shown]
        request, answered = shown.requested, shown.answered
        return visit.render(
            "runs/call.html",
            moment,
            title=f"Call {request.site}, number {request.occurrence + 1}",
            figures=lambda then: [
                Figure(
                    "attempts at this call", num(len(read_call(then.views, then.events, run, seq, then.size).attempts))
                )
            ],
            run=run,
            call=call,
            shown=shown,
            told=read_request(request.body),
            reply=None if answered is None else read_reply(answered.body),
            simulated_models=_simulated((shown,)),
        )


def call_row(attempt: Attempt) -> dict[str, Any]:
    """What a list shows of a request: what became of it, and how question and answer begin."""
    answered = attempt.answered
    return {
        "attempt": attempt,
        "asked": _asked(attempt),
        "said": None if answered is None else _said(answered.body),
    }


def _asked(attempt: Attempt) -> str | Withheld:
    body = attempt.requested.body
    if isinstance(body, Withheld):
        return body
    messages = read_request(body).messages or ()
    last = next((message for message in reversed(messages) if message.role == "user"), None)
    said = [] if last is None else [passage.text for passage in last.passages if passage.label is None]
    told = [part for text in said for part in text.split("\n\n") if "<<<" not in part]  # how material is marked
    return _glance("\n".join(told) or body)


def _said(body: str | Withheld | None) -> str | Withheld | None:
    if body is None or isinstance(body, Withheld):
        return body
    said = read_reply(body)
    return _glance(body if said is None else said)


def _glance(text: str) -> str:
    """The beginning of a text in one line."""
    line = " ".join(text[: 4 * _GLANCE].split())
    return line if len(line) <= _GLANCE else f"{line[:_GLANCE]}…"


def _count(moment: Moment, run: str) -> int:
    return read_calls(moment.views, moment.events, run, moment.size, most=0).count


def _simulated(attempts: tuple[Attempt, ...]) -> list[str]:
    return sorted({found.requested.model for found in attempts if is_simulated(found.requested.model)})
