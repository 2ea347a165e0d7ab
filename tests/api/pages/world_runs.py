"""The runs of the world: each status and strategy, branches four deep, recorded calls, hostile texts.

Scores are made up by rule, so that what a page has to say of them is known: ``BETTER`` gains beyond doubt on 40
held-out samples, ``EVEN`` gains nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from affidavit.api.adapters.reflex import import_reflex
from affidavit.api.cli.demo import SAMPLE
from affidavit.api.models.chat import Model
from affidavit.api.models.providers import open_model
from affidavit.api.models.sandbox import SANDBOX_PROMPT, sandbox_dataset
from affidavit.api.optimize.plan import make_plan
from affidavit.api.optimize.running import Provenance, branch_from, carry_out, parent_of, start
from affidavit.api.record import Ack, RecordingLedger, RunRecorder
from affidavit.domain.optimization.conversation import REASONER
from affidavit.domain.optimization.dataset import DataRow, Dataset
from affidavit.domain.optimization.events import Sample, Split
from affidavit.domain.optimization.options import Options

from .hostile import ALL, HOSTILE

IMPORTED = ("001", "002", "003", "008", "011", "013", "014")
"""Runs of another system, from the sample that is shipped."""
DRIVEN = "015"
"""Driven here by the sandbox's simulated models: every call is recorded. Strategy iterative."""
BRANCH = "016"
"""Left ``DRIVEN`` after iteration 1 with another seed; driven here too."""
DRIVEN_BY_STRATEGY = {"structural": "017", "fewshot": "018", "pdo": "019", "auto": "020"}
"""One small run of each other strategy, driven here."""
BETTER = "better"
"""Strategy auto in three phases, with train, validation and test, rationales, batches and full evaluations."""
EVEN = "even"
FAILED = "failed"
OPEN = "open"
"""Has two iterations and goes on; its third evaluation is recorded and no iteration yet."""
EMPTY = "empty"
"""Has begun, and nothing more."""
LONG = "long"
LONG_ITERATIONS = 40
HOSTILE_RUN = "hostile"
"""Every text in it is of ``hostile.HOSTILE``, its model, strategy and metrics too."""
ERASED_RUN = "erased"
"""Erased with its reviews; figures and proofs stay."""
LINEAGE = (BETTER, "branch-1", "branch-2", "branch-3", "branch-4")
"""Each was branched from the one before it, after iterations 4, 2, 1 and 3."""
SIBLING = "branch-1b"
"""Left ``BETTER`` too, after iteration 4, and does worse."""

TRAIN, VAL, TEST = 24, 12, 40
MODEL, REASONING_MODEL = "sandbox/target", "sandbox/reasoner"

Later = Callable[[float], None]
"""Moves the clock on by seconds."""

_PROMPTS = (
    "Summarise the incident report.",
    "Summarise the incident report in three sentences.",
    "Summarise the incident report in three sentences.\nName the service that failed.",
    "Summarise the incident report in three sentences.\nName the service that failed, and since when.",
    "# Task\n\nSummarise the incident report in three sentences.\nName the service that failed, and since when.",
    "# Task\n\nSummarise the incident report in two sentences.\nName the service that failed, and since when.\n"
    "Say what is not known.",
    "# Task\n\nSummarise the incident report in two sentences.\nName the service that failed, and since when.\n"
    "Say what is not known.\n\n# Example\n\nReport: disk full on db-3 at 09:12.\nSummary: db-3 failed at 09:12.",
    "# Task\n\nSummarise the incident report in two sentences, for an operator.\n"
    "Name the service that failed, and since when.\n"
    "Say what is not known.\n\n# Example\n\nReport: disk full on db-3 at 09:12.\nSummary: db-3 failed at 09:12.",
)
_SUMMARIES = (
    "Asked for three sentences",
    "Asked for the service's name",
    "Asked for the time, too",
    "Gave the prompt a heading",
    "Shorter, and what is not known",
    "Added an example",
    "Named the reader",
)
_LEVELS = (0.41, 0.46, 0.55, 0.54, 0.58, 0.66, 0.71, 0.705)
"""How good each of ``_PROMPTS`` is."""
_METRICS = {"rouge": -0.03, "judge": 0.03}
"""How each metric differs from the score."""


