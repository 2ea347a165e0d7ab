"""The language of a data set by its script, and the preamble that follows from it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from affidavit.domain.optimization.language import LONGEST, MOST_TEXTS, detect_language, preamble


@pytest.mark.parametrize(
    ("texts", "language"),
    [
        ([], "English"),
        (["", "12 + 3 = ?"], "English"),
        (["What is the capital of France?"], "English"),
        (["Où est la bibliothèque ?", "Größe"], "English"),
        (["Какая столица Франции?"], "Russian"),
        (["法国的首都是哪里？"], "Chinese"),
        (["フランスの首都はどこですか。東京都、京都府、大阪府"], "Japanese"),
        (["中文句子很长很长很长很长很长很长の"], "Chinese"),
        (["프랑스의 수도는 어디입니까?"], "Korean"),
        (["ما هي عاصمة فرنسا؟"], "Arabic"),
        (["מהי בירת צרפת?"], "Hebrew"),
        (["फ्रांस की राजधानी क्या है"], "Hindi"),
        (["Ποια είναι η πρωτεύουσα;"], "Greek"),
        (["เมืองหลวงของฝรั่งเศสคืออะไร"], "Thai"),
        (["Explain the word Москва and nothing else, please, in a sentence or two"], "English"),
        (["α" * 15 + "a" * 85], "Greek"),
        (["α" * 14 + "a" * 86], "English"),
        (["я" * 20 + "α" * 21 + "a" * 59], "Greek"),
    ],
)
def test_the_dominant_script_from_15_percent_of_the_letters_on_decides(texts: list[str], language: str) -> None:
    assert detect_language(texts) == language


def test_only_the_first_texts_and_characters_count() -> None:
    assert detect_language(["plain"] * MOST_TEXTS + ["Москва" * 1000]) == "English"
    assert detect_language(["plain"] * (MOST_TEXTS - 1) + ["Москва" * 1000]) == "Russian"
    assert detect_language(["a" * LONGEST + "я" * 10_000]) == "English"


@given(st.lists(st.text(), max_size=4))
def test_every_text_has_a_language(texts: list[str]) -> None:
    assert detect_language(texts).isalpha()


def test_english_alone_needs_no_preamble() -> None:
    assert preamble("English", None) == ""


def test_the_preamble_names_the_source_model_before_the_language() -> None:
    both = preamble("Greek", "openai/gpt-4o")
    assert both.index("openai/gpt-4o") < both.index("Greek")
    assert "English" not in preamble("English", "openai/gpt-4o")
    assert "in Greek" in preamble("Greek", None)
