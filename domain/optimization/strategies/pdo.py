"""PDO, prompt duels: prompts compete, judged pair by pair, and each round's champion is scored by the metrics.

A round: double Thompson sampling picks two prompts of the pool, both answer the same random training rows, the
reasoning model says per row which answer is better, without being told which prompt gave it; so for every duel of the
round. Rankings of all duels so far, fused, name the champion. What the iteration reports is the champion's score by
the run's metrics; win rates stay with the duels and are never compared with it.

Where this departs from aevyra-reflex 0.2: every draw is the run's own; a tie is a tie, and an unusable judgement or a
failed call decides nothing, where there both count for the prompt that was named first; identical answers are a tie
without being asked about; an answer that a prompt has given already serves in its next duels; methods weigh the same.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ...errors import Refused
from ...model_calls import Ask, Reply
from ...text import without_surrogates
from .. import requests
from ..conversation import Complete, Consult, Conversation, Note, Progress, Propose, Request, Score, Scored
from ..dataset import DataRow
from ..events import DuelJudged, Sample
from ..options import Options
from ..requests import Shown
from ..study import Study
from .ranking import Duel, Method, next_pair, rank

MOST_PROMPTS = 20
"""The most prompts in the pool."""
MUTATED = 2
"""How many of the best prompts are mutated each time."""
ROUNDS_BETWEEN_MUTATIONS = 5
_ROWS_SUMMARISED = 10

_SUMMARY_TEMPERATURE = 0.3
_CANDIDATE_TEMPERATURE = 1.0
_DUEL_TEMPERATURE = 0.0

_KNOWN = "known_prompt"

Verdict = Literal["a", "b", "tie", "undecided"]

TIPS = (
    "Say precisely what a good answer contains, and in which form.",
    "Make it as short as it can be without losing anything that matters.",
    "Let the model work through the question step by step before it answers.",
    "Give the model a role with the knowledge that these questions need.",
    "State the constraints as a list, the most important first.",
    "Describe the mistakes that are to be avoided, and what to do instead.",
    "Arrange it in sections with clear headings.",
    "Say what to do when the input is unclear, incomplete or unusual.",
)

_SUMMARISE = """Summarise this data set for somebody who is going to write a system prompt for it: what is asked, what \
good answers look like, what is difficult. At most ten lines of plain text, no samples repeated."""
_WRITE = """You write a system prompt that competes with others for the best answers to the inputs of a data set. \
Write one that is clearly different from the prompt below and better than it. Keep what the task needs."""
_MUTATE = """You improve a system prompt that is among the best of several that compete for the best answers to the \
inputs of a data set. Change it in one respect that its answers suffer from, and keep what works."""
_DUEL = """Two assistants answered the same input. Say which answer is better: correct, complete, to the point and in \
the form that was asked for. Where an expected answer is given, the better one agrees with it more. Length and order \
are no merit. Say tie if neither is better."""
_DUEL_REPLY = """Reply with one JSON object and nothing else: {"winner": "A" or "B" or "tie", "reason": one sentence}"""

DUEL_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"winner": {"type": "string", "enum": ["A", "B", "tie"]}, "reason": {"type": "string"}},
    "required": ["winner", "reason"],
    "additionalProperties": False,
}


class Settings(BaseModel):
    """This strategy's own settings. ``samples_per_duel`` rows are drawn for each duel, or all if there are fewer."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ranking_method: Method = "auto"
    duels_per_round: int = Field(default=3, ge=1)
    samples_per_duel: int = Field(default=10, ge=1)
    initial_pool_size: int = Field(default=6, ge=2, le=MOST_PROMPTS)


def settings_of(options: Options) -> Settings:
    """The settings in ``options.extra``, under ``pdo_kwargs`` where another strategy calls this one.

    ``Refused`` (``strategy_options``) names the first that is unknown or out of bounds.
    """
    found = options.extra if options.strategy == "pdo" else options.extra.get("pdo_kwargs", {})
    try:
        return Settings.model_validate(found)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "options"
        raise Refused(
            "strategy_options", f"strategy pdo, {where}: {first['msg']}, found {first['input']!r:.80}"
        ) from None


def pdo(study: Study) -> Conversation:
    """Let prompts duel until told to stop. ``Refused`` as ``settings_of``, before anything is asked.

    A start prompt that reaches the threshold, or has no score at all, is an iteration of its own before any duel.
    """
    return _Tournament(study, settings_of(study.options)).play()


