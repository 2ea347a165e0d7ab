"""A verdict that names no version of the judge's prompt, as another system may have recorded it."""

from __future__ import annotations

from affidavit.api.http.service import Service
from affidavit.domain.evaluation.events import ShadowJudged
from affidavit.domain.event import Meta, NewEvent

from .world_sessions import PIN


def judge_without_version(service: Service) -> int:
    """Record one beside the newest of the pinned version, and say which entry it is."""
    with service.moment() as moment:
        seq = moment.views.exec_driver_sql(
            "SELECT seq FROM verdicts WHERE version = ? ORDER BY judged_at DESC LIMIT 1", (PIN,)
        ).scalar_one()
        recorded = moment.events.event(seq)
    assert recorded is not None
    assert isinstance(recorded.event, ShadowJudged)
    judged = recorded.event.model_copy(update={"detail": {}, "position_seed": None, "call": None})
    with service.ledger.recorder.reading() as reader:
        pos = reader.next_pos(recorded.stream)
    (made,) = service.ledger.record(NewEvent(recorded.stream, pos, judged, Meta(scope=recorded.meta["scope"])))
    return made.seq
