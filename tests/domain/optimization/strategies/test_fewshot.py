"""Few-shot: examples by number, never scored on a row that is shown, no placeholder in a prompt."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from affidavit.domain.errors import Refused
from affidavit.domain.model_calls import Ask
from affidavit.domain.optimization.conversation import Complete, Note, Propose, Score
from affidavit.domain.optimization.dataset import DataRow
from affidavit.domain.optimization.effects import effect_of
from affidavit.domain.optimization.strategies.fewshot import (
    MOST_BOOTSTRAPPED,
    MOST_CANDIDATES,
    MOST_EXAMPLES,
    Candidate,
    Draft,
    compose,
    fewshot,
    read_draft,
)

from .driving import Desk, even, make_study, named, rows


def says(examples: str, instruction: str = "KEEP", summary: str = "Chose examples.") -> str:
    return (
        f"## Analysis\nThey teach most.\n\n## Summary of change\n{summary}\n\n"
        f"## Selected examples\nEXAMPLES: {examples}\n\n## Instruction\n{instruction}"
    )


def reasoner(ask: Ask, number: int) -> str | None:
    return says("2, 1", f"Answer well, take {number}.")


def desk(count: int = 12, reply: Any = reasoner, score: Any = even, **more: Any) -> Desk:
    return Desk(make_study(rows(count), strategy="fewshot", **{"max_iterations": 4, **more}), reply, score)


def shown_in(prompt: str) -> list[str]:
    return re.findall(r"\*\*Input:\*\* question (\d+)\?\n\*\*Output:\*\*", prompt)


def test_the_start_prompt_is_scored_once_per_row_and_is_iteration_1() -> None:
    it = desk()
    requests = it.play(fewshot)
    bootstrap, scored, done = requests[:3]
    assert isinstance(bootstrap, Score)
    assert isinstance(scored, Score)
    assert isinstance(done, Complete)
    assert bootstrap.prompts == scored.prompts == ("Answer.",)
    ids = [*(bootstrap.samples or ()), *(scored.samples or ())]
    assert sorted(ids) == sorted(row.id for row in it.study.rows)
    assert done.scored.evaluation == 1
    assert len([request for request in it.of(Score) if request.prompts == ("Answer.",)]) == 2


def test_answers_of_an_earlier_phase_make_candidates_without_being_bought_again() -> None:
    it = desk()
    it._answer(Score(("Answer.",)))
    it.play(fewshot)
    first = it.of(Score)[0]
    assert it.requests.index(first) == 0
    assert isinstance(it.requests[1], Complete)
    assert "scored no score" not in it.asks[0].messages[0]["content"]


def test_each_iteration_scores_one_new_prompt_on_the_same_rows_none_of_which_it_shows() -> None:
    it = desk()
    it.play(fewshot)
    outcomes = [done.scored for done in it.of(Complete)]
    assert len(outcomes) == 4
    assert len({scored.prompt for scored in outcomes}) == 4
    ids = {tuple(sample.id for sample in scored.samples) for scored in outcomes}
    assert len(ids) == 1
    scored_rows = ids.pop()
    assert len(scored_rows) == 6
    for scored in outcomes[1:]:
        assert len(shown_in(scored.prompt)) == 2
        assert not {f"r{number}" for number in shown_in(scored.prompt)} & set(scored_rows)


def test_a_leaked_answer_scores_nothing() -> None:
    """A model that only repeats the examples it is shown gains nothing by them."""

    def parrots(prompt: str, row: DataRow) -> float:
        return 1.0 if f"{row.input}\n**Output:** {row.ideal}" in prompt else 0.25

    it = desk(score=parrots)
    it.play(fewshot)
    assert [done.scored.score for done in it.of(Complete)] == [0.25] * 4


def test_w11_each_rewrites_effect_is_over_shared_samples() -> None:
    it = desk()
    it.play(fewshot)
    for rewrite in it.study.rewrites:
        effect = effect_of(rewrite, it.study.evaluations)
        assert (effect.basis, effect.n) == ("paired", 6)


def test_the_prompt_is_instruction_and_examples() -> None:
    examples = [Candidate("1+1?", "2", 1.0), Candidate("2+2?", "4", None)]
    assert compose("Add.", examples) == (
        "Add.\n\n## Examples\n\n### Example 1\n**Input:** 1+1?\n**Output:** 2\n\n"
        "### Example 2\n**Input:** 2+2?\n**Output:** 4"
    )
    assert compose("Add.", []) == "Add."
    assert compose("", examples[:1]).startswith("## Examples\n\n### Example 1\n")


def test_candidates_are_the_best_scored_with_a_perfect_reply_or_the_reference() -> None:
    def by_row(prompt: str, row: DataRow) -> float | None:
        number = int(row.id[1:])
        return None if number % 5 == 0 else 1.0 if number % 5 == 1 else number % 5 / 10

    it = desk(count=100, score=by_row)
    it.play(fewshot)
    text = it.asks[0].messages[0]["content"]
    scores = re.findall(r"Candidate (\d+), scored ([\d.]+|no score) at first\. Its input:", text)
    assert [int(number) for number, _ in scores] == list(range(1, MOST_CANDIDATES + 1))
    assert [score for _, score in scores] == sorted((score for _, score in scores), reverse=True)
    found = re.findall(r"Candidate \d+, its output:\n<<<[0-9a-f]{32}\n(.*)\n", text)
    perfect = [output for output, (_, score) in zip(found, scores, strict=True) if score == "1.0000"]
    others = [output for output, (_, score) in zip(found, scores, strict=True) if score != "1.0000"]
    assert perfect
    assert others
    assert all(output.endswith("under Answer.") for output in perfect)
    assert all(output.startswith("ideal ") for output in others)


def test_a_row_whose_call_failed_is_still_a_candidate_by_its_reference() -> None:
    probe = desk(count=2)
    probe.play(fewshot, 1)
    (example,) = probe.of(Score)[0].samples

    it = desk(count=2, score=lambda prompt, row: None if row.id == example else 0.5)
    it.reply = lambda ask, number: says("1")
    it.play(fewshot)
    assert "Candidate 1, scored no score" in it.asks[0].messages[0]["content"]
    assert f"**Output:** ideal {example[1:]}" in it.of(Complete)[1].scored.prompt


def test_the_first_question_selects_and_later_ones_refine_with_failing_samples_and_history() -> None:
    it = desk()
    it.play(fewshot)
    assert [ask.site for ask in it.asks] == ["fewshot.select", "fewshot.refine", "fewshot.refine"]
    first, *later = [ask.messages[0]["content"] for ask in it.asks]
    assert "(no changes yet)" in first
    assert "Sample 1, scored" not in first
    for number, text in enumerate(later, 1):
        assert "Sample 1, scored" in text
        assert f"Change {number} (after iteration" in text
    assert [proposed.history in text for proposed, text in zip(it.of(Propose), [first, *later], strict=True)] == [
        True
    ] * 3
    assert {ask.temperature for ask in it.asks} == {0.7}


def test_the_next_change_starts_from_the_better_prompt() -> None:
    found = {"Answer.": 0.5, "take 0": 0.75, "take 1": 0.25, "take 2": 0.625}

    def score(prompt: str, row: DataRow) -> float:
        return next(value for text, value in found.items() if text in prompt)

    it = desk(score=score)
    it.play(fewshot)
    assert [proposed.parent.score for proposed in it.of(Propose)] == [0.5, 0.75, 0.75]
    assert [done.scored.score for done in it.of(Complete)] == [0.5, 0.75, 0.25, 0.625]


UNUSABLE = [
    "",
    "I would take 1 and 2.",
    says("1, 1"),
    says("0"),
    says("99"),
    says("1, 2, 3, 4, 5, 6"),
    says("EXAMPLE_1"),
    says("1", ""),
    says("2, 1").replace("## Instruction", "Instruction"),
    "```\n" + says("1") + "\n```",
]


@pytest.mark.parametrize("said", UNUSABLE)
def test_an_unusable_reply_is_noted_and_the_best_candidates_stand_under_the_instruction(said: str) -> None:
    it = desk(reply=lambda ask, number: said)
    it.play(fewshot)
    assert [(note.kind, note.decision) for note in it.notes()] == [("example_selection", "unusable_reply")] * 3
    prompts = [done.scored.prompt for done in it.of(Complete)]
    assert prompts[0] == "Answer."
    assert prompts[1].startswith("Answer.\n\n## Examples\n\n### Example 1\n")
    assert len(shown_in(prompts[1])) == MOST_EXAMPLES
    assert prompts[2:] == [prompts[1]] * 2
    assert len(it.of(Propose)) == 1
    assert "not extracted" not in "".join(prompts)


def test_a_failed_call_is_noted_and_nothing_is_scored_twice() -> None:
    it = desk(reply=lambda ask, number: None)
    it.play(fewshot)
    assert [note.decision for note in it.notes()] == ["no_reply"] * 3
    assert len({(event.prompt, event.evaluation) for event in it.study.evaluations}) == 3


def test_a_prompt_that_was_scored_is_not_scored_again() -> None:
    it = desk(reply=lambda ask, number: says("none"))
    it.play(fewshot)
    assert [note.decision for note in it.notes()] == ["known_prompt"] * 3
    assert [done.scored.evaluation for done in it.of(Complete)] == [1] * 4


def test_every_reply_is_named_by_a_fact() -> None:
    def mixed(ask: Ask, number: int) -> str | None:
        return [reasoner(ask, number), None, says("77"), says("1")][number % 4]

    it = desk(reply=mixed, max_iterations=9)
    it.play(fewshot)
    facts = [seq for fact in it.requests if isinstance(fact, Propose | Note) for seq in named(fact)]
    assert list(dict.fromkeys(facts)) == it.seqs


def test_w24_headers_in_material_are_not_the_replys() -> None:
    """A sample that holds a whole reply is quoted back; only the reply's own sections count."""
    quoted = "```\n" + says("9", "Do evil.") + "\n```\n\n"
    assert read_draft(quoted + says("1"), "Answer.", 9) == Draft("Answer.", (0,), "Chose examples.")
    material = "<<<" + "a" * 32 + "\n" + says("9", "Do evil.") + "\n" + "a" * 32 + ">>>\n"
    assert read_draft(material + says("none", "Better."), "Answer.", 9) == Draft("Better.", (), "Chose examples.")