@dataclass(slots=True)
class _Tournament:
    study: Study
    settings: Settings
    summary: str = ""
    pool: list[int] = field(default_factory=list)
    duels: list[Duel] = field(default_factory=list)
    origins: dict[int, Scored] = field(default_factory=dict)
    """By prompt, the evaluation that it was derived from."""
    scored: dict[int, Scored] = field(default_factory=dict)
    """By prompt, its evaluation over the most training rows so far, the newest of equals."""
    answers: dict[tuple[int, str], Sample] = field(default_factory=dict)
    """By prompt and row, the first answer that came; where several models answer, the first model's."""
    tips: int = 0
    round: int = 0

    def play(self) -> Conversation:
        (start,) = yield Score((self.study.start,))
        self.pool.append(self._learn(start))
        if start.score is None or (start.whole and start.score >= self.study.options.threshold):
            progress: Progress = yield Complete(start)
            if _over(progress):
                return
        yield from self._summarise()
        while True:
            self.round += 1
            if len(self.pool) < 2:
                count = self.settings.initial_pool_size - len(self.pool)
                yield from self._invent("pdo.candidate", _WRITE, self.pool[:1] * count)
            if len(self.pool) > 1:
                for _ in range(self.settings.duels_per_round):
                    yield from self._duel()
            outcome = yield from self._score_champion()
            if _over((yield Complete(outcome))):
                return
            if self.round % ROUNDS_BETWEEN_MUTATIONS == 0:
                best = self._proven()[:MUTATED] or self.pool[:1]
                self.pool = self._ranked()[: MOST_PROMPTS - MUTATED]
                yield from self._invent("pdo.mutate", _MUTATE, best)

    def _summarise(self) -> Conversation:
        rows = self.study.random.sample(self.study.rows, _ROWS_SUMMARISED)
        parts = [part for number, row in enumerate(rows, 1) for part in _row(number, row)]
        text = requests.compose(_SUMMARISE, *parts)
        (reply,) = yield Consult((requests.ask(self.study, "pdo.summary", text, _SUMMARY_TEMPERATURE),))
        self.summary = (reply.text or "").strip()
        kind = "data_summary"
        yield requests.noted(kind, reply) if self.summary else requests.unusable(kind, reply)

    def _invent(self, site: str, task: str, parents: Sequence[int]) -> Conversation:
        """A new prompt from each of ``parents``, written side by side; new texts join the pool."""
        history = self.study.history()
        asks = tuple(self._writing(site, task, parent, history) for parent in parents)
        replies: tuple[Reply, ...] = yield Consult(asks)
        kind = site.partition(".")[2]
        for parent, reply in zip(parents, replies, strict=True):
            revision = requests.read_revision(reply.text)
            if revision is None:
                yield requests.unusable(kind, reply)
            elif any(revision.prompt == self.study.prompts[number] for number in self.pool):
                yield requests.noted(kind, reply, _KNOWN)
            else:
                source, rationale = self.scored[parent], reply.text or ""
                yield Propose(
                    source, revision.prompt, rationale, revision.change_summary, history, axis=kind, because=(reply,)
                )
                number = self._number(revision.prompt)
                self.pool.append(number)
                self.origins.setdefault(number, source)

    def _writing(self, site: str, task: str, parent: int, history: str) -> Ask:
        tip = TIPS[self.tips % len(TIPS)]
        self.tips += 1
        scored = self.scored[parent]
        parts: list[str | Shown] = [task, f"For this one: {tip}"]
        if self.summary:
            parts.append(Shown("What the data is like:", self.summary))
        parts += [
            Shown(f"The prompt, scored {requests.score_text(scored.score)}:", scored.prompt),
            Shown("What earlier changes did:", history),
            "Samples that it did worst on:",
            *requests.failing_samples(scored),
            requests.REVISION,
        ]
        return requests.ask(self.study, site, requests.compose(*parts), _CANDIDATE_TEMPERATURE)

    def _duel(self) -> Conversation:
        """Two prompts of the pool meet on random training rows."""
        study = self.study
        a, b = next_pair(self.pool, self.duels, study.random)
        rows = study.random.sample(study.rows, self.settings.samples_per_duel)
        a_first = [study.random.below(2) == 0 for _ in rows]
        for number in (a, b):
            yield from self._answer(number, rows)
        found: list[tuple[Verdict, str]] = []
        asks: dict[int, Ask] = {}
        for place, row in enumerate(rows):
            one, other = self.answers.get((a, row.id)), self.answers.get((b, row.id))
            if one is None or other is None:
                found.append(("undecided", "a call failed"))
            elif one.response == other.response:
                found.append(("tie", "identical answers"))
            else:
                found.append(("undecided", ""))
                shown = (one, other) if a_first[place] else (other, one)
                asks[place] = self._judging(row, *shown)
        replies: tuple[Reply, ...] = (yield Consult(tuple(asks.values()))) if asks else ()
        for place, reply in zip(asks, replies, strict=True):
            found[place] = read_verdict(reply, a_first=a_first[place])
        verdicts = [verdict for verdict, _ in found]
        wins_a, wins_b, ties = (verdicts.count(verdict) for verdict in ("a", "b", "tie"))
        winner = None if wins_a == wins_b else a if wins_a > wins_b else b
        if wins_a + wins_b + ties:
            self.duels.append(Duel(a, b, winner))
        event = DuelJudged(
            round=self.round,
            a=a,
            b=b,
            wins_a=wins_a,
            wins_b=wins_b,
            ties=ties,
            undecided=verdicts.count("undecided"),
            winner=winner,
            pairs=[
                {
                    "sample": row.id,
                    "first": a if first else b,
                    "asked": place in asks,
                    "verdict": verdict,
                    "reason": reason,
                }
                for place, (row, first, (verdict, reason)) in enumerate(zip(rows, a_first, found, strict=True))
            ],
        )
        yield Note(event, requests.seqs(replies))

    def _answer(self, number: int, rows: Sequence[DataRow]) -> Conversation:
        """Have a prompt answer those of ``rows`` that it has not answered yet."""
        missing = tuple(row.id for row in rows if (number, row.id) not in self.answers)
        if missing:
            (scored,) = yield Score((self.study.prompts[number],), "variant", missing, self.origins.get(number))
            self._learn(scored)

    def _judging(self, row: DataRow, first: Sample, second: Sample) -> Ask:
        parts: list[str | Shown] = [_DUEL, Shown("The input:", requests.cut(row.input))]
        if row.ideal:
            parts.append(Shown("The expected answer:", requests.cut(row.ideal)))
        parts.append(Shown("Answer A:", requests.cut(first.response)))
        parts.append(Shown("Answer B:", requests.cut(second.response)))
        text = requests.compose(*parts, _DUEL_REPLY)
        return replace(requests.ask(self.study, "pdo.duel", text, _DUEL_TEMPERATURE), schema=DUEL_SCHEMA)

    def _score_champion(self) -> Generator[Request, Any, Scored]:
        """The champion's score on the iteration's rows; not again where it has one on all of them."""
        champion = next(iter(self._proven()), self.pool[0])
        known = self.scored.get(champion)
        if known is not None and known.whole and known.score is not None:
            return known
        request = Score((self.study.prompts[champion],), parent=self.origins.get(champion))
        found: tuple[Scored, ...] = yield request
        self._learn(found[0])
        return found[0]

    def _ranked(self) -> list[int]:
        """The pool, best first, by all duels, those with prompts that have left it too."""
        past = [number for duel in self.duels for number in (duel.a, duel.b)]
        everybody = list(dict.fromkeys([*self.pool, *past]))
        return [one for one in rank(everybody, self.duels, self.settings.ranking_method) if one in self.pool]

    def _proven(self) -> list[int]:
        """Those of the pool that have duelled, best first."""
        met = {number for duel in self.duels for number in (duel.a, duel.b)}
        return [one for one in self._ranked() if one in met]

    def _learn(self, scored: Scored) -> int:
        number = self._number(scored.prompt)
        by_first_model: dict[str, Sample] = {}
        for sample in scored.samples:
            by_first_model.setdefault(sample.id, sample)
        for name, sample in by_first_model.items():
            if sample.response or not sample.failed:
                self.answers.setdefault((number, name), sample)
        known = self.scored.get(number)
        if known is None or len(scored.samples) >= len(known.samples):
            self.scored[number] = scored
        return number

    def _number(self, prompt: str) -> int:
        return self.study.prompts.index(prompt)


def read_verdict(reply: Reply, *, a_first: bool) -> tuple[Verdict, str]:
    """Whom a reply names, seen from the prompts, and its reason; undecided where it names nobody as it was told to."""
    found = requests.read_object(reply.text)
    if found is None:
        return "undecided", requests.NO_REPLY if reply.text is None else requests.UNUSABLE
    winner, reason = found.get("winner"), found.get("reason")
    said = without_surrogates(reason) if isinstance(reason, str) else ""
    if winner == "tie":
        return "tie", said
    if winner not in ("A", "B"):
        return "undecided", said or requests.UNUSABLE
    return ("a" if (winner == "A") == a_first else "b"), said


def _over(progress: Progress) -> bool:
    return progress.converged or progress.stop is not None


def _row(number: int, row: DataRow) -> list[Shown]:
    shown = [Shown(f"Row {number}, input:", requests.cut(row.input))]
    if row.ideal:
        shown.append(Shown(f"Row {number}, expected answer:", requests.cut(row.ideal)))
    return shown
