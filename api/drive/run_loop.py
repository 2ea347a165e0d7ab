"""The loop that drives a run's script: what is recorded is fed, what is not is asked, side by side.

A new run, a resumed one and a branch are the same: facts that stand on the ledger are compared with what the script
states and not recorded again, calls that have an outcome are fed it, and only then is anything sent. One thread
records; calls run in others. In this order, for each call:

1. ``model.requested`` is durable before a byte is sent, so that a kill leaves no call that nobody knows of;
2. ``model.answered`` is durable before the script hears of the reply, so that nothing follows from what may be lost;
3. a fact is recorded with the first requests that follow it, or at the end: the script states it again until then.

Whatever has come in is recorded together, with the requests that it makes room for, in one commit. A kill leaves
requests without an answer; they stay, and the next attempt stands beside them.
"""

from __future__ import annotations

import time
import traceback
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from queue import Empty

from ...domain.errors import AffidavitError, Refused
from ...domain.event import Event, Meta, NewEvent, Recorded
from ...domain.model_calls import ModelAnswered, ModelRequested, Reply
from ...domain.optimization.conversation import MEASURED, Calls, Fact, Question, Script, Step
from ...domain.optimization.events import PhaseCompleted, PhaseStarted, RunCompleted, RunFailed
from ...domain.optimization.run import ABOUT_THE_RECORD, decide, evolve
from ...domain.registry import invalid_is_refused
from ...domain.text import without_surrogates
from ...ledger.application import Ledger
from ...ledger.errors import Conflict, LedgerError
from ..models.chat import Model
from ..models.patience import Patience
from .claims import RUNS, Claims
from .exchanges import Attempt, answered, reply_of
from .run_calls import Place, RecordedRun, read_run
from .run_equality import Diverged, compare_fact, compare_request, reason_of
from .run_workers import Answer, Call, Workers

GRACE = 10.0
"""Seconds that calls in flight are given to come back when a run is interrupted."""


class Observer:
    """Is told how a run goes; it decides nothing. What it raises interrupts the run, which stays resumable.

    ``fed`` says that a thing stood on the ledger before. Called on the loop's thread, after the commit.
    """

    def fact(self, event: Event, seq: int, *, fed: bool) -> None:
        """A fact is recorded."""

    def sent(self, requested: ModelRequested) -> None:
        """A request is on its way."""

    def answered(self, requested: ModelRequested, answered: ModelAnswered, *, fed: bool) -> None:
        """An attempt came back, or, fed, its call has this outcome."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a run that was driven. ``ended_by`` is its last fact, None where the script ended without one.

    ``asked`` counts calls that were settled just now, ``fed`` those that were on record, ``sent`` the attempts made.
    """

    run: str
    ended_by: RunCompleted | RunFailed | None
    facts: int
    asked: int
    fed: int
    sent: int


def drive(
    ledger: Ledger,
    run: str,
    script: Script,
    models: Mapping[str, Model],
    *,
    max_workers: int,
    patience: Patience | None = None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
    grace: float = GRACE,
    meta: Meta | None = None,
    observer: Observer | None = None,
) -> Outcome:
    """Drive ``script`` from where the run ``run`` stands to its end; at most ``max_workers`` calls at once.

    ``models`` are by ``Question.to``. ``clock`` and ``sleep`` are in seconds; ``sleep`` is used while nothing is in
    flight. An exception of the script ends the run with ``run.failed``. Any other interruption, ctrl-C among them,
    leaves it open: calls in flight are given ``grace`` seconds, their answers are recorded, and it is raised again.

    ``Diverged`` where the script does not do again what is recorded. ``Refused``: ``run_busy`` where somebody else
    drives or records this run, ``run_ended``, ``run_known``, ``content_withheld``.
    """
    if max_workers < 1:
        raise Refused("setting_valid", f"max_workers {max_workers}: expected 1 or more")
    with _claimed(ledger, run):
        with ledger.recorder.reading() as reader:
            recorded = read_run(ledger.event_reader(reader), run)
        if recorded.ended_by is not None:
            raise Refused("run_ended", f"run {run} has ended ({recorded.ended_by.reason}); nothing is left to drive")
        loop = _Loop(
            ledger,
            recorded,
            models,
            Workers(max_workers, clock),
            max_workers,
            patience or Patience(),
            clock,
            sleep,
            grace,
            meta or Meta(),
            observer or Observer(),
        )
        return loop.play(script)


