"""Replay: a run's script once more, on recorded replies alone, compared with the record step by step.

Nothing is asked and nothing is recorded. The first difference is named with the call behind it, and why:

``metric_drift``    the same answer has another score, and no judge had a part in it
``random_numbers``  the run's seed gives other numbers here than it gave then
``code_version``    the source files or the versions are not those of the record
``reply_changed``   a fact says something else than the reply it follows from
``unknown``         none of these: the script is not a function of its replies

A request may differ before the fact does that tells why: the judge is shown an answer before the evaluation stands. So
after a request that differs, the replay goes on with the recorded replies as far as the next fact.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from ...domain.errors import Refused
from ...domain.event import Event, Recorded
from ...domain.model_calls import Reply
from ...domain.optimization.conversation import JUDGE, MEASURED, Calls, Fact, Question, Script
from ...domain.optimization.events import (
    AnalysisNoted,
    DuelJudged,
    PromptEvaluated,
    RewriteProposed,
    RunFailed,
    Sample,
)
from ...domain.optimization.metrics import JUDGE_NAME
from ...domain.optimization.randomness import check_draws
from ...domain.optimization.run import RunState, decide, evolve
from ...ledger.store.opening import EventReader
from .exchanges import Attempt, reply_of
from .run_calls import Place, RecordedRun, read_run
from .run_equality import Mismatch, compare_fact, compare_request, make_mismatch, reason_of

Kind = Literal["request", "fact", "missing", "extra"]
Why = Literal["metric_drift", "random_numbers", "code_version", "reply_changed", "unknown"]

_SAID = ("system_prompt", "rationale", "change_summary", "decision", "text", "prompt")
"""Fields of facts that are made of what the reasoning model replied."""


@dataclass(frozen=True, slots=True)
class CallName:
    """A call: its site, its occurrence there, and the entry that holds its reply, or its request."""

    site: str
    occurrence: int
    seq: int

    def __str__(self) -> str:
        return f"{self.site} {self.occurrence} (entry {self.seq})"


@dataclass(frozen=True, slots=True)
class Difference:
    """Where a replay first differs from the record.

    ``kind``: a ``request`` or a ``fact`` is another; ``missing``: on record and not replayed; ``extra``: replayed and
    not on record. ``place`` says which, ``seq`` is its entry. ``calls`` are the calls whose replies are behind it:
    one where the facts tell which.
    """

    kind: Kind
    why: Why
    place: str
    seq: int | None
    field: str
    recorded: str
    replayed: str
    calls: tuple[CallName, ...] = ()


@dataclass(frozen=True, slots=True)
class ReplayReport:
    """What a replay found. ``identical`` holds as far as the run is recorded.

    ``calls`` and ``facts`` count what was compared. ``complete`` says that the run has ended and the replay with it;
    ``ended_at`` is where the record of an open run ends. ``in_flight`` are attempts without an answer. ``changed``
    names source files and software that are not as recorded.
    """

    run: str
    identical: bool
    complete: bool
    ended_at: str | None
    calls: int
    facts: int
    in_flight: tuple[CallName, ...]
    changed: tuple[str, ...]
    difference: Difference | None

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def replay(
    events: EventReader,
    run: str,
    make_script: Callable[[], Script],
    *,
    sources: Mapping[str, str] | None = None,
    versions: Mapping[str, str] | None = None,
) -> ReplayReport:
    """Replay ``run`` through ``events``, which needs to read only.

    ``sources`` and ``versions`` are those of today, in the form of ``RunPlanned``; None leaves them uncompared.
    ``Refused``: ``run_known``, ``content_withheld``.
    """
    recorded = read_run(events, run)
    played = _Replay(recorded, _changed(recorded, sources, versions))
    played.play(make_script())
    return played.report()


def _changed(
    recorded: RecordedRun, sources: Mapping[str, str] | None, versions: Mapping[str, str] | None
) -> tuple[str, ...]:
    planned = recorded.planned
    if planned is None:
        return ()
    pairs: list[tuple[Mapping[str, str], Mapping[str, str]]] = []
    if versions is not None:
        pairs.append((planned.versions, versions))
    if sources is not None and isinstance(planned.sources, dict):
        pairs.append((planned.sources, sources))
    return tuple(
        name for then, now in pairs for name in sorted(then.keys() | now.keys()) if then.get(name) != now.get(name)
    )


@dataclass(slots=True)
class _Found:
    """A difference before it is known what is behind it."""

    kind: Kind
    place: str
    seq: int | None
    mismatch: Mismatch


@dataclass(slots=True)
class _Replay:
    recorded: RecordedRun
    changed: tuple[str, ...]
    state: RunState = field(default_factory=RunState)
    occurrences: dict[str, int] = field(default_factory=dict)
    asked: dict[int, tuple[Place, Question, Reply]] = field(default_factory=dict)
    """By the seq of the reply: what was asked there, and what the script was sent."""
    own: list[tuple[int, Place]] = field(init=False)
    """This run's calls that the script has not asked yet, by the seq of their first request, the last first."""
    done: set[Place] = field(default_factory=set)
    facts: int = 0
    ended_at: str | None = None
    found: _Found | None = None
    drifted: bool = False
    behind: tuple[int, ...] = ()
    over: bool = False

    def __post_init__(self) -> None:
        evolve(self.state, self.recorded.started)
        calls = self.recorded.calls.items()
        self.own = sorted(((attempts[0].request_seq, place) for place, attempts in calls), reverse=True)

    def play(self, script: Script) -> None:
        answer: tuple[Reply, ...] | None = None
        try:
            while not self.over:
                try:
                    step = script.send(answer)
                except StopIteration:
                    self._end("the script ends")
                    break
                except Exception as error:
                    self._fault(error)
                    break
                answer = None
                if isinstance(step, Fact):
                    self._fact(step)
                else:
                    answer = self._replies(step)
            if self.ended_at is not None:
                self._finds_unasked(self.ended_at, before=None)
        finally:
            script.close()

    def report(self) -> ReplayReport:
        recorded = self.recorded
        return ReplayReport(
            recorded.run,
            self.found is None,
            self.found is None and recorded.ended_by is not None,
            self.ended_at,
            len(self.asked),
            self.facts,
            tuple(_name(attempt) for attempt in recorded.in_flight()),
            self.changed,
            None if self.found is None else self._difference(self.found),
        )

    # What the script does, beside what is recorded.

    def _fact(self, fact: Fact) -> None:
        place = f"fact {self.facts}"
        if self._finds_unasked(place, before=self._next_fact()):
            return
        then = self._next_fact()
        if then is None:
            self._beyond(f"{place} ({fact.event.type_name})", make_mismatch("fact", None, fact.event.type_name))
            return
        mismatch = compare_fact(then, fact.event)
        if mismatch is None:
            self.facts += 1
            evolve(self.state, fact.event)
            return
        if isinstance(then.event, RunFailed) and not isinstance(fact.event, RunFailed):
            try:
                decide(self.state, fact.event)
            except Refused as error:  # as it was refused then
                self._fault(error)
                return
        self._look_behind(then.event, fact)
        self._find("fact", f"{place} ({then.type_name}, entry {then.seq})", then.seq, self._finer(then, fact, mismatch))
        self.over = True

    def _replies(self, step: Calls) -> tuple[Reply, ...]:
        replies = []
        for question in step.questions:
            site = question.ask.site
            place = site, self.occurrences.get(site, 0)
            self.occurrences[site] = place[1] + 1
            self.done.add(place)
            settled = self.recorded.outcome(place)
            if settled is None or settled.answered is None or settled.answer_seq is None:
                for attempt in self.recorded.calls.get(place, ()):
                    self._compare(question, place, attempt)
                self._beyond(f"call {place[0]} {place[1]}", make_mismatch("call", None, question.ask.site))
                continue
            self._compare(question, place, settled)
            reply = reply_of(settled.answered, settled.answer_seq)
            self.asked[settled.answer_seq] = (place, question, reply)
            replies.append(reply)
        return tuple(replies)

    def _compare(self, question: Question, place: Place, attempt: Attempt) -> None:
        mismatch = compare_request(question, attempt.requested, attempt.request_seq)
        if mismatch is not None:
            self._find("request", f"call {_name(attempt)}", attempt.request_seq, mismatch)

    def _end(self, what: str) -> None:
        """The script is over, or the record is: whatever else is recorded is missing in the replay."""
        then = self._next_fact()
        if not self._finds_unasked(what, before=then) and then is not None:
            place = f"fact {self.facts} ({then.type_name}, entry {then.seq})"
            self._find("missing", place, then.seq, Mismatch("fact", repr(then.type_name), what))
        self.over = True

    def _beyond(self, place: str, mismatch: Mismatch) -> None:
        """The script does what is not recorded: the end of the record of an open run, else a difference."""
        self.over = True
        if self.recorded.ended_by is None and self._next_fact() is None:
            self.ended_at = self.ended_at or place
        else:
            self._find("extra", place, None, mismatch)

    def _fault(self, error: Exception) -> None:
        """The script failed: as it did then, or as a difference."""
        self.over = True
        then, reason = self._next_fact(), reason_of(error)
        if then is not None and isinstance(then.event, RunFailed):
            if then.event.reason == reason:
                self.facts += 1
                return
            place = f"fact {self.facts} ({then.type_name}, entry {then.seq})"
            self._find("fact", place, then.seq, make_mismatch("reason", then.event.reason, reason))
            return
        said = f"{reason}: {error}"
        mismatch = make_mismatch("failure", None if then is None else then.type_name, said)
        self._find("extra", f"fact {self.facts}", None if then is None else then.seq, mismatch)

    def _next_fact(self) -> Recorded | None:
        facts = self.recorded.facts
        return facts[self.facts] if self.facts < len(facts) else None

    def _finds_unasked(self, what: str, before: Recorded | None) -> bool:
        """Whether the record has a call, before this fact if one is given, that the script has not asked."""
        while self.own and self.own[-1][1] in self.done:
            self.own.pop()
        if not self.own or (before is not None and self.own[-1][0] > before.seq):
            return False
        seq, (site, occurrence) = self.own[-1]
        place = f"call {site} {occurrence} (entry {seq})"
        self._find("missing", place, seq, Mismatch("call", repr(site), f"{what}, and it is not asked"))
        self.over = True
        return True

    def _find(self, kind: Kind, place: str, seq: int | None, mismatch: Mismatch) -> None:
        if self.found is None:
            self.found = _Found(kind, place, seq, mismatch)

    # Why.

    def _difference(self, found: _Found) -> Difference:
        mismatch = found.mismatch
        calls = tuple(
            CallName(*place, seq)
            for seq, place in ((seq, self.asked[seq][0]) for seq in self.behind if seq in self.asked)
        )
        return Difference(
            found.kind,
            self._why(),
            found.place,
            found.seq,
            mismatch.field,
            mismatch.recorded,
            mismatch.replayed,
            calls,
        )

    def _why(self) -> Why:
        planned = self.recorded.planned
        if self.drifted:
            return "metric_drift"
        if planned is not None and list(planned.draws) != check_draws(planned.seed):
            return "random_numbers"
        if self.changed:
            return "code_version"
        return "reply_changed" if self.behind else "unknown"

    def _look_behind(self, then: object, fact: Fact) -> None:
        """Find the replies that made ``fact`` another than the one on record."""
        match then, fact.event:
            case PromptEvaluated(), PromptEvaluated():
                self._look_behind_samples(then, fact.event, fact.because)
            case DuelJudged(), DuelJudged() if isinstance(then.pairs, list) and isinstance(fact.event.pairs, list):
                self.behind = _paired(then.pairs, fact.event.pairs, fact.because)
            case ((RewriteProposed() | AnalysisNoted()), Event()) if type(then) is type(fact.event):
                said = [name for name in _differing(then, fact.event) if name in _SAID]
                if said:
                    self.behind = self._who_said(getattr(fact.event, said[-1]), fact.because)
            case _ if type(then) is not type(fact.event):
                self.behind = fact.because  # what came back could not be used, or could be and was not

    def _look_behind_samples(self, then: PromptEvaluated, now: PromptEvaluated, because: Sequence[int]) -> None:
        if not isinstance(then.samples, tuple) or not isinstance(now.samples, tuple):
            return
        groups = self._by_sample(because)
        if len(groups) != len(now.samples) or len(then.samples) != len(now.samples):
            self.behind = tuple(because) if then.samples != now.samples else ()
            return
        for was, is_, group in zip(then.samples, now.samples, groups, strict=True):
            if was == is_:
                continue
            judges = tuple(seq for seq in group if self._is_judge(seq))
            answers = tuple(seq for seq in group if not self._is_judge(seq))
            self.drifted = was.response == is_.response and _drifted(was, is_, judged=bool(judges))
            self.behind = judges if was.response == is_.response and not self.drifted and judges else answers
            return
        if then.tokens != now.tokens:
            self.behind = tuple(because)

    def _by_sample(self, because: Sequence[int]) -> list[list[int]]:
        """The seqs behind each sample: the model's answer, then the judge's."""
        groups: list[list[int]] = []
        for seq in because:
            if self._is_judge(seq) and groups:
                groups[-1].append(seq)
            else:
                groups.append([seq])
        return groups

    def _is_judge(self, seq: int) -> bool:
        return seq in self.asked and self.asked[seq][1].to == JUDGE

    def _who_said(self, text: object, because: Sequence[int]) -> tuple[int, ...]:
        """Of several replies the one that has the text in it, if only one has."""
        if len(because) > 1 and isinstance(text, str):
            having = tuple(seq for seq in because if seq in self.asked and text in (self.asked[seq][2].text or ""))
            if len(having) == 1:
                return having
        return tuple(because)

    def _finer(self, then: Recorded, fact: Fact, mismatch: Mismatch) -> Mismatch:
        """Rather the sample that differs than the mean that follows from it."""
        was, now = then.event, fact.event
        if not isinstance(was, PromptEvaluated) or not isinstance(now, PromptEvaluated) or was.samples == now.samples:
            return mismatch
        samples = [list(kept) for kept in (was.samples, now.samples) if isinstance(kept, tuple)]
        if len(samples) != 2:
            return mismatch
        for index, (one, other) in enumerate(zip(*samples, strict=False)):
            for name in ("response", "score"):
                if getattr(one, name) != getattr(other, name):
                    return make_mismatch(f"samples.{index}.{name}", getattr(one, name), getattr(other, name))
        return make_mismatch("samples", *samples)


def _drifted(was: Sample, now: Sample, *, judged: bool) -> bool:
    """Whether it was a metric, and no judge, that scored the same answer otherwise."""
    names = {name for name in was.scores.keys() | now.scores.keys() if was.scores.get(name) != now.scores.get(name)}
    if judged:
        return bool(names) and JUDGE_NAME not in names
    return bool(names) or was.score != now.score


def _paired(then: Sequence[Any], now: Sequence[Any], because: Sequence[int]) -> tuple[int, ...]:
    """The reply behind the first pair that differs, of those pairs that were asked about; else all of them."""
    asked = [(was, is_) for was, is_ in zip(then, now, strict=False) if is_.get("asked")]
    if len(then) == len(now) and len(asked) == len(because):
        return next(((seq,) for (was, is_), seq in zip(asked, because, strict=True) if was != is_), ())
    return tuple(because)


def _differing(then: Event, now: Event) -> list[str]:
    return [
        name for name in type(now).model_fields if name not in MEASURED and getattr(then, name) != getattr(now, name)
    ]


def _name(attempt: Attempt) -> CallName:
    requested = attempt.requested
    return CallName(requested.site, requested.occurrence, attempt.request_seq)
