"""Two prompts beside each other: every line of both, those that belong together in one row."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from affidavit.projections.runs.diff_rows import (
    CONTEXT,
    MOST_FOLDED,
    MOST_ROWS,
    DiffRow,
    SideBySide,
    side_by_side,
    unseen_characters,
)

_texts = st.text(st.sampled_from("ab \n.é"), max_size=60)


def _rows(found: SideBySide) -> list[DiffRow]:
    return [row for stretch in found.stretches for row in stretch.rows]


def _text(words: tuple[tuple[str, str], ...]) -> str:
    return "".join(text for _, text in words)


@given(_texts, _texts)
def test_each_side_holds_every_line_of_its_text_under_its_number(old: str, new: str) -> None:
    rows = _rows(side_by_side(old, new))
    before = [(row.old_line, _text(row.old)) for row in rows if row.old_line is not None]
    after = [(row.new_line, _text(row.new)) for row in rows if row.new_line is not None]
    assert before == list(enumerate(old.splitlines(), 1))
    assert after == list(enumerate(new.splitlines(), 1))


@given(_texts, _texts)
def test_a_row_is_the_same_on_both_sides_or_says_what_differs(old: str, new: str) -> None:
    for row in _rows(side_by_side(old, new)):
        match row.kind:
            case "same":
                assert row.old == row.new
            case "changed":
                assert _text(row.old) != _text(row.new)
                assert {"removed", "added"} & {op for op, _ in (*row.old, *row.new)}
            case "removed":
                assert row.new_line is None
            case "added":
                assert row.old_line is None


def test_a_line_stands_beside_the_one_that_it_became_and_its_words_tell_how() -> None:
    found = side_by_side(
        "Task\nAnswer in three sentences.\nEnd",
        "Task\nBe polite to everybody here.\nAnswer in two sentences.\nEnd",
    )
    assert [row.kind for row in _rows(found)] == ["same", "added", "changed", "same"]
    changed = _rows(found)[2]
    assert ("removed", "three") in changed.old
    assert ("added", "two") in changed.new
    assert (found.removed, found.added) == (1, 2)


def test_lines_that_have_little_in_common_are_not_set_beside_each_other() -> None:
    found = side_by_side("Be brief and kind.", "Return one JSON object per incident.")
    assert [row.kind for row in _rows(found)] == ["removed", "added"]


def test_what_is_far_from_a_change_is_folded_and_counted_whole() -> None:
    lines = [f"line {n}" for n in range(50)]
    found = side_by_side("\n".join(lines), "\n".join([*lines, "one more"]))
    assert [(stretch.folded, len(stretch.rows)) for stretch in found.stretches] == [
        (True, 50 - CONTEXT),
        (False, CONTEXT + 1),
    ]


def test_the_same_text_differs_in_nothing() -> None:
    found = side_by_side("a\nb", "a\nb")
    assert found.is_same
    assert [row.kind for row in _rows(found)] == ["same", "same"]


def test_texts_without_end_are_cut_and_what_is_left_out_is_counted() -> None:
    lines = [f"line {n}" for n in range(MOST_ROWS + 500)]
    found = side_by_side("\n".join(lines), "\n".join(["first", *lines]))
    assert found.left_out == 501
    assert sum(stretch.left_out for stretch in found.stretches) == MOST_ROWS - 1 - CONTEXT - MOST_FOLDED


def test_a_difference_in_line_endings_only_is_said() -> None:
    assert side_by_side("a\nb", "a\r\nb").limits == ("lines: the texts differ in line endings only",)


def test_characters_that_do_not_show_are_named() -> None:
    assert unseen_characters("a\u202eb\u202e\u200bc\n\t\x1b") == [("U+202E", 2), ("U+200B", 1), ("U+001B", 1)]
    assert unseen_characters("👩\u200d👧 می\u200cخواهم\n") == []


def test_lines_that_take_too_much_work_stand_alone_and_that_is_told() -> None:
    words = " ".join(f"word{number}" for number in range(30_000))
    found = side_by_side(f"{words}\nlast", "\n".join(f"line {number}" for number in range(100)) + "\nlast")
    assert {row.kind for row in _rows(found)} == {"removed", "added", "same"}
    assert any("shown as replaced" in limit for limit in found.limits)
