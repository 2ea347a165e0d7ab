"""The weaknesses under "Attribution": whose score a score is, across stops and branches."""

from __future__ import annotations

from typing import Any

import pytest

from affidavit.api.optimize.running import Provenance, branch_from, start
from affidavit.domain.errors import Refused
from affidavit.domain.optimization.events import PromptEvaluated
from affidavit.projections.runs.record import RunRecord, Text

from .conftest import Bench, meaning_of, plan_of


@pytest.mark.parametrize(("strategy", "step"), [("iterative", 3), ("structural", 6), ("pdo", 13)])
def test_w13_wherever_a_run_was_stopped_the_best_prompt_has_its_own_score(
    bench: Bench, strategy: str, step: int
) -> None:
    plan = plan_of(strategy, rows=6)
    whole = bench.record(bench.whole(plan))
    facts = len(bench.recorded("001").facts)
    for stage in range(1, facts - 1, step):  # the last two are in one commit
        run = bench.stopped(plan, facts=stage)
        bench.go_on(run)
        record = bench.record(run)
        assert meaning_of(record) == meaning_of(whole), f"stopped after fact {stage}"
        assert record.completed is not None
        assert record.final is not None
        assert record.final.prompt == record.completed.best
        assert record.prompts[record.final.prompt] == record.best_prompt


def test_w16_a_branch_is_scored_as_its_parent_and_its_start_has_only_its_own_scores(bench: Bench) -> None:
    run = bench.whole(plan_of("structural", rows=8, metrics=("rouge", "exact")))
    left, plan = branch_from(bench.recording, run, 1, {"max_iterations": 3, "strategy": "iterative"})
    branch = start(bench.recording, plan, Provenance(), (run, 1))
    bench.go_on(branch)
    parent, record = bench.record(run), bench.record(branch)
    assert plan.recorded is None
    assert (plan.split, plan.metric_names) == (left.plan.split, left.plan.metric_names)

    for found in (record, parent):
        assert found.baseline is not None
        assert found.final is not None
        assert ids(found.baseline) == ids(found.final)
        assert set(found.baseline.scores_by_metric) == set(found.final.scores_by_metric) == {"rouge", "exact_match"}
    assert parent.baseline is not None
    assert record.baseline is not None
    assert ids(record.baseline) == ids(parent.baseline)
    assert (record.baseline.score, record.baseline.prompt) == (parent.baseline.score, 0)

    # Up to where it left, the branch states what its parent stated: its start has the scores that it was given there.
    until = parent.iterations[0].event.val_evaluation
    assert until is not None
    assert [scored(found) for found in record.evaluations[: until + 1]] == [
        scored(found) for found in parent.evaluations[: until + 1]
    ]
    assert record.prompts[: len(texts(parent, until))] == texts(parent, until)
    assert record.iterations[0].prompt == parent.iterations[0].prompt
    assert record.final is not None
    assert record.completed is not None
    assert record.final.prompt == record.completed.best
    assert bench.replayed(branch).identical


def test_w16_a_branch_may_not_change_what_scores_depend_on(bench: Bench) -> None:
    run = bench.whole(plan_of(rows=6, max_iterations=1))
    for change in ({"metrics": ("exact",)}, {"split_seed": 1}, {"judge": "sandbox/judge"}, {"train_ratio": 0.5}):
        with pytest.raises(Refused) as refused:
            branch_from(bench.recording, run, 1, {"max_iterations": 3, **change})
        assert refused.value.rule == "branch_changes"


def ids(evaluation: PromptEvaluated) -> list[str]:
    assert isinstance(evaluation.samples, tuple)
    return [sample.id for sample in evaluation.samples]


def scored(evaluation: PromptEvaluated) -> dict[str, Any]:
    return evaluation.model_dump(exclude={"timestamp", "elapsed_seconds"})


def texts(record: RunRecord, until: int) -> list[Text]:
    """The prompts that the evaluations up to ``until`` are of."""
    return record.prompts[: max(found.prompt for found in record.evaluations[: until + 1]) + 1]
