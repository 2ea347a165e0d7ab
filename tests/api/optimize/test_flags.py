from __future__ import annotations

from typing import Any

import pytest

from affidavit.api.optimize.flags import make_options
from affidavit.domain.errors import Refused


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"train_ratio": "x"}, "--train-split x: expected a valid number, unable to parse string as a number"),
        ({"train_ratio": 0.1}, "--val-split 0.2: expected less than 0.1, the share that it is taken from"),
        ({"threshold": -0.5}, "--threshold -0.5: expected greater than or equal to 0"),
        ({"models": ("a/b", "a/b")}, "--model a/b, a/b: expected each model once"),
        ({"models": ("a/b", 7)}, "--model 7: expected a valid string"),
        ({"speed": 3}, "--speed 3: Extra inputs are not permitted"),
    ],
)
def test_what_does_not_serve_is_refused_by_its_flag(setting: dict[str, Any], said: str) -> None:
    with pytest.raises(Refused) as caught:
        make_options({"models": ("a/b",), **setting})
    assert str(caught.value) == said
    assert caught.value.rule == "setting_valid"