def record_runs(recording: RecordingLedger, later: Later) -> None:
    """Record every run but what is erased of them later."""
    import_reflex(recording.ledger, SAMPLE)
    later(3600)
    _drive_runs(recording, later)
    _record_better(recording, later)
    _record_branches(recording, later)
    _record_even(recording, later)
    _record_long(recording, later)
    _record_hostile(recording, later)
    for run in (FAILED, ERASED_RUN):
        recorder = _begin(recording, run, later, strategy="structural", max_iterations=3)
        _iterate(recorder, 2, later)
        if run == FAILED:
            recorder.fail("provider_unreachable", f"connect to 192.0.2.1 port 443: timed out\n{HOSTILE[0]}")
        else:
            recorder.complete(reason="max_iterations", best=_PROMPTS[1])
        later(600)
    recorder = _begin(recording, OPEN, later, strategy="iterative", max_iterations=10)
    _iterate(recorder, 2, later)
    recorder.record_evaluation(_PROMPTS[2], samples=_samples(2, TRAIN), tokens=2100)
    _begin(recording, EMPTY, later, strategy="fewshot")


def _drive_runs(recording: RecordingLedger, later: Later) -> None:
    """Every strategy over the sandbox, one call at a time, so that entries come in one order."""
    rows = [
        DataRow(id=str(n), messages=tuple(row["messages"]), ideal=row["ideal"])
        for n, row in enumerate(sandbox_dataset(12), 1)
    ]
    models: dict[str, Model] = {MODEL: open_model(MODEL), REASONER: open_model(REASONING_MODEL)}
    try:
        for strategy, iterations, extra in (
            ("iterative", 2, {}),
            ("structural", 1, {}),
            ("fewshot", 1, {}),
            ("pdo", 1, {"initial_pool_size": 3, "duels_per_round": 1, "samples_per_duel": 2}),
            ("auto", 2, {"phase_budgets": {"structural": 1}}),
        ):
            options = Options(
                strategy=strategy,
                max_iterations=iterations,
                models=(MODEL,),
                reasoning_model=REASONING_MODEL,
                threshold=1.0,
                train_ratio=0.7,
                val_ratio=0.2,
                max_workers=1,
                extra=extra,
            )
            plan = make_plan(options, Dataset(tuple(rows)), SANDBOX_PROMPT)
            run = start(recording, plan, Provenance(dataset="incidents.jsonl", prompt="prompt.md"))
            carry_out(recording, run, plan, models)
            later(120)
            if run == DRIVEN:
                _branch(recording, run, models)
                later(120)
    finally:
        for model in models.values():
            model.close()


def _branch(recording: RecordingLedger, run: str, models: Mapping[str, Model]) -> None:
    found, plan = branch_from(recording, run, 1, {"seed": 11, "max_iterations": 3})
    left = (found.record.started.run, 1)
    branch = start(recording, plan, Provenance(dataset="incidents.jsonl", prompt="prompt.md"), left)
    assert branch == BRANCH
    assert parent_of(found) is None
    carry_out(recording, branch, plan, models)


