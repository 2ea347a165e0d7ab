"""Runs to drive: small scripts, a model that answers by a rule, and a ledger that fails when told to."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from affidavit.api.drive.run_calls import Place, RecordedRun, read_run
from affidavit.api.drive.run_loop import Observer, Outcome, drive
from affidavit.api.models.chat import Exchange, Prepared
from affidavit.api.models.patience import Patience
from affidavit.domain.event import Event, Meta, NewEvent, Recorded
from affidavit.domain.model_calls import Ask, ModelAnswered, ModelRequested, Reply
from affidavit.domain.optimization.conversation import JUDGE, REASONER, Calls, Fact, Question, Script
from affidavit.domain.optimization.events import (
    AnalysisNoted,
    IterationCompleted,
    PromptEvaluated,
    RewriteProposed,
    RunCompleted,
    RunPlanned,
    RunStarted,
    Sample,
    mean_score,
)
from affidavit.domain.optimization.randomness import check_draws
from affidavit.ledger.application import Acknowledged, Ledger

MODEL = "sandbox/target"


class Killed(BaseException):
    """The process ends here."""


class FakeModel:
    """Answers every question with words that follow from it and nothing else; counts what was sent.

    ``before`` is called with the question's text ahead of each answer and may raise, wait, or give the exchange.
    """

    def __init__(self, model: str = MODEL, before: Callable[[str], Exchange | None] = lambda _: None) -> None:
        self.model = model
        self.before = before
        self.sent: Counter[str] = Counter()
        self.at_once = self.most_at_once = 0
        self.stepped_down = False
        self._mutex = threading.Lock()

    def prepare(self, ask: Ask) -> Prepared:
        document: dict[str, Any] = {"model": self.model, "messages": list(ask.messages)}
        if ask.temperature is not None:
            document["temperature"] = ask.temperature
        return Prepared(json.dumps(document, ensure_ascii=False), int(self.stepped_down), ())

    def send(self, prepared: Prepared) -> Exchange:
        text = " | ".join(message["content"] for message in json.loads(prepared.body)["messages"])
        with self._mutex:
            self.sent[text] += 1
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            given = self.before(text)
        finally:
            with self._mutex:
                self.at_once -= 1
        return given or said(f"re: {text}"[:400])

    def step_down(self, prepared: Prepared, exchange: Exchange) -> bool:
        if exchange.status != 400 or prepared.rung:
            return False
        self.stepped_down = True
        return True

    def close(self) -> None:
        pass


def body_of(text: str, tokens: int = 3) -> str:
    """A reply as a server words it."""
    return json.dumps(
        {"choices": [{"message": {"content": text}}], "usage": {"prompt_tokens": 7, "completion_tokens": tokens}}
    )


def said(text: str) -> Exchange:
    return Exchange("replied", 200, body_of(text))


def question(site: str, text: str, to: str = MODEL, **more: Any) -> Question:
    purpose = {JUDGE: "judge", REASONER: "reasoning"}.get(to, "train")
    return Question(to, purpose, Ask(site, ({"role": "user", "content": text},), temperature=0.0), **more)


def seqs(replies: tuple[Reply, ...]) -> tuple[int, ...]:
    return tuple(reply.seq for reply in replies if reply.seq is not None)


def optimising(iterations: int = 2, samples: int = 3, *, judged: bool = True, rule: str = "", last: str = "") -> Script:
    """A small optimisation: evaluate, judge, analyse, rewrite. ``rule`` words the reasoner's question otherwise;
    ``last`` is added to the final analysis of every iteration."""
    prompt, number, prompts = "start", 0, 1
    for iteration in range(1, iterations + 1):
        answers: tuple[Reply, ...] = yield Calls(
            tuple(question("eval.train", f"{prompt} / row {row}", iteration=iteration) for row in range(samples))
        )
        verdicts: tuple[Reply, ...] = ()
        if judged:
            verdicts = yield Calls(
                tuple(
                    question("judge.train", f"rate {answer.text}", JUDGE, iteration=iteration)
                    for answer in answers
                    if answer.text is not None
                )
            )
        rated = iter(verdicts)
        found: list[Sample] = []
        because: list[int] = []
        for row, answer in enumerate(answers):
            verdict = next(rated) if judged and answer.text is not None else None
            because += seqs((answer,) if verdict is None else (answer, verdict))
            text = answer.text if verdict is None else verdict.text
            score = None if text is None else len(text) / 1000
            found.append(
                Sample(
                    id=f"row-{row}",
                    input=f"row {row}",
                    response=answer.text or "",
                    score=score,
                    failed=answer.text is None,
                    reason=answer.reason or None,
                )
            )
        kept = tuple(found)
        new = number == prompts and number > 0
        yield Fact(
            PromptEvaluated(
                evaluation=iteration - 1,
                prompt=number,
                purpose="train",
                score=mean_score(kept),
                n=len(kept),
                failed=sum(sample.failed for sample in kept),
                detail_mean=mean_score(kept),
                tokens=sum(reply.tokens for reply in (*answers, *verdicts)),
                system_prompt=prompt if new else None,
                samples=kept,
            ),
            tuple(because),
        )
        prompts += new
        (analysis,) = yield Calls((question("reasoner.analyse", f"{rule}why {prompt}", REASONER, iteration=iteration),))
        yield Fact(AnalysisNoted(kind="analysis", text=f"{analysis.text}{last}"), seqs((analysis,)))
        yield Fact(IterationCompleted(iteration=iteration, evaluation=iteration - 1))
        (rewrite,) = yield Calls((question("reasoner.rewrite", f"better {analysis.text}", REASONER),))
        prompt, number = f"prompt {iteration}: {rewrite.text}"[:120], prompts
        yield Fact(
            RewriteProposed(
                rewrite=iteration - 1,
                parent=iteration - 1,
                prompt=number,
                system_prompt=prompt,
                rationale=rewrite.text or "none",
            ),
            seqs((rewrite,)),
        )
        prompts += 1
    yield Fact(RunCompleted(reason="max_iterations", converged=False))


@dataclass
class Rig:
    """A ledger, and runs on it."""

    ledger: Ledger
    models: dict[str, FakeModel] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.models = {MODEL: FakeModel(), JUDGE: FakeModel("sandbox/judge"), REASONER: FakeModel("sandbox/reasoner")}

    def start(self, run: str, parent: tuple[str, int] | None = None, **planned: Any) -> str:
        """Put a run's beginning on record; ``parent`` is the run it branches from, and the iteration."""
        seed = planned.pop("seed", 7)
        plan: dict[str, Any] = {
            "seed": seed,
            "rows_count": 1,
            "held_out": False,
            "versions": {"affidavit": "1"},
            "draws": tuple(check_draws(seed)),
            "branch_after": None if parent is None else parent[1],
            "options": {},
            "rows": [{"id": "row-0"}],
            "split": {},
            "sources": {"script": "a1"},
        }
        events: list[Event] = [
            RunStarted(
                run=run,
                directory=run,
                timestamp="2026-11-22T10:00:00.000000+00:00",
                strategy="small",
                parent_run=None if parent is None else parent[0],
                parent_iteration=None if parent is None else parent[1],
                system_prompt="start",
                config={},
            ),
            RunPlanned(**plan | planned),
        ]
        self.ledger.record(*(NewEvent(f"run/{run}", pos, event, Meta()) for pos, event in enumerate(events)))
        return run

    def drive(self, run: str, script: Script, **more: Any) -> Outcome:
        settings: dict[str, Any] = {
            "max_workers": 3,
            "patience": Patience(tries=3, first=0.0),
            "sleep": lambda _: None,
            "grace": 5.0,
        }
        return drive(self.ledger, run, script, self.models, **settings | more)

    def read(self, run: str) -> RecordedRun:
        with self.ledger.recorder.reading() as reader:
            return read_run(self.ledger.event_reader(reader), run)

    def events(self, run: str) -> list[Recorded]:
        with self.ledger.recorder.reading() as reader:
            return list(self.ledger.event_reader(reader).stream(f"run/{run}"))

    def sent(self) -> Counter[str]:
        """How often each question was sent, over all models."""
        return sum((model.sent for model in self.models.values()), Counter())

    def meaning(self, run: str) -> tuple[dict[Place, Any], list[Any]]:
        """What equality looks at: outcomes by site and occurrence, and the facts in order."""
        return meaning_of(self.read(run))