@contextmanager
def _claimed(ledger: Ledger, run: str) -> Iterator[None]:
    claims = Claims(ledger.place, RUNS)
    try:
        with claims.claimed(f"run/{run}") as held:
            if not held:
                raise Refused("run_busy", f"run {run}: somebody else is driving it at this moment")
            yield
    finally:
        claims.close()


class _ScriptFault(Exception):
    """What the script asks or states cannot be: ``__cause__`` says why. It ends the run as a failure of the script."""


@dataclass(slots=True)
class _Loop:
    ledger: Ledger
    recorded: RecordedRun
    models: Mapping[str, Model]
    workers: Workers
    max_workers: int
    patience: Patience
    clock: Callable[[], float]
    sleep: Callable[[float], None]
    grace: float
    meta: Meta
    observer: Observer
    occurrences: Counter[str] = field(default_factory=Counter)
    compared: int = 0
    """How many of the recorded facts the script has stated again."""
    pending: list[tuple[Event, Meta]] = field(default_factory=list)
    """Facts that wait for the commit of what follows them."""
    in_flight: dict[Place, Call] = field(default_factory=dict)
    """Calls that were sent and have not been seen to come back."""
    answers: list[Answer] = field(default_factory=list)
    """What came back and is not on record yet."""
    ended_by: RunCompleted | RunFailed | None = None
    overtaken: bool = False
    phase_began: str = ""
    own: set[Place] = field(init=False)
    unasked: set[Place] = field(init=False)
    """Recorded calls that the script has not asked yet: this run's own, and its parents' with them."""
    facts: int = 0
    asked: int = 0
    fed: int = 0
    sent: int = 0

    def __post_init__(self) -> None:
        self.own = set(self.recorded.calls)
        self.unasked = set(self.recorded.places())

    def play(self, script: Script) -> Outcome:
        try:
            try:
                self._converse(script)
            except _ScriptFault as fault:
                self._fail(fault.__cause__ or fault)
            self._require_all_fed("the script ends")
            self._settle([])
        except BaseException:
            self._drain()
            raise
        finally:
            self.workers.close()
            script.close()
        return Outcome(self.recorded.run, self.ended_by, self.facts, self.asked, self.fed, self.sent)

    def _converse(self, script: Script) -> None:
        answer: tuple[Reply, ...] | None = None
        while not self.recorded.state.ended:
            try:
                step: Step = script.send(answer)
            except StopIteration:
                return
            except (Diverged, LedgerError):
                raise
            except Exception as error:
                raise _ScriptFault from error
            answer = None
            match step:
                case Fact():
                    self._take(step)
                case Calls():
                    answer = self._replies(step.questions)
                case _:
                    raise _ScriptFault from TypeError(f"expected Calls or a Fact, found {step!r:.80}")

    # Facts.

    def _take(self, fact: Fact) -> None:
        facts = self.recorded.facts
        if self.compared < len(facts):
            self._compare(facts[self.compared], fact.event)
            self.compared += 1
            return
        self._require_asked(self.own, f"the script states a new {fact.event.type_name}")
        try:
            event = decide(self.recorded.state, self._measured(fact.event))
        except Refused as error:
            raise _ScriptFault from error
        self._state(event, fact)

    def _compare(self, recorded: Recorded, event: Event) -> None:
        mismatch = compare_fact(recorded, event)
        if mismatch is not None:
            place = f"fact {self.compared} ({recorded.type_name}, entry {recorded.seq})"
            raise Diverged(f"run {self.recorded.run}, {place}: {mismatch}")
        self._note_phase(recorded.event)
        self.observer.fact(event, recorded.seq, fed=True)

    def _state(self, event: Event, fact: Fact) -> None:
        meta = self._meta(fact.judge_prompt_version)
        if fact.because:
            meta["cause"] = max(fact.because)
        self.pending.append((event, meta))
        evolve(self.recorded.state, event)
        self._note_phase(event)
        if isinstance(event, (RunCompleted, RunFailed)):
            self.ended_by = event

    def _meta(self, judge_prompt_version: str | None) -> Meta:
        meta = Meta(**self.meta)
        if judge_prompt_version is not None:
            meta["judge_prompt_version"] = judge_prompt_version
        return meta

    def _note_phase(self, event: object) -> None:
        if isinstance(event, PhaseStarted) and event.timestamp is not None:
            self.phase_began = event.timestamp

    def _measured(self, event: Event) -> Event:
        """The event with what only the clock knows: the time, and the seconds since the run, or its phase, began."""
        fields = [name for name in MEASURED if getattr(event, name, "") is None]
        if not fields:
            return event
        now = datetime.fromisoformat(self.ledger.now()).astimezone(UTC)
        began = self.phase_began if isinstance(event, PhaseCompleted) else ""
        began = began or self.recorded.started.timestamp
        since = max(0.0, (now - datetime.fromisoformat(began)).total_seconds())
        known = now.isoformat(timespec="microseconds")
        return event.model_copy(update={name: known if name == "timestamp" else since for name in fields})

    def _fail(self, error: BaseException) -> None:
        """End the run as failed. Where the record goes on, this is no failure of the run: the script is another."""
        reason = reason_of(error)
        try:
            self._require_all_fed(f"the script fails with {reason}")
        except Diverged as diverged:
            raise diverged from error
        message = without_surrogates("".join(traceback.format_exception(error)))
        failed = self._measured(RunFailed(reason=reason, message=message))
        self._state(decide(self.recorded.state, failed), Fact(failed))

    # Calls.

    def _replies(self, questions: Sequence[Question]) -> tuple[Reply, ...]:
        replies: list[Reply | None] = []
        calls: list[tuple[int, Call]] = []
        for question in questions:
            site = question.ask.site
            place = site, self.occurrences[site]
            self.occurrences[site] += 1
            reply = self._recall(question, place)
            if reply is None:
                calls.append((len(replies), self._open(question, place)))
            replies.append(reply)
        if calls:
            site, occurrence = calls[0][1].place
            self._require_all_fed(f"the script asks call {site} {occurrence}, which has no recorded outcome")
            self._ask([call for _, call in calls])
            for index, call in calls:
                replies[index] = call.reply
        return tuple(reply for reply in replies if reply is not None)

    def _recall(self, question: Question, place: Place) -> Reply | None:
        """The recorded outcome of a call, None where there is none; ``Diverged`` where it was asked otherwise."""
        settled = self.recorded.outcome(place)
        if place in self.unasked:
            self.unasked.discard(place)
            self.own.discard(place)
            attempts = self.recorded.calls.get(place, ())
            for attempt in (settled,) if settled is not None else attempts:
                self._require_same(question, place, attempt)
        if settled is None or settled.answered is None or settled.answer_seq is None:
            return None
        reply = reply_of(settled.answered, settled.answer_seq)
        self.fed += 1
        self.observer.answered(settled.requested, settled.answered, fed=True)
        return reply

    def _require_same(self, question: Question, place: Place, attempt: Attempt) -> None:
        mismatch = compare_request(question, attempt.requested, attempt.request_seq)
        if mismatch is not None:
            raise Diverged(
                f"run {self.recorded.run}, call {place[0]} {place[1]} (entry {attempt.request_seq}): {mismatch}"
            )

    def _open(self, question: Question, place: Place) -> Call:
        if question.to not in self.models:
            raise Refused(
                "model_given", f"call {place[0]} {place[1]}: expected a model for {question.to!r}, found none"
            )
        model = self.models[question.to]
        try:
            with invalid_is_refused():
                requested = ModelRequested(
                    site=place[0],
                    occurrence=place[1],
                    attempt=self.recorded.last_attempt(place) + 1,
                    model=model.model,
                    purpose=question.purpose,
                    iteration=question.iteration,
                    phase=question.phase,
                    body="",
                )
        except Refused as error:
            raise _ScriptFault from error
        return Call(question, model, requested)

    def _ask(self, calls: Sequence[Call]) -> None:
        """Ask until each call is settled."""
        todo, waiting = deque(calls), list[Call]()
        arrived: list[Call] = []
        while True:
            waiting += [call for call in arrived if not self._judge(call)]
            self._settle(self._next_to_send(todo, waiting))
            if not (todo or waiting or self.in_flight):
                return
            arrived = self._wait(waiting)

    def _next_to_send(self, todo: deque[Call], waiting: list[Call]) -> list[Call]:
        """Prepare as many calls as there is room for, those first that are to be asked again."""
        room, now = self.max_workers - len(self.in_flight), self.clock()
        starting: list[Call] = []
        waiting.sort(key=_due)
        while len(starting) < room and waiting and waiting[0].due <= now:
            starting.append(self._prepare(waiting.pop(0)))
        while len(starting) < room and todo:
            starting.append(self._prepare(todo.popleft()))
        return starting

    def _prepare(self, call: Call) -> Call:
        again = call.prepared is not None
        call.prepared = call.model.prepare(call.question.ask)
        call.requested = call.requested.model_copy(
            update={"attempt": call.requested.attempt + again, "body": call.prepared.body}
        )
        call.exchange = None
        call.tried += 1
        mismatch = None if again else compare_request(call.question, call.requested, 0)
        if mismatch is not None:  # no resumption would know this request again
            raise Refused("request_known_again", f"model {call.requested.model}: its request differs: {mismatch}")
        return call

    def _judge(self, call: Call) -> bool:
        """Make the event of what came back; whether it settles the call. If not, it is to be asked again when due."""
        exchange, prepared = call.exchange, call.prepared
        if call.error is not None or exchange is None or prepared is None:
            raise call.error or RuntimeError("a call came back with nothing")
        wait = None
        if not exchange.replied:
            if call.model.step_down(prepared, exchange):
                call.tried -= 1  # the server said how it wants to be asked; that is no failure of its
                wait = 0.0
            else:
                wait = self.patience.wait(call.tried, exchange)
        gave_up = True if wait is None and not exchange.replied else None
        event = answered(call.requested, exchange, call.elapsed, gave_up)
        call.due = self.clock() + (wait or 0.0)
        self.answers.append(Answer(call, call.requested, event, wait is None))
        self.in_flight.pop(call.place, None)
        return wait is None

    def _wait(self, waiting: Sequence[Call]) -> list[Call]:
        """Wait until a call comes back, or one is to be asked again; those that came back."""
        earliest = min(waiting, key=_due, default=None)
        until = None if earliest is None else max(0.0, earliest.due - self.clock())
        if not self.in_flight:
            if earliest is not None:
                self.sleep(until or 0.0)
                earliest.due = self.clock()
            return []
        full = len(self.in_flight) >= self.max_workers
        arrived: list[Call] = []
        with suppress(Empty):
            arrived.append(self.workers.arrived.get(timeout=None if full else until))
            while True:
                arrived.append(self.workers.arrived.get_nowait())
        return arrived

    # The record.

    def _settle(self, starting: Sequence[Call]) -> None:
        """Record in one commit the facts that wait, what came back and what is about to be sent; then send it."""
        facts, answers = self.pending, self.answers
        events = [
            *facts,
            *((answer.answered, self._meta(answer.call.question.judge_prompt_version)) for answer in answers),
            *((call.requested, self._meta(call.question.judge_prompt_version)) for call in starting),
        ]
        if not events:
            return
        seqs = self._commit(events)
        self.pending, self.answers = [], []
        self.recorded.next_pos += len(events)  # last: whoever is interrupted before looks what is on record
        self.facts += len(facts)
        for answer, seq in zip(answers, seqs[len(facts) :], strict=False):
            if answer.settles:
                answer.call.reply = reply_of(answer.answered, seq)
                self.asked += 1
        for call in starting:
            self.in_flight[call.place] = call
            self.workers.submit(call)
            self.sent += 1
        for (event, _), seq in zip(facts, seqs, strict=False):
            self.observer.fact(event, seq, fed=False)
        for answer in answers:
            self.observer.answered(answer.requested, answer.answered, fed=False)
        for call in starting:
            self.observer.sent(call.requested)

    def _commit(self, events: Sequence[tuple[Event, Meta]]) -> list[int]:
        """Record events at the stream's end; their seqs. What others say about the record may stand before them."""
        while True:
            start = self.recorded.next_pos
            new = [NewEvent(self.recorded.stream, start + at, event, meta) for at, (event, meta) in enumerate(events)]
            try:
                acknowledged = self.ledger.record(*new)
            except Conflict as conflict:
                between = self._read_on()
                if between and all(isinstance(recorded.event, ABOUT_THE_RECORD) for recorded in between):
                    continue
                self.overtaken = True
                raise Refused(
                    "run_busy", f"run {self.recorded.run}: somebody else records it; {conflict}"
                ) from conflict
            return [place.seq for place in acknowledged]

    def _read_on(self) -> list[Recorded]:
        with self.ledger.recorder.reading() as reader:
            found = list(self.ledger.event_reader(reader).stream(self.recorded.stream, start=self.recorded.next_pos))
        if found:
            self.recorded.next_pos = found[-1].pos + 1
        return found

    def _drain(self) -> None:
        """Give calls in flight time to come back, and record their answers: they are paid for."""
        if self.overtaken or not (self.in_flight or self.answers):
            return
        end = self.clock() + self.grace
        with suppress(Empty):
            while not all(call.back for call in self.in_flight.values()):
                self.workers.arrived.get(timeout=max(0.0, end - self.clock()))
        with suppress(AffidavitError):  # what interrupted is raised; answers not kept show as in flight
            for call in [call for call in self.in_flight.values() if call.exchange is not None]:
                self._judge(call)
            on_record = {_attempt(recorded.event) for recorded in self._read_on()}  # the commit may have been through
            answers = [answer for answer in self.answers if _attempt(answer.answered) not in on_record]
            if answers:
                versions = [answer.call.question.judge_prompt_version for answer in answers]
                self._commit([(answer.answered, self._meta(of)) for answer, of in zip(answers, versions, strict=True)])

    # What is recorded must be asked and stated again before anything new is.

    def _require_all_fed(self, what: str) -> None:
        if self.compared < len(self.recorded.facts):
            goes_on = self.recorded.facts[self.compared]
            raise Diverged(
                f"run {self.recorded.run}, fact {self.compared} ({goes_on.type_name}, entry {goes_on.seq}): {what}, "
                "where the record goes on with this fact"
            )
        self._require_asked(self.unasked, what)

    def _require_asked(self, calls: set[Place], what: str) -> None:
        if calls:
            site, occurrence = next(place for place in self.recorded.places() if place in calls)
            raise Diverged(
                f"run {self.recorded.run}, call {site} {occurrence}: {what}, where the record goes on with this call"
            )


def _due(call: Call) -> float:
    return call.due


def _attempt(event: object) -> tuple[str, int, int] | None:
    """Which attempt an answer answers."""
    return (event.site, event.occurrence, event.attempt) if isinstance(event, ModelAnswered) else None