def _record_better(recording: RecordingLedger, later: Later) -> None:
    recorder = _begin(recording, BETTER, later, strategy="auto", max_iterations=7, seed=7)
    baseline = recorder.record_baseline(samples=_samples(0, TEST, "test"), tokens=3900)
    assert baseline.number == 0
    scored: Ack | None = None
    number = 0
    scores: list[float] = []
    for axis, length in (("structural", 2), ("iterative", 3), ("fewshot", 2)):
        recorder.start_phase(axis)
        for _ in range(length):
            if scored is not None:
                _rewrite(recorder, scored, number, scores, axis)
            later(11.5)
            full = number in (0, 4)
            samples = _samples(number, TRAIN if full else TRAIN // 2)
            scores.append(_mean([sample.score for sample in samples]))
            scored = recorder.record_evaluation(
                _PROMPTS[number],
                samples=samples,
                scores_by_metric={
                    name: _mean([sample.scores[name] for sample in samples if sample.scores]) for name in _METRICS
                },
                sample_set="whole" if full else "batch",
                tokens=2000 + 37 * number,
            )
            val = recorder.record_evaluation(_PROMPTS[number], purpose="val", samples=_samples(number, VAL, "val"))
            recorder.record_iteration(
                scored,
                val=val,
                full_evaluation=full,
                eval_tokens=3000 + 41 * number,
                reasoning_tokens=0 if number == 0 else 600 + 7 * number,
            )
            number += 1
        recorder.complete_phase(
            iterations=length,
            score_before=scores[max(0, number - length - 1)],
            score_after=scores[-1],
            duration_seconds=11.5 * length,
        )
    final = recorder.record_evaluation(_PROMPTS[6], purpose="final", samples=_samples(6, TEST, "test"), tokens=4100)
    recorder.complete(reason="max_iterations", best=_PROMPTS[6], final=final)
    later(900)


def _record_branches(recording: RecordingLedger, later: Later) -> None:
    left = {"branch-1": 4, "branch-2": 2, "branch-3": 1, "branch-4": 3}
    for parent, run in pairwise(LINEAGE):
        recorder = _begin(
            recording, run, later, strategy="iterative", parent=(parent, left[run]), initial=2, threshold=0.9
        )
        _iterate(recorder, 3, later, first=2)
        recorder.complete(reason="max_iterations", best=_PROMPTS[4])
        later(300)
    recorder = _begin(recording, SIBLING, later, strategy="pdo", parent=(BETTER, 4), initial=4)
    _iterate(recorder, 2, later, first=4, worse=0.2)
    recorder.complete(reason="early_stopped", converged=True, best=_PROMPTS[4])
    later(300)


def _record_even(recording: RecordingLedger, later: Later) -> None:
    recorder = _begin(recording, EVEN, later, strategy="iterative", max_iterations=2, seed=8)
    recorder.record_baseline(samples=_samples(0, TEST, "test"))
    _iterate(recorder, 2, later, baseline=False)
    shifted = [
        sample.model_copy(update={"score": _bounded((sample.score or 0) + (n * 7 % 11 - 5) / 60)})
        for n, sample in enumerate(_samples(0, TEST, "test"))
    ]
    final = recorder.record_evaluation(_PROMPTS[1], purpose="final", samples=shifted)
    recorder.complete(reason="max_iterations", best=_PROMPTS[1], final=final)
    later(900)


def _record_long(recording: RecordingLedger, later: Later) -> None:
    recorder = _begin(recording, LONG, later, strategy="iterative", max_iterations=LONG_ITERATIONS)
    recorder.record_baseline(score=0.4, n=TEST)
    prompt = _PROMPTS[0]
    for number in range(LONG_ITERATIONS):
        later(30)
        score = round(0.4 + 0.5 * number / LONG_ITERATIONS + (0.04 if number % 3 else -0.03), 4)
        scored = recorder.record_evaluation(prompt, score=score, n=TRAIN, tokens=1500)
        recorder.record_iteration(scored, eval_tokens=1500, reasoning_tokens=400)
        if number + 1 < LONG_ITERATIONS:
            prompt = f"{_PROMPTS[0]}\nRule {number + 1}: name the source of what is said, and say what is not known."
            recorder.record_rewrite(scored, prompt, rationale=f"Rule {number + 1} was missing.")
    final = recorder.record_evaluation(prompt, purpose="final", score=0.83, n=TEST)
    recorder.complete(reason="max_iterations", best=prompt, final=final)
    later(900)


def _record_hostile(recording: RecordingLedger, later: Later) -> None:
    recorder = recording.start_run(
        run=HOSTILE_RUN,
        strategy=HOSTILE[0],
        prompt=f"Answer.\n{HOSTILE[3]}",
        config={"optimizer_config": {"strategy": HOSTILE[2], HOSTILE[1]: [HOSTILE[4], {HOSTILE[5]: 1}]}},
        models=HOSTILE[:3],
        reasoning_model=HOSTILE[7],
        metrics=[HOSTILE[1], "rouge"],
        dataset=HOSTILE[15],
    )
    samples = [
        Sample(
            id=f"{n} {text}",
            input=text,
            response=text,
            ideal=text,
            score=None if n == 3 else n % 5 / 5,
            scores={HOSTILE[1]: n % 5 / 5},
            failed=n == 3,
            reason=text if n == 3 else None,
            model=text,
            rationale=text,
        )
        for n, text in enumerate(HOSTILE)
    ]
    recorder.record_baseline(samples=samples)
    recorder.start_phase(HOSTILE[9])
    scored = recorder.record_evaluation(
        f"Answer.\n{HOSTILE[3]}", samples=samples, scores_by_metric={HOSTILE[1]: 0.4, HOSTILE[2]: 0.5}
    )
    recorder.record_iteration(scored)
    recorder.record_rewrite(scored, ALL, rationale=ALL, change_summary=HOSTILE[2], history=ALL, axis=HOSTILE[7])
    second = recorder.record_evaluation(ALL, samples=samples)
    recorder.record_iteration(second)
    recorder.complete_phase(iterations=2, score_before=0.4, score_after=0.4)
    final = recorder.record_evaluation(ALL, purpose="final", samples=samples)
    recorder.complete(reason="max_iterations", best=ALL, final=final)
    later(900)


def _begin(
    recording: RecordingLedger,
    run: str,
    later: Later,
    *,
    strategy: str,
    parent: tuple[str, int] | None = None,
    initial: int = 0,
    max_iterations: int | None = None,
    threshold: float = 0.85,
    seed: int = 0,
) -> RunRecorder:
    later(60)
    config: dict[str, Any] = {
        "prompt_path": "prompts/incident.md",
        "optimizer_config": {
            "strategy": strategy,
            "max_iterations": max_iterations,
            "score_threshold": threshold,
            "reasoning_model": REASONING_MODEL,
            "eval_temperature": 0.0,
            "metrics": ["rouge", "judge"],
            "seed": seed,
        },
    }
    return recording.start_run(
        run=run,
        strategy=strategy,
        prompt=_PROMPTS[initial],
        config=config,
        models=[MODEL],
        reasoning_model=REASONING_MODEL,
        metrics=["rouge", "judge"],
        dataset="data/incidents.jsonl",
        threshold=threshold,
        max_iterations=max_iterations,
        split=Split(train=TRAIN, val=VAL, test=TEST, seed=42),
        parent=parent,
    )


def _iterate(
    recorder: RunRecorder, count: int, later: Later, *, first: int = 0, worse: float = 0.0, baseline: bool = True
) -> None:
    """Iterations of the prompts from ``first`` on, each made from the one before."""
    if baseline:
        recorder.record_baseline(samples=_samples(first, TEST, "test", worse), tokens=3900)
    scored: Ack | None = None
    scores: list[float] = []
    for number in range(first, first + count):
        if scored is not None:
            _rewrite(recorder, scored, number, scores)
        later(20)
        samples = _samples(number, TRAIN, worse=worse)
        scores.append(_mean([sample.score for sample in samples]))
        scored = recorder.record_evaluation(_PROMPTS[number], samples=samples, tokens=2100)
        val = recorder.record_evaluation(_PROMPTS[number], purpose="val", samples=_samples(number, VAL, "val", worse))
        recorder.record_iteration(scored, val=val, eval_tokens=3100, reasoning_tokens=0 if number == first else 620)


def _rewrite(recorder: RunRecorder, scored: Ack, number: int, scores: Sequence[float], axis: str | None = None) -> None:
    """The rewrite that makes prompt ``number`` from the one that was scored last, ``scores`` being those so far."""
    first = number - len(scores)
    told = [f"Iter {n} (score: {scores[n - 1]:.4f}): {_SUMMARIES[first + n - 1]}" for n in range(1, len(scores))]
    recorder.record_rewrite(
        scored,
        _PROMPTS[number],
        rationale=f"Low scores lacked what was asked for.\n\n1. {_SUMMARIES[number - 1]}.\n2. Kept the rest.",
        change_summary=_SUMMARIES[number - 1],
        history="\n".join(["Rewrite history:", *told]) if told else None,
        axis=axis,
        tokens=600 + 7 * number,
    )


def _samples(number: int, count: int, kind: str = "train", worse: float = 0.0) -> Sequence[Sample]:
    """Samples under prompt ``number``: each as good as the prompt, give or take what is its own and its split's."""
    apart = ((number * 3) % 5 - 2.5) / 60 if kind == "val" else 0.0
    scores = [_LEVELS[number] + apart - worse + (n * 7 % 11 - 5) / 40 + (n * number % 5 - 2) / 50 for n in range(count)]
    return [
        Sample(
            id=f"{kind}-{n:02}",
            input=f"Incident report {n}: service svc-{n} has answered slowly since 09:{n:02}.",
            response=f"Service svc-{n} is slow since 09:{n:02}. " * (1 + number % 3),
            ideal=f"svc-{n} has been slow since 09:{n:02}.",
            score=_bounded(score),
            scores={name: _bounded(score + apart) for name, apart in _METRICS.items()},
            rationale=f"It names the service{' and the time' if number > 2 else ''}.",
        )
        for n, score in enumerate(scores)
    ]


def _mean(scores: Sequence[float | None]) -> float:
    """As an optimiser logs it, of scores that are all there."""
    known = [score for score in scores if score is not None]
    assert len(known) == len(scores)
    return round(sum(known) / len(known), 6)


def _bounded(score: float) -> float:
    return round(min(1.0, max(0.0, score)), 4)
