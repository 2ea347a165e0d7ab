"""What a pack shows of an evaluation window: everything computed from the entries that the evidence carries."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from ...domain.evaluation.events import (
    EVENTS,
    InteractionPublished,
    JudgePromptPublished,
    SessionGraded,
    ShadowJudged,
)
from ...domain.event import Recorded
from ...ledger.store.opening import EventReader
from ...ledger.store.place import ViewsFile
from ...projections.evaluation.windows import OverviewRequest
from ...projections.runner import catch_up, views_engine
from ..answers import overview_answer, trend_answer
from ..moment import Moment

EVALUATION_TYPES = frozenset(event.type_name for event in EVENTS)
_MICRO = 1_000_000


@dataclass(frozen=True, slots=True)
class ShownVerdict:
    """A verdict with the turn that it is about, and what the user had said before it."""

    recorded: Recorded
    turn: Recorded | None
    asked: Recorded | None


@dataclass(frozen=True, slots=True)
class WindowPage:
    """What the template of a window reads. ``prompts`` are the texts of every judge's prompt that was published."""

    request: OverviewRequest
    overview: dict[str, Any]
    trend: dict[str, Any]
    prompts: tuple[Recorded, ...]
    verdicts: tuple[ShownVerdict, ...]
    grades: tuple[Recorded, ...]


def window_request(about: dict[str, str]) -> OverviewRequest:
    """The overview that a window from one time to another asks for, to whole seconds."""
    start, end = (int(datetime.fromisoformat(about[name]).timestamp()) for name in ("from", "to"))
    return OverviewRequest(from_ts=start, to_ts=end)


def window_page(events: EventReader, about: dict[str, str], size: int, root: bytes) -> WindowPage:
    """The page of a window as of the first ``size`` entries, whose root is ``root``."""
    request = window_request(about)
    with tempfile.TemporaryDirectory(prefix="affidavit-") as scratch:
        engine = views_engine(ViewsFile(Path(scratch) / "views.db"))
        try:
            catch_up(engine, events)
            with engine.connect() as views:
                moment = Moment(views, events, size, root, dict.fromkeys, _no_sessions)
                overview = overview_answer(moment, request)
                trend = trend_answer(moment, from_ts=request.from_ts, to_ts=request.to_ts)
        finally:
            engine.dispose()
    shown = window_events(events, request)
    return WindowPage(
        request,
        overview,
        trend,
        tuple(item for item in events.events() if isinstance(item.event, JudgePromptPublished)),
        tuple(_verdict(events, item) for item in shown if isinstance(item.event, ShadowJudged)),
        tuple(item for item in shown if isinstance(item.event, SessionGraded)),
    )


def window_events(events: EventReader, request: OverviewRequest, stop: int | None = None) -> list[Recorded]:
    """The verdicts and grades of the window below seq ``stop``, opened, in the order in which they were recorded."""
    found = []
    for recorded in events.events(0, stop, EVALUATION_TYPES):
        event = recorded.event
        if (
            isinstance(event, ShadowJudged) and request.from_ts * _MICRO <= event.judged_at <= request.to_ts * _MICRO
        ) or (isinstance(event, SessionGraded) and request.from_ts <= event.started_at <= request.to_ts):
            opened = events.event(recorded.seq)
            assert opened is not None
            found.append(opened)
    return found


def asked_before(events: EventReader, turn: Recorded) -> Recorded | None:
    """What the user said last before a turn of the same request."""
    asked = None
    for earlier in events.stream(turn.stream, before=turn.seq):
        if isinstance(earlier.event, InteractionPublished) and earlier.event.speaker == "user":
            asked = earlier
    return asked


def _verdict(events: EventReader, recorded: Recorded) -> ShownVerdict:
    event = recorded.event
    assert isinstance(event, ShadowJudged)
    turn = None if event.turn is None else events.event(event.turn)
    return ShownVerdict(recorded, turn, None if turn is None else asked_before(events, turn))


def _no_sessions(aliases: Iterable[str]) -> dict[str, list[str]]:
    return {}
