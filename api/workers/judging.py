"""Judging one turn and grading one session: content read, conversation driven, conclusion recorded.

Each leaves exactly one conclusion for its piece of work, and says so where it finds one there already.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from ...domain.errors import Refused
from ...domain.evaluation.events import (
    InteractionPublished,
    JudgePromptPublished,
    Made,
    RequestPublished,
    SessionGraded,
    SessionUndecided,
    ShadowJudged,
    ShadowUndecided,
)
from ...domain.evaluation.grading import grade_session, user_turns
from ...domain.evaluation.grading import suspicions as suspicions_in_session
from ...domain.evaluation.judging import Undecided
from ...domain.evaluation.prompts import GRADE_PROMPT, SHADOW_PROMPTS, JudgePrompt
from ...domain.evaluation.shadow import (
    SpokenTurn,
    compare_turn,
    is_judged,
    is_served_first,
    judge_turn,
    position_seed,
    spoken_turn,
    suspicions,
)
from ...domain.event import Event, Meta, NewEvent, Recorded
from ...ledger.application import Ledger, system_clock
from ...ledger.errors import Conflict
from ...projections.evaluation.pending import SessionRows
from ..drive.asking import Asker
from ..drive.journal import Journal, Overtaken, Work
from ..models.patience import PROVIDER_REASONS
from ..settings import recorder_name

LIVE = "live"
_GRADES = (SessionGraded, SessionUndecided)
_VERDICTS = (ShadowJudged, ShadowUndecided)


class Outcome(NamedTuple):
    """How a piece of work ended: with a conclusion now, at entry ``seq``, or one that was there ``already``."""

    kind: Literal["judged", "undecided", "already"]
    reason: str = ""
    seq: int | None = None

    @property
    def provider_failed(self) -> bool:
        """Whether the provider is to blame, so that the next piece of work would likely fare the same."""
        return self.kind == "undecided" and self.reason in PROVIDER_REASONS


@dataclass(frozen=True, slots=True)
class _Turn:
    """A turn in its request. ``spoken`` is None where texts are not open any more."""

    published: RequestPublished
    leaf: bytes
    spoken: SpokenTurn | None
    request: tuple[SpokenTurn | None, ...]


@dataclass(slots=True)
class Bench:
    """Where judging is done: a ledger, a model to ask, and a clock in microseconds since 1970. Safe from threads."""

    ledger: Ledger
    asker: Asker
    clock: Callable[[], int] = system_clock
    _prompts: set[str] = field(default_factory=set)
    _mutex: threading.Lock = field(default_factory=threading.Lock)

    def judge(self, turn: int, version: str, job: str | None = None) -> Outcome:
        """Judge the turn at entry ``turn`` under a version of the prompt, live or for a job.

        ``Refused`` where the entry is no turn to judge, or there is no such version.
        """
        prompt = SHADOW_PROMPTS.get(version)
        if prompt is None:
            known = ", ".join(sorted(SHADOW_PROMPTS))
            raise Refused("judge_prompt_known", f"shadow judge prompt {version!r}: expected one of {known}")
        self.publish(prompt)
        found = self._turn(turn)
        meta = _meta(found.published.user, version, turn, job or LIVE)
        journal = Journal(self.ledger, Work(f"shadow/{turn}", meta, _VERDICTS))
        journal.read()
        if _is_over(journal):
            return Outcome("already")
        seed = position_seed(found.leaf, version, job)
        common: dict[str, Any] = {
            "turn": turn,
            "session": found.published.session,
            "agent_version": found.published.agent_version,
            "made": "live" if job is None else "regeneration",
            "prompt_digest": prompt.digest,
            "position_seed": seed,
            "job": job,
        }

        def undecided(reason: str) -> ShadowUndecided:
            return ShadowUndecided(reason=reason, calls=journal.sent, model=self._model(), **common)

        def work() -> Event:
            opened = [other for other in found.request if other is not None]
            if found.spoken is None or len(opened) < len(found.request):
                return undecided("content_erased")
            if not is_judged(found.spoken):
                return undecided("no_shadow")
            comparison = compare_turn(found.spoken, opened)
            verdict = self.asker.converse(journal, judge_turn(prompt, comparison, seed))
            if isinstance(verdict, Undecided):
                return undecided(verdict.reason)
            return ShadowJudged(
                reflexio_is_request_1=is_served_first(seed),
                better=verdict.better,
                significant=verdict.significant,
                judged_at=self.clock(),
                model=self._model(journal, verdict.call),
                call=verdict.call,
                detail={"comparison_reason": verdict.reason, "suspicions": suspicions(prompt, comparison)},
                **common,
            )

        return _conclude(journal, work, undecided)

    def grade(
        self, rows: SessionRows, definition: str, made: Made, *, job: str | None = None, version: str | None = None
    ) -> Outcome:
        """Grade a session as of ``rows``, under ``version`` of the agent, by default that of its last request.

        A live grading is made once, a job's once for the job, one on demand each time that it is asked for.
        """
        prompt = GRADE_PROMPT
        self.publish(prompt)
        meta = _meta(rows.user, prompt.version, rows.through, job or made)
        journal = Journal(self.ledger, Work(f"session/{rows.session}", meta, _GRADES))
        journal.read()
        if made != "on_demand" and _is_over(journal):
            return Outcome("already")
        common: dict[str, Any] = {
            "session": rows.session,
            "agent_version": rows.agent_version if version is None else version,
            "through": rows.through,
            "made": made,
            "prompt_digest": prompt.digest,
            "job": job,
        }

        def undecided(reason: str) -> SessionUndecided:
            return SessionUndecided(reason=reason, calls=journal.sent, model=self._model(), **common)

        def work() -> Event:
            if rows.through is None:
                return undecided("no_interactions")
            turns, leaf = self._spoken(rows)
            if turns is None:
                return undecided("content_erased")
            seed = position_seed(leaf, prompt.version, job or made)
            grade = self.asker.converse(journal, grade_session(prompt, turns, definition, seed))
            if isinstance(grade, Undecided):
                return undecided(grade.reason)
            return SessionGraded(
                success=grade.success,
                failure_type=grade.failure_type,
                corrections=grade.corrections,
                turns=user_turns(turns) if grade.success else None,
                escalated=grade.escalated,
                started_at=rows.started_at,
                interactions=len(turns),
                model=self._model(journal, grade.call),
                call=grade.call,
                detail={"failure_reason": grade.failure_reason, "suspicions": suspicions_in_session(turns)},
                **common,
            )

        return _conclude(journal, work, undecided)

    def publish(self, prompt: JudgePrompt) -> None:
        """Put the prompt's text on the ledger before it is first used. ``Refused`` where another text has its name."""
        name = f"{prompt.judge}-{prompt.version}"
        stream = f"judge_prompt/{name}"
        event = JudgePromptPublished(judge=prompt.judge, version=prompt.version, text=prompt.text, digest=prompt.digest)
        with self._mutex:
            if name in self._prompts:
                return
            while (known := self._first(stream)) is None:
                with suppress(Conflict):  # another process publishes it
                    self.ledger.record(NewEvent(stream, 0, event, Meta(recorder=recorder_name())))
            if not isinstance(known.event, JudgePromptPublished) or known.event.digest != prompt.digest:
                raise Refused(
                    "judge_prompt_changed", f"judge prompt {name}: entry {known.seq} holds another text of this version"
                )
            self._prompts.add(name)

    def _first(self, stream: str) -> Recorded | None:
        with self.ledger.recorder.reading() as reader:
            return next(self.ledger.event_reader(reader).stream(stream), None)

    def _model(self, journal: Journal | None = None, call: int | None = None) -> str:
        """The model that was asked; whose reply an earlier process recorded, the one that it asked."""
        for past in () if journal is None else journal.attempts:
            if past.answer_seq is not None and past.answer_seq == call:
                return past.requested.model
        return self.asker.model.model

    def _turn(self, seq: int) -> _Turn:
        with self.ledger.recorder.reading() as reader:
            events = self.ledger.event_reader(reader)
            found = events.event(seq)
            if found is None or not isinstance(found.event, InteractionPublished):
                raise Refused("turn_known", f"entry {seq}: expected a published turn")
            published: RequestPublished | None = None
            request: list[SpokenTurn | None] = []
            for recorded in events.stream(found.stream):
                if isinstance(recorded.event, RequestPublished):
                    published = recorded.event
                elif isinstance(recorded.event, InteractionPublished):
                    request.append(spoken_turn(recorded.event))
            if published is None:
                raise Refused("turn_known", f"entry {seq}: its request is not on the ledger")
            leaf = next(reader.entries(seq, seq + 1)).leaf
            return _Turn(published, leaf, spoken_turn(found.event), tuple(request))

    def _spoken(self, rows: SessionRows) -> tuple[Sequence[SpokenTurn] | None, bytes]:
        """The turns of a session, None where one is not open; and the leaf hash of the last one recorded."""
        turns: list[SpokenTurn] = []
        with self.ledger.recorder.reading() as reader:
            events = self.ledger.event_reader(reader)
            leaf = next(reader.entries(rows.through or 0)).leaf
            for seq in rows.interactions:
                found = events.event(seq)
                turn = spoken_turn(found.event) if found and isinstance(found.event, InteractionPublished) else None
                if turn is None:
                    return None, leaf
                turns.append(turn)
        return turns, leaf


def _conclude(journal: Journal, work: Callable[[], Event], undecided: Callable[[str], Event]) -> Outcome:
    """Do the work and record its conclusion, unless somebody else has meanwhile."""
    try:
        try:
            event = work()
            seq = journal.append(event).seq
        except Refused as error:
            if error.rule != "scope_erased":
                raise
            event = undecided("content_erased")  # the user was erased while the judge thought
            seq = journal.append(event).seq
    except Overtaken:
        return Outcome("already")
    if isinstance(event, ShadowUndecided | SessionUndecided):
        return Outcome("undecided", event.reason, seq)
    return Outcome("judged", "", seq)


def _is_over(journal: Journal) -> bool:
    """Whether there is a conclusion for good: all but a live one that the provider was to blame for."""
    return any(
        not isinstance(past.event, ShadowUndecided | SessionUndecided)
        or past.event.job is not None
        or past.event.reason not in PROVIDER_REASONS
        for past in journal.concluded
    )


def _meta(user: str, version: str, cause: int | None, correlation: str) -> Meta:
    meta = Meta(recorder=recorder_name(), scope=f"user/{user}", judge_prompt_version=version, correlation=correlation)
    if cause is not None:
        meta["cause"] = cause
    return meta
