"""Prompt diffs by line and by word."""

from __future__ import annotations

import difflib
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from affidavit.domain.errors import Refused
from affidavit.projections.runs.prompt_diff import MAX_LINES, Work, diff_iterations, diff_prompts, render_words
from affidavit.projections.runs.record import RunRecord

_texts = st.text(st.sampled_from("ab \n.é"), max_size=60)


@given(_texts, _texts, st.integers(0, 4))
def test_lines_are_what_difflib_says(old: str, new: str, context: int) -> None:
    found = diff_prompts(old, new, "a", "b", context)
    expected = difflib.unified_diff(old.splitlines(), new.splitlines(), "a", "b", lineterm="", n=context)
    assert list(found.lines) == list(expected)
    endings_only = old != new and old.splitlines() == new.splitlines()
    assert found.limits == (("lines: the texts differ in line endings only",) if endings_only else ())


@given(_texts, _texts)
def test_words_hold_both_texts(old: str, new: str) -> None:
    words = diff_prompts(old, new).words
    assert "".join(text for op, text in words if op != "added") == old
    assert "".join(text for op, text in words if op != "removed") == new


def test_words_are_marked_for_a_terminal() -> None:
    words = diff_prompts("Answer the question.", "Answer one question!").words
    assert render_words(words) == "Answer [-the-]{+one+} question[-.-]{+!+}"


def test_two_iterations_are_compared_and_0_is_the_initial_prompt(run: RunRecord) -> None:
    assert diff_iterations(run, 2, 3).lines == (
        "--- iteration 2",
        "+++ iteration 3",
        "@@ -1 +1,2 @@",
        " Answer in one sentence.",
        "+<xml/>",
    )
    assert diff_iterations(run, 0, 1).lines == ()
    with pytest.raises(Refused, match="no iteration 9"):
        diff_iterations(run, 0, 9)


def test_a_withheld_prompt_is_not_compared(withheld_run: RunRecord) -> None:
    found = diff_iterations(withheld_run, 0, 2)
    assert (found.lines, found.words) == ((), ())
    assert found.limits == ("initial prompt: the prompt is withheld", "iteration 2: the prompt is withheld")


def test_a_change_in_a_huge_prompt_is_still_exact() -> None:
    lines = [f"line {number}" for number in range(3 * MAX_LINES)]
    changed = [*lines[:100], "another", *lines[101:]]
    found = diff_prompts("\n".join(lines), "\n".join(changed), context=1)
    assert found.limits == ()
    assert found.lines[2:] == ("@@ -100,3 +100,3 @@", " line 99", "-line 100", "+another", " line 101")


@pytest.mark.parametrize("separator", ["\n", " ", "\n\n"])
def test_two_huge_prompts_do_not_hang_and_say_what_was_not_compared(separator: str) -> None:
    draw = random.Random(1)
    words = [f"w{draw.randrange(500)}" for _ in range(350_000)]
    old, new = separator.join(words), separator.join(reversed(words))
    found = diff_prompts(old, new)
    assert any(limit.startswith("words: ") for limit in found.limits)
    assert "".join(text for op, text in found.words if op != "added") == old


def test_the_hardest_texts_within_the_bound_do_not_hang() -> None:
    draw = random.Random(1)
    hard = [str(draw.randrange(100)) for _ in range(MAX_LINES)]
    other = draw.sample(hard, len(hard))
    diff_prompts("\n".join(hard), "\n".join(other))


def test_few_lines_that_take_much_work_are_shown_as_replaced() -> None:
    """Each of 49 lines stands 20 times on either side, never beside the same one: difflib alone takes seconds."""
    often, once = [f"often {n}" for n in range(49)], [f"once {n}" for n in range(2_000)]
    old, new = ("\n".join(f"{often[n % 49]}\n{once[start + n]}" for n in range(1_000)) for start in (0, 1_000))
    found = diff_prompts(old, new)
    assert any(limit.startswith("lines: ") for limit in found.limits)
    assert [line[1:] for line in found.lines if line[0] == "-"][1:] == old.splitlines()[1:]


def test_what_is_asked_together_shares_the_bound_of_its_work() -> None:
    assert not diff_prompts("one two", "two one").limits
    assert diff_prompts("one two", "two one", work=Work(left=3)).limits