def meaning_of(recorded: RecordedRun) -> tuple[dict[Place, Any], list[Any]]:
    outcomes: dict[Place, Any] = {}
    for place in recorded.places():
        attempt = recorded.outcome(place)
        if attempt is not None and attempt.answered is not None:
            asked = attempt.requested.model_dump(exclude={"attempt"})
            came = attempt.answered.model_dump(exclude={"attempt", "elapsed_seconds"})
            outcomes[place] = (asked, came)
    measured = {"timestamp", "elapsed_seconds", "duration_seconds"}
    facts = [(fact.type_name, fact.event.model_dump(exclude=measured)) for fact in recorded.facts]
    return outcomes, facts


def attempts_of(events: list[Recorded]) -> Counter[tuple[str, int, int, str]]:
    """How often each attempt was requested and answered."""
    return Counter(
        (recorded.event.site, recorded.event.occurrence, recorded.event.attempt, recorded.type_name)
        for recorded in events
        if isinstance(recorded.event, (ModelRequested, ModelAnswered))
    )


@dataclass
class Telling(Observer):
    """Notes what it is told."""

    facts: list[tuple[str, bool]] = field(default_factory=list)
    answers: list[tuple[str, int, bool]] = field(default_factory=list)
    requests: list[tuple[str, int]] = field(default_factory=list)

    def fact(self, event: Event, seq: int, *, fed: bool) -> None:
        self.facts.append((event.type_name, fed))

    def sent(self, requested: ModelRequested) -> None:
        self.requests.append((requested.site, requested.occurrence))

    def answered(self, requested: ModelRequested, answered: ModelAnswered, *, fed: bool) -> None:
        self.answers.append((requested.site, requested.occurrence, fed))


@dataclass
class FailingLedger:
    """Stands before a ledger: at commit number ``at`` it raises, before or behind the commit, once or for good."""

    ledger: Ledger
    at: int
    behind: bool = False
    for_good: bool = True
    error: Callable[[], BaseException] = Killed
    commits: int = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.ledger, name)

    def record(self, *events: NewEvent) -> list[Acknowledged]:
        number = self.commits
        self.commits += 1
        if number < self.at or (number > self.at and not self.for_good):
            return self.ledger.record(*events)
        if self.behind and number == self.at:
            self.ledger.record(*events)
        raise self.error()


@pytest.fixture
def rig(ledger: Ledger) -> Rig:
    return Rig(ledger)
