"""Routes for reviews: handing in what a person signed elsewhere, and reading what was handed in."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from ...ledger.entries.review import MAX_STATEMENT_BYTES
from ..reviews import read_reviews, record_review
from .service import AsOfQuery, ServiceDep, StrictRoute, ack, answer

router = APIRouter(tags=["reviews"], route_class=StrictRoute)


class ReviewRequest(BaseModel):
    """A signed statement (docs/reviewing.md), and the public key that it verifies under."""

    statement: Annotated[str, Field(min_length=1, max_length=MAX_STATEMENT_BYTES)]
    vkey: Annotated[str, Field(min_length=1, max_length=4096)]


@router.post("/api/reviews")
def post_review(asked: ReviewRequest, service: ServiceDep, request: Request) -> Response:
    """Record a statement that a reviewer signed; handed in again, it is answered as before."""
    recorded = record_review(service.ledger, asked.statement.encode(), asked.vkey, service.actor(request))
    return answer(*service.head(), {"success": True, **ack(recorded)})


@router.get("/api/reviews")
def get_reviews(
    service: ServiceDep,
    run: Annotated[str | None, Query(max_length=128, description="Without it, reviews of ranges of entries.")] = None,
    as_of: AsOfQuery = None,
) -> Response:
    """The reviews of a run and of its iterations, or of ranges of entries, each verified now."""
    with service.moment(as_of) as moment:
        found = read_reviews(moment.events, run, moment.size)
    return answer(moment.size, moment.root, {"reviews": [review.as_json() for review in found]})
