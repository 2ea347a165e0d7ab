"""Runs for the projections' tests: told event by event, or imported from the sample trees."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from affidavit.domain.event import Event, Recorded, Withheld
from affidavit.domain.optimization.events import (
    IterationCompleted,
    PromptEvaluated,
    RewriteProposed,
    RunCompleted,
    RunStarted,
    Sample,
    Split,
    mean_score,
)
from affidavit.domain.optimization.run import RunState, decide, evolve
from affidavit.ledger.application import Ledger
from affidavit.projections.runs.record import RunRecord, fold_run

RecordOf = Callable[[Sequence[Event]], RunRecord]


@pytest.fixture
def record_of() -> RecordOf:
    """Fold events as recorded from seq 10 on, one a second, each allowed by the ones before."""

    def record(events: Sequence[Event]) -> RunRecord:
        state = RunState()
        recorded = []
        for pos, event in enumerate(events):
            evolve(state, decide(state, event))
            at = f"2026-11-22T10:00:{pos:02d}.000000Z"
            recorded.append(Recorded(10 + pos, at, "run/043", pos, event.type_name, {}, event))
        found = fold_run(recorded)
        assert found is not None
        return found

    return record


@pytest.fixture
def run_events() -> list[Event]:
    """A whole run: four training samples, two to validate, three iterations of which the third is worse, a fourth
    prompt that is never scored, and a final evaluation of the second iteration's prompt."""
    return [
        RunStarted(
            run="043",
            directory="043_2026-04-13T09-11-57",
            timestamp="2026-04-13T09:11:57+00:00",
            strategy="iterative",
            models=("local/target",),
            reasoning_model="reasoner",
            metrics=("rouge",),
            threshold=0.9,
            max_iterations=4,
            split=Split(train=4, val=2, test=3),
            system_prompt="Answer.",
            config={"eval_temperature": 0.0, "reasoning_api_key": {"redacted": "reasoning_api_key"}},
            dataset="data.jsonl",
        ),
        _evaluation(0, 0, "baseline", [0.2, 0.3, 0.4], tokens=90),
        _evaluation(1, 0, "train", [0.1, 0.2, 0.3, 0.4], tokens=100),
        _evaluation(2, 0, "val", [0.25, 0.35], tokens=50),
        IterationCompleted(iteration=1, evaluation=1, val_evaluation=2, eval_tokens=100, elapsed_seconds=1.5),
        _rewrite(0, 1, 1, "Answer in one sentence.", "Added a length limit", history=None),
        _evaluation(3, 1, "train", [0.6, 0.7, 0.8, 0.9], parent=1, tokens=110),
        _evaluation(4, 1, "val", [0.5, 0.75], tokens=50),
        IterationCompleted(
            iteration=2, evaluation=3, val_evaluation=4, rewrite=0, eval_tokens=110, reasoning_tokens=40
        ),
        _rewrite(1, 3, 2, "Answer in one sentence.\n<xml/>", "Switched to XML", history="Iter 1: …"),
        _evaluation(5, 2, "train", [0.5, 0.6, 0.7, 0.4], parent=3, tokens=120),
        IterationCompleted(iteration=3, evaluation=5, rewrite=1, eval_tokens=120, reasoning_tokens=45),
        _rewrite(2, 5, 3, "Answer in one sentence. Be exact.", "Reverted XML", history="Iter 1: …\nIter 2: …"),
        _evaluation(6, 1, "final", [0.7, 0.8, 0.6], tokens=95),
        RunCompleted(
            reason="max_iterations",
            converged=False,
            best=1,
            final_evaluation=6,
            eval_tokens=515,
            reasoning_tokens=130,
            duration_seconds=12.5,
            timestamp="2026-04-13T09:12:10+00:00",
        ),
    ]


@pytest.fixture
def run(record_of: RecordOf, run_events: list[Event]) -> RunRecord:
    return record_of(run_events)


@pytest.fixture
def withheld_run(record_of: RecordOf, run_events: list[Event]) -> RunRecord:
    """The same run after its key was destroyed."""
    return record_of(
        [
            event.model_copy(
                update={
                    name: Withheld(f"digest-of-{name}", "erased")
                    for name in event.sealed_fields
                    if getattr(event, name) is not None
                }
            )
            for event in run_events
        ]
    )


@pytest.fixture
def trees() -> Path:
    """The sample runs that aevyra-reflex wrote, shipped with the importer."""
    folder = Path(__file__).resolve().parents[2] / "api" / "demo" / "reflex"
    if not (folder / "runs").is_dir():
        pytest.skip("the sample trees are not here")
    return folder


@pytest.fixture
def imported(ledger: Ledger, trees: Path) -> dict[str, RunRecord]:
    """Every sample run by id, imported and read back from the ledger."""
    importer = pytest.importorskip("affidavit.api.adapters.reflex.importer")
    importer.import_reflex(ledger, trees, lambda *_: None)
    runs = {}
    with ledger.recorder.reading() as reader:
        for path in sorted((trees / "runs").iterdir()):
            number = path.name.partition("_")[0]
            record = fold_run(ledger.event_reader(reader).stream(f"run/{number}"))
            assert record is not None
            runs[number] = record
    return runs


def _evaluation(
    number: int, prompt: int, purpose: str, scores: list[float], *, parent: int | None = None, tokens: int
) -> PromptEvaluated:
    samples = tuple(
        Sample(id=f"{purpose}-{index}", input=f"q{index}", response=f"a{index}", ideal="a", score=score)
        for index, score in enumerate(scores)
    )
    mean = mean_score(samples)
    return PromptEvaluated.model_validate(
        {
            "evaluation": number,
            "prompt": prompt,
            "purpose": purpose,
            "score": mean,
            "n": len(samples),
            "failed": 0,
            "scores_by_metric": {"rouge": mean},
            "parent": parent,
            "tokens": tokens,
            "detail_mean": mean,
            "samples": samples,
        }
    )


def _rewrite(number: int, parent: int, prompt: int, text: str, summary: str, *, history: str | None) -> RewriteProposed:
    return RewriteProposed(
        rewrite=number,
        parent=parent,
        prompt=prompt,
        tokens=40,
        system_prompt=text,
        rationale=f"I {summary.lower()} because it failed.",
        change_summary=summary,
        history=history,
    )
