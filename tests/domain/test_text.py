from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from affidavit.domain.text import without_surrogates


@given(st.text(st.characters(codec="utf-8")))
def test_text_that_utf_8_can_encode_stays(text: str) -> None:
    assert without_surrogates(text) == text


def test_a_lone_surrogate_becomes_its_escape() -> None:
    assert without_surrogates("é \ud800!") == "é \\ud800!"
    assert without_surrogates("\udfff") == "\\udfff"