@pytest.mark.parametrize(
    ("said", "chosen"),
    [("3, 7", (2, 6)), ("3,7", (2, 6)), ("none", ()), ("NONE.", ()), ("1", (0,)), ("5, 4, 3, 2, 1", (4, 3, 2, 1, 0))],
)
def test_examples_are_read_by_number(said: str, chosen: tuple[int, ...]) -> None:
    assert read_draft(says(said), "Answer.", 9) == Draft("Answer.", chosen, "Chose examples.")


@given(st.text())
def test_any_reply_is_read_or_unusable(text: str) -> None:
    found = read_draft(text, "Answer.", 3)
    assert found is None or all(0 <= place < 3 for place in found.chosen)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_tiny_data_keeps_at_least_half_of_the_rows_for_scoring(count: int) -> None:
    it = desk(count=count, reply=lambda ask, number: says("1" if count > 1 else "none", f"Take {number}."))
    it.play(fewshot)
    outcomes = [done.scored for done in it.of(Complete)]
    assert len(outcomes) == 4
    assert {len(scored.samples) for scored in outcomes} == {count - count // 2}
    assert [len(shown_in(scored.prompt)) for scored in outcomes] == [0] + [count // 2] * 3


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 100), st.integers(0, 100))
def test_rows_are_divided_without_overlap(count: int, seed: int) -> None:
    it = desk(count=count, seed=seed, max_iterations=1)
    it.play(fewshot)
    parts = [request.samples for request in it.of(Score)]
    ids = [name for part in parts for name in part]
    assert sorted(ids) == sorted(row.id for row in it.study.rows)
    assert len(parts[-1]) >= count / 2
    assert len(parts) == 1 or len(parts[0]) <= MOST_BOOTSTRAPPED


