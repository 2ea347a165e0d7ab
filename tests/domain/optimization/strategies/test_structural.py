"""The structural strategy: rounds of variants, won by score and by a fixed order, never by arrival."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from affidavit.domain.model_calls import Ask
from affidavit.domain.optimization.conversation import Complete, Consult, Note, Propose, Score
from affidavit.domain.optimization.dataset import DataRow
from affidavit.domain.optimization.strategies.structural import FREE, LAYOUTS, structural

from .driving import make_study, named, rows
from .rehearsal import Rehearsal, revision, samples_of, text_of

ORDER = [*LAYOUTS]


def layout_of(ask: Ask) -> str:
    if ask.site == "structural.free_form":
        return FREE
    return next(name for name, told in LAYOUTS.items() if f"The layout: {told}" in text_of(ask))


def lay_out(fails: dict[str, str | None] | None = None) -> Callable[[Ask, int], str | None]:
    """Variants named by their layout and the number of the question; ``fails`` replaces the reply of a layout."""

    def reply(ask: Ask, number: int) -> str | None:
        if ask.site == "structural.analysis":
            return (fails or {}).get("analysis", f"Analysis {number}")
        name = layout_of(ask)
        return fails[name] if fails and name in fails else revision(f"{name} {number}", "moved parts")

    return reply


def by_layout(levels: dict[str, float | None]) -> Callable[[str, DataRow], float | None]:
    """The level of the first word of a prompt, 0.3 where none is given."""
    return lambda prompt, _: levels.get(prompt.split(" ")[0], 0.3)


def rehearse(
    levels: dict[str, float | None],
    iterations: int,
    fails: dict[str, str | None] | None = None,
    stops: dict[int, str] | None = None,
    converge_at: float = 2.0,
    **options: Any,
) -> Rehearsal:
    study = make_study(rows(4), strategy="structural", max_iterations=iterations, **options)
    desk = Rehearsal(study, lay_out(fails), by_layout(levels), stops=stops or {}, converge_at=converge_at)
    desk.play(structural)
    return desk


def test_a_round_is_one_analysis_one_batch_of_variants_and_one_scoring() -> None:
    desk = rehearse({"markdown_structure": 0.6}, 1)
    kinds = [type(request) for request in desk.requests]
    assert kinds == [Score, Consult, Note, Consult, *[Propose] * 4, Score, Complete]
    assert [ask.site for ask in desk.asks] == [
        "structural.analysis",
        *["structural.layout"] * 3,
        "structural.free_form",
    ]
    assert [ask.temperature for ask in desk.asks] == [0.5, 0.7, 0.7, 0.7, 0.8]
    current, variants = desk.of(Score)
    assert (current.purpose, variants.purpose, len(variants.prompts)) == ("train", "variant", 4)
    assert variants.parent.prompt == "Answer."


def test_each_variant_is_a_rewrite_of_its_own_layout_with_its_own_reply() -> None:
    desk = rehearse({}, 1)
    proposed = desk.of(Propose)
    assert [request.axis for request in proposed] == [*ORDER[:3], FREE]
    assert [request.change_summary for request in proposed] == [f"{name}: moved parts" for name in [*ORDER[:3], FREE]]
    assert all(request.parent.prompt == "Answer." and request.history == "(no changes yet)" for request in proposed)
    assert [seq for request in desk.requests for seq in _named(request)] == desk.seqs


def test_layouts_are_tried_in_order_and_anew_when_all_were() -> None:
    desk = rehearse({}, 4)
    asked = [layout_of(ask) for ask in desk.asks if ask.site != "structural.analysis"]
    assert asked == [*ORDER[:3], FREE, *ORDER[3:6], FREE, *ORDER[6:], FREE, *ORDER[:3], FREE]


def test_w12_the_last_rounds_winner_is_its_outcome() -> None:
    desk = rehearse({"markdown_structure": 0.6}, 1)
    assert [prompt.split()[0] for prompt in desk.scored_prompts()] == ["markdown_structure"]


def test_the_winner_becomes_the_current_prompt_without_being_scored_again() -> None:
    desk = rehearse({"markdown_structure": 0.6, "constraint_emphasis": 0.7}, 2)
    assert [prompt.split()[0] for prompt in desk.scored_prompts()] == ["markdown_structure", "constraint_emphasis"]
    assert [request.purpose for request in desk.of(Score)] == ["train", "variant", "variant"]
    assert desk.of(Propose)[4].parent is desk.of(Complete)[0].scored


@pytest.mark.parametrize(
    ("levels", "winner"),
    [
        ({"Answer.": 0.3}, "Answer."),
        ({"section_reorder": 0.2, "markdown_structure": 0.2, "minimal_flat": 0.2, FREE: 0.2}, "Answer."),
        ({"markdown_structure": 0.5, "minimal_flat": 0.5, FREE: 0.5}, "markdown_structure"),
        ({"minimal_flat": 0.5, FREE: 0.6}, FREE),
        ({"minimal_flat": 0.5, FREE: None}, "minimal_flat"),
        (dict.fromkeys([*ORDER, FREE]), "Answer."),
    ],
    ids=["all equal", "all worse", "tie", "free best", "a variant failed", "all failed"],
)
def test_the_best_that_is_strictly_better_wins_and_ties_go_by_layout(
    levels: dict[str, float | None], winner: str
) -> None:
    desk = rehearse(levels, 1)
    assert [prompt.split()[0] for prompt in desk.scored_prompts()] == [winner]


def test_a_variant_does_not_win_by_failing_where_others_score_low() -> None:
    def score(prompt: str, row: DataRow) -> float | None:
        if prompt.startswith("minimal_flat"):
            return None if row.id == "r0" else 0.8
        return 0.0 if row.id == "r0" else 0.9

    study = make_study(rows(4), strategy="structural", max_iterations=1)
    desk = Rehearsal(study, lay_out(), score)
    desk.play(structural)
    flat, current = desk.study.evaluations[3], desk.study.evaluations[0]
    assert (flat.score or 0) > (current.score or 0)
    assert desk.scored_prompts() == ["Answer."]


@pytest.mark.parametrize(
    ("text", "decision"),
    [(None, "no_reply"), ("Here you are.", "unusable_reply"), (revision("Answer."), "unchanged")],
)
def test_w24_an_unusable_variant_is_noted_and_the_others_compete(text: str | None, decision: str) -> None:
    desk = rehearse({"minimal_flat": 0.5, "section_reorder": 0.9}, 1, fails={"section_reorder": text})
    assert [request.axis for request in desk.of(Propose)] == [*ORDER[1:3], FREE]
    assert [(note.kind, note.decision) for note in desk.notes()] == [("analysis", None), ("variant", decision)]
    assert [prompt.split()[0] for prompt in desk.scored_prompts()] == ["minimal_flat"]
    assert [seq for request in desk.requests for seq in _named(request)] == desk.seqs


def test_a_round_without_usable_variants_ends_with_the_current_prompt() -> None:
    fails: dict[str, str | None] = dict.fromkeys([*LAYOUTS, FREE])
    desk = rehearse({}, 2, fails=fails)
    assert desk.scored_prompts() == ["Answer.", "Answer."]
    assert len(desk.of(Score)) == 1


def test_a_failed_analysis_is_noted_and_variants_are_written_without_it() -> None:
    desk = rehearse({}, 1, fails={"analysis": None})
    assert desk.notes()[0].decision == "no_reply"
    assert "An analysis of it:" not in desk.at("structural.layout")[0]
    assert "An analysis of it:" in rehearse({}, 1).at("structural.layout")[0]


def test_equal_variants_are_scored_once() -> None:
    same = revision("same")
    desk = rehearse({"same": 0.5}, 1, fails={"section_reorder": same, "minimal_flat": same})
    assert len(desk.of(Propose)) == 4
    assert [prompt.split()[0] for prompt in desk.of(Score)[1].prompts] == ["same", "markdown_structure", FREE]
    assert desk.scored_prompts() == ["same"]


def test_w11_the_analysis_sees_every_round_and_variant_beside_its_own_effect() -> None:
    desk = rehearse({"markdown_structure": 0.6}, 3)
    first, second, third = desk.at("structural.analysis")
    assert "(no rounds yet)" in first
    won = (
        "Iter 1 (score: 0.6000, Δ+0.3000 — ✓ helped): winner=markdown_structure  "
        f"tried=[section_reorder, markdown_structure, minimal_flat, {FREE}]"
    )
    none = (
        "Iter 2 (score: 0.6000, no better variant): winner=none  "
        f"tried=[xml_tags, constraint_emphasis, task_decomposition, {FREE}]"
    )
    assert f"\n{won}\n" in second
    assert f"\n{won}\n{none}\n" in third
    effect = "Change 2{}: 0.3000 → 0.6000 (Δ+0.3000, over the 4 samples that both share — ✓ helped): markdown_structure"
    assert effect.format("") in second
    assert desk.of(Propose)[4].history in second


@pytest.mark.parametrize("last", [1, 2, 3])
@pytest.mark.parametrize("reason", ["early_stopped", "branched"])
def test_it_returns_at_once_when_told_to_stop(last: int, reason: str) -> None:
    desk = rehearse({}, 9, stops={last: reason})
    assert len(desk.of(Complete)) == last
    assert isinstance(desk.requests[-1], Complete)


def test_a_winner_that_reaches_the_threshold_ends_it() -> None:
    desk = rehearse({"minimal_flat": 0.9}, 5, converge_at=0.85)
    assert [prompt.split()[0] for prompt in desk.scored_prompts()] == ["minimal_flat"]


def test_a_start_that_reaches_the_threshold_is_an_iteration_without_variants() -> None:
    desk = rehearse({"Answer.": 0.9}, 5, converge_at=0.85)
    assert [type(request) for request in desk.requests] == [Score, Complete]


def test_a_start_that_misses_a_higher_target_goes_on_to_variants() -> None:
    desk = rehearse({"Answer.": 0.9}, 3, converge_at=0.95)
    assert [type(request) for request in desk.requests][:3] == [Score, Complete, Consult]
    assert len(desk.of(Complete)) == 3


def test_a_start_without_scores_is_completed_as_it_is() -> None:
    desk = rehearse({"Answer.": None}, 5)
    assert [type(request) for request in desk.requests] == [Score, Complete]


def test_with_batches_every_round_scores_its_current_prompt_on_its_own_batch() -> None:
    desk = rehearse({"markdown_structure": 0.6}, 2, batch_size=2)
    assert [request.purpose for request in desk.of(Score)] == ["train", "variant", "train", "variant"]
    winner = desk.of(Complete)[0].scored
    again = desk.of(Score)[2]
    assert (again.prompts, again.parent.prompt) == ((winner.prompt,), "Answer.")
    ids = [[sample.id for sample in samples_of(found)] for found in desk.study.evaluations]
    assert ids == [["r0", "r1"]] * 5 + [["r2", "r3"]] * 5


LEVELS = st.dictionaries(st.sampled_from([*LAYOUTS, FREE]), st.sampled_from([0.1, 0.3, 0.5, 0.7, None]))
FAILS = st.dictionaries(st.sampled_from([*LAYOUTS, FREE, "analysis"]), st.sampled_from([None, "no section"]))


@given(LEVELS, FAILS, st.integers(1, 4))
def test_the_outcome_never_gets_worse_and_every_reply_ends_in_one_fact(
    levels: dict[str, float | None], fails: dict[str, str | None], iterations: int
) -> None:
    desk = rehearse(levels, iterations, fails=fails)
    outcomes = [request.scored.score for request in desk.of(Complete)]
    assert len(outcomes) == iterations
    assert outcomes == sorted(outcomes)
    assert [seq for request in desk.requests for seq in _named(request)] == desk.seqs


def _named(request: object) -> tuple[int, ...]:
    return named(request) if isinstance(request, (Propose, Note)) else ()
