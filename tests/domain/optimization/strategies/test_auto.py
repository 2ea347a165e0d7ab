"""The auto strategy: phases of other strategies, each from the best prompt, all measured alike."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from affidavit.domain.errors import Refused
from affidavit.domain.model_calls import Ask
from affidavit.domain.optimization.conversation import BeginPhase, Complete, EndPhase, Note, Propose, Score
from affidavit.domain.optimization.dataset import DataRow
from affidavit.domain.optimization.events import DuelJudged
from affidavit.domain.optimization.strategies.auto import AXES, BUDGETS, auto

from .driving import Desk, make_study, named, rows
from .rehearsal import Rehearsal, revision, samples_of, text_of

ONE_EACH = dict.fromkeys(AXES, 1)
TWO_EACH = dict.fromkeys(AXES, 2)


def choosing(*axes: str | None) -> Callable[[Ask, int], str | None]:
    """Chooses these axes in turn (a text with a brace stands as it is) and writes a prompt named after each site."""
    left = list(axes)

    def reply(ask: Ask, number: int) -> str | None:
        if ask.site == "auto.axis":
            axis = left.pop(0) if left else "iterative"
            return axis if axis is None or "{" in axis else json.dumps({"axis": axis, "reasoning": "why not"})
        if ask.site == "pdo.duel":
            return json.dumps({"winner": "A", "reason": "better"})
        if ask.site.startswith("fewshot"):
            return "## Selected examples\nEXAMPLES: 1\n\n## Instruction\nKEEP"
        return revision(f"{ask.site.split('.')[0]} {number}")

    return reply


def by_word(levels: dict[str, float]) -> Callable[[str, DataRow], float]:
    """The level of the first word of a prompt, 0.3 where none is given; a little more for later rows."""
    return lambda prompt, row: levels.get(prompt.split()[0], 0.3) + int(row.id[1:]) / 1000


def rehearse(
    *axes: str | None,
    levels: dict[str, float] | None = None,
    extra: dict[str, Any] | None = None,
    iterations: int = 50,
    ideals: bool = True,
    **more: Any,
) -> Rehearsal:
    desk_fields = {name: more.pop(name) for name in ("stops", "converge_at", "validate") if name in more}
    study = make_study(rows(6, ideals=ideals), strategy="auto", max_iterations=iterations, extra=extra or {}, **more)
    desk = Rehearsal(study, choosing(*axes), by_word(levels or {}), **desk_fields)
    desk.play(auto)
    return desk


def begun(desk: Desk) -> list[str]:
    return [request.axis for request in desk.of(BeginPhase)]


def iterations_by_phase(desk: Desk) -> list[int]:
    counts: list[int] = []
    for request in desk.requests:
        if isinstance(request, BeginPhase):
            counts.append(0)
        if isinstance(request, Complete):
            counts[-1] += 1
    return counts


def test_the_first_phase_is_structural_and_later_ones_are_chosen() -> None:
    desk = rehearse("pdo", "fewshot", "iterative", extra={"phase_budgets": ONE_EACH})
    assert begun(desk) == ["structural", "pdo", "fewshot"], "nothing trains on rows whose answers the prompt shows"
    assert [(note.kind, note.decision) for note in desk.notes() if note.kind == "axis"] == [
        ("axis", "pdo"),
        ("axis", "fewshot"),
    ]
    assert [ask.temperature for ask in desk.asks if ask.site == "auto.axis"] == [0.3, 0.3]


def test_the_first_phase_may_be_chosen_too() -> None:
    desk = rehearse("iterative", "structural", extra={"phase_budgets": ONE_EACH, "start_structural": False})
    assert begun(desk)[:2] == ["iterative", "structural"]


@pytest.mark.parametrize(
    ("text", "decision"),
    [
        ("structural", "unusable_reply"),
        ("gepa", "unusable_reply"),
        (None, "no_reply"),
        ('I think {"axis": "pdo"}', "unusable_reply"),
        ('{"reasoning": "pdo"}', "unusable_reply"),
        ('{"axis": ["pdo"]}', "unusable_reply"),
    ],
)
def test_a_choice_that_is_none_is_noted_and_the_first_unused_axis_taken(text: str | None, decision: str) -> None:
    desk = rehearse(text, extra={"phase_budgets": ONE_EACH, "max_phases": 2})
    assert begun(desk) == ["structural", "iterative"]
    (note,) = [note for note in desk.notes() if note.kind == "axis"]
    assert note.decision == decision


def test_no_axis_comes_back_while_another_is_unused() -> None:
    extra = {"phase_budgets": ONE_EACH, "max_phases": 6}
    desk = rehearse("iterative", "iterative", "iterative", "iterative", ideals=False, extra=extra)
    assert begun(desk) == ["structural", "iterative", "pdo", "iterative", "iterative", "iterative"]


def test_fewshot_is_no_choice_without_references() -> None:
    desk = rehearse("fewshot", "fewshot", ideals=False, extra={"phase_budgets": ONE_EACH})
    assert begun(desk)[:3] == ["structural", "iterative", "pdo"]
    assert "fewshot" not in begun(desk)
    assert "fewshot:" not in desk.at("auto.axis")[0]


def test_the_choice_shows_the_phases_so_far_and_the_best_prompt() -> None:
    desk = rehearse("iterative", "pdo", levels={"structural": 0.5}, extra={"phase_budgets": ONE_EACH, "max_phases": 3})
    first, second = desk.at("auto.axis")
    line = "Phase 1 (structural): 1 iterations, score 0.3025 → 0.5025 (+0.2000), converged=False"
    assert f"The phases so far:\n{line}\n" in first
    assert f"{line}\nPhase 2 (iterative): 1 iterations, score 0.5025 → 0.5025 (+0.0000), converged=False" in second
    assert "\nstructural 1\n" in first
    assert "Mean score 0.5025" in first


def test_every_phase_has_its_own_budget() -> None:
    desk = rehearse("iterative", "fewshot", extra={"max_phases": 3})
    assert iterations_by_phase(desk) == [BUDGETS["structural"], BUDGETS["iterative"], BUDGETS["fewshot"]]
    assert BUDGETS == {"structural": 3, "iterative": 4, "fewshot": 3, "pdo": 15}
    desk = rehearse("pdo", extra={"max_phases": 2, "phase_budgets": {"structural": 2, "pdo": 1}})
    assert iterations_by_phase(desk) == [2, 1]


@pytest.mark.parametrize("most", range(1, 8))
def test_all_phases_together_keep_to_the_runs_iterations(most: int) -> None:
    desk = rehearse("iterative", iterations=most, extra={"max_phases": 2})
    assert sum(iterations_by_phase(desk)) == most
    assert iterations_by_phase(desk) == [min(most, 3), most - 3][: 1 if most <= 3 else 2]
    assert len(desk.of(BeginPhase)) == len(desk.of(EndPhase))


def test_no_rewrite_is_left_unscored_at_the_end_of_a_phase() -> None:
    desk = rehearse("iterative", levels={"iterative": 0.5}, extra={"max_phases": 2})
    scored = {prompt for request in desk.of(Score) for prompt in request.prompts}
    assert {request.prompt for request in desk.of(Propose)} <= scored


def test_the_prompt_that_a_phase_begins_with_is_not_scored_again() -> None:
    desk = rehearse("iterative", levels={"structural": 0.5}, extra={"phase_budgets": TWO_EACH, "max_phases": 2})
    winner = desk.study.iterations[0].prompt
    assert desk.study.iterations[2].prompt == winner
    assert [request.prompts for request in desk.of(Score)].count(("Answer.",)) == 1
    assert sum(winner in request.prompts for request in desk.of(Score)) == 1


def test_a_phase_hands_on_its_best_prompt() -> None:
    desk = rehearse("iterative", "fewshot", levels={"structural": 0.5, "iterative": 0.6}, extra={"max_phases": 3})
    first_of_phase = [desk.study.iterations[place].prompt.split()[0] for place in (0, 3, 7)]
    assert first_of_phase == ["structural", "structural", "iterative"]


def test_a_phase_never_hands_on_a_worse_prompt_than_it_was_given() -> None:
    """Validation prefers what the iterative phase wrote, but it scores lower in training than what it was given."""
    desk = rehearse(
        "iterative",
        "pdo",
        levels={"structural": 0.6, "iterative": 0.2},
        extra={"phase_budgets": TWO_EACH, "max_phases": 3},
        validate=lambda prompt: 0.9 if prompt.startswith("iterative") else 0.5,
    )
    ends = [(request.score_before, request.score_after) for request in desk.of(EndPhase)]
    assert ends[1] == pytest.approx((0.6025, 0.2025))
    assert ends[2][0] == pytest.approx(0.6025)
    assert ends[2][1] is not None


def test_w14_phases_compare_training_means_also_where_prompts_duelled() -> None:
    desk = rehearse("pdo", "iterative", levels={"pdo": 0.2}, extra={"phase_budgets": TWO_EACH, "max_phases": 3})
    assert any(isinstance(request.event, DuelJudged) for request in desk.of(Note))
    whole = {found.score for found in desk.study.evaluations if len(samples_of(found)) == 6}
    ends = desk.of(EndPhase)
    assert all(end.score_before in whole and end.score_after in whole for end in ends)
    assert max(end.score_after for end in ends) < 0.4
    assert all(request.scored.score < 0.4 for request in desk.of(Complete))


@pytest.mark.parametrize("last", range(1, 8))
@pytest.mark.parametrize("reason", ["early_stopped", "no_scores", "max_iterations"])
def test_w15_a_stopped_phase_is_closed_with_its_measured_scores_and_ends_the_run(last: int, reason: str) -> None:
    desk = rehearse("iterative", levels={"structural": 0.5}, extra={"max_phases": 2}, stops={last: reason})
    assert len(desk.of(Complete)) == last
    assert isinstance(desk.requests[-2], Complete)
    end = desk.requests[-1]
    assert isinstance(end, EndPhase)
    assert (end.score_before, end.score_after) == pytest.approx((0.3025 if last <= 3 else 0.5025, 0.5025))


@pytest.mark.parametrize(
    ("least", "phases"), [(1, ["structural"]), (2, ["structural", "pdo"]), (3, ["structural", "pdo", "iterative"])]
)
def test_convergence_ends_the_run_after_the_least_number_of_phases(least: int, phases: list[str]) -> None:
    desk = rehearse(
        "pdo", "iterative", levels={"structural": 0.9}, converge_at=0.85, threshold=0.85, extra={"min_phases": least}
    )
    assert begun(desk) == phases
    assert [end.converged for end in desk.of(EndPhase)] == [True] * len(phases)
    assert isinstance(desk.requests[-1], EndPhase)


def test_with_batches_iterations_score_batches_and_phases_the_whole_set() -> None:
    everything = tuple(f"r{number}" for number in range(6))
    desk = rehearse(
        "iterative", levels={"structural": 0.5}, batch_size=2, extra={"phase_budgets": TWO_EACH, "max_phases": 2}
    )
    assert not any(request.scored.whole for request in desk.of(Complete))
    measured = [request for request in desk.of(Score) if request.samples == everything]
    assert [request.prompts[0].split()[0] for request in measured[:2]] == ["Answer.", "structural"]
    ends = [(end.score_before, end.score_after) for end in desk.of(EndPhase)]
    assert ends[0] == pytest.approx((0.3025, 0.5025))
    assert ends[1][0] == pytest.approx(0.5025)


def test_fewshots_prompts_are_compared_on_the_rows_that_none_of_them_shows() -> None:
    study = make_study(rows(6), strategy="auto", max_iterations=9, extra={"phase_budgets": TWO_EACH, "max_phases": 2})
    desk = Rehearsal(study, choosing("fewshot"), lambda prompt, _: 0.8 if "## Examples" in prompt else 0.3)
    desk.play(auto)
    _, end = desk.of(EndPhase)
    assert (end.score_before, end.score_after) == pytest.approx((0.3, 0.8))
    showing = [request for request in desk.of(Score) if "## Examples" in request.prompts[0]]
    assert showing
    assert all(request.samples is not None and len(request.samples) == 3 for request in showing)


@pytest.mark.parametrize("last", range(1, 5))
def test_nothing_is_scored_after_a_stop_with_batches_either(last: int) -> None:
    desk = rehearse("iterative", levels={"structural": 0.5}, batch_size=2, stops={last: "early_stopped"})
    assert [type(request) for request in desk.requests[-2:]] == [Complete, EndPhase]


def test_with_batches_a_prompt_that_is_kept_is_not_measured_again() -> None:
    desk = rehearse("iterative", batch_size=2, extra={"phase_budgets": ONE_EACH, "max_phases": 2})
    assert [request.prompts for request in desk.of(Score) if request.samples is not None] == [("Answer.",)]


def test_settings_that_change_on_the_way_hold_inside_of_the_phase() -> None:
    """A branch changes the settings of the study; the phase that is at work obeys."""
    study = make_study(rows(4), strategy="auto", max_iterations=9, extra={"max_phases": 1})
    base = choosing()

    def reply(ask: Ask, number: int) -> str | None:
        if number == 1:
            study.options = study.options.model_copy(update={"temperature": 0.1})
        return base(ask, number)

    desk = Rehearsal(study, reply)
    desk.play(auto)
    assert [ask.temperature for ask in desk.asks[:5]] == [0.5, 0.7, 0.7, 0.7, 0.8]
    assert {ask.temperature for ask in desk.asks[5:]} == {0.1}


@pytest.mark.parametrize(
    "extra",
    [
        {"max_phases": 0},
        {"min_phases": "2"},
        {"phases": 3},
        {"phase_budgets": {"gepa": 2}},
        {"phase_budgets": {"pdo": 0}},
        {"phase_budgets": {"pdo": 1.5}},
        {"start_structural": "no"},
        {"pdo_kwargs": {"initial_pool_size": -1}},
    ],
)
def test_options_that_do_not_serve_are_refused_before_anything_is_asked(extra: dict[str, Any]) -> None:
    with pytest.raises(Refused) as refused:
        auto(make_study(rows(2), strategy="auto", extra=extra))
    assert refused.value.rule == "strategy_options"
    assert str(refused.value).startswith("strategy ")


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.sampled_from([*AXES, None, "{"]), max_size=3),
    st.dictionaries(st.sampled_from(["structural", "iterative", "pdo"]), st.sampled_from([0.1, 0.3, 0.5, 0.8])),
    st.integers(1, 9),
    st.sampled_from([0, 2]),
)
def test_phases_open_and_close_in_turn_and_every_reply_ends_in_one_fact(
    axes: list[str | None], levels: dict[str, float], iterations: int, batch_size: int
) -> None:
    desk = rehearse(
        *axes, levels=levels, iterations=iterations, batch_size=batch_size, extra={"phase_budgets": TWO_EACH}
    )
    marks = [type(request) for request in desk.requests if isinstance(request, (BeginPhase, EndPhase))]
    assert marks == [BeginPhase, EndPhase] * (len(marks) // 2)
    facts = [request for request in desk.requests if isinstance(request, (Propose, Note))]
    assert [seq for fact in facts for seq in named(fact)] == desk.seqs
    befores = [end.score_before for end in desk.of(EndPhase)]
    assert all(isinstance(before, float) for before in befores)
    assert all("iterative" in text_of(ask) or "pdo" in text_of(ask) for ask in desk.asks if ask.site == "auto.axis")