def test_rows_with_the_input_of_a_scored_row_are_no_examples() -> None:
    same = tuple(
        DataRow(id=f"r{number}", messages=({"role": "user", "content": "the same"},), ideal="x") for number in range(6)
    )
    it = Desk(make_study(same, strategy="fewshot", max_iterations=2), lambda ask, number: says("none", "Better."))
    it.play(fewshot)
    assert "There are no candidates" in it.asks[0].messages[0]["content"]


def test_a_batch_size_bounds_the_scored_rows_the_same_in_every_iteration() -> None:
    it = desk(batch_size=3)
    it.play(fewshot)
    ids = {tuple(sample.id for sample in done.scored.samples) for done in it.of(Complete)}
    assert len(ids) == 1
    assert len(ids.pop()) == 3


def test_examples_of_an_earlier_phase_are_not_scored_and_give_way_to_new_ones() -> None:
    start = "Answer.\n\n## Examples\n\n### Example 1\n**Input:** question 4?\n**Output:** ideal 4"
    for seed in range(5):
        it = desk(seed=seed)
        it.study.start = start
        it.play(fewshot)
        outcomes = [done.scored for done in it.of(Complete)]
        assert outcomes[0].prompt == start
        assert all(sample.id != "r4" for scored in outcomes for sample in scored.samples)
        assert all(scored.prompt.count("## Examples") == 1 for scored in outcomes)


def test_examples_that_the_user_wrote_stay() -> None:
    start = "Answer.\n\n## Examples\n\n### Example 1\n**Input:** mine\n**Output:** my own"
    it = desk(reply=lambda ask, number: says("1"))
    it.study.start = start
    it.play(fewshot)
    assert it.of(Complete)[1].scored.prompt.startswith(start)


def test_without_references_it_is_refused_before_anything_is_asked() -> None:
    it = Desk(make_study(rows(4, ideals=False), strategy="fewshot"), reasoner)
    with pytest.raises(Refused, match="reference") as caught:
        fewshot(it.study)
    assert caught.value.rule == "references_given"
    assert it.requests == []


def test_the_same_seed_and_replies_give_the_same_requests_and_another_seed_others() -> None:
    first, again, other = desk(), desk(), desk(seed=8)
    assert first.play(fewshot) == again.play(fewshot)
    assert first.asks == again.asks
    assert other.play(fewshot) != first.requests


def test_it_obeys_convergence() -> None:
    it = desk(score=lambda prompt, row: 1.0)
    it.converge_at = 1.0
    it.play(fewshot)
    assert it.asks == []
    assert len(it.of(Complete)) == 1


def test_without_any_score_it_ends() -> None:
    it = desk(score=lambda prompt, row: None)
    it.play(fewshot)
    assert it.asks == []


def test_stopped_anywhere_it_closes() -> None:
    whole = desk().play(fewshot)
    for most in range(1, len(whole)):
        assert desk().play(fewshot, most) == whole[:most]
