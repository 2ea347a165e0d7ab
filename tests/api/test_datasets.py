"""Data sets are read in the usual forms, and what is wrong with one is said with its line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from affidavit.api import datasets
from affidavit.api.datasets import read_dataset, read_inputs
from affidavit.domain.errors import Refused
from affidavit.domain.optimization.dataset import NO_USER_MESSAGE, DataRow, Dataset
from affidavit.ledger.errors import Unavailable

Said = list[tuple[str, str]]
USER = {"role": "user", "content": "q"}


def written(folder: Path, content: str | bytes, name: str = "data.jsonl") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def lines(*records: object) -> str:
    return "".join(json.dumps(record) + "\n" for record in records)


def said(row: DataRow) -> Said:
    return [(message["role"], message["content"]) for message in row.messages]


@pytest.mark.parametrize(
    ("record", "messages", "ideal"),
    [
        ({"messages": [USER], "ideal": "a"}, [("user", "q")], "a"),
        ({"messages": [USER], "ideal": 30}, [("user", "q")], "30"),
        ({"messages": [USER], "ideal": None}, [("user", "q")], None),
        ({"messages": [USER], "ideal": ""}, [("user", "q")], ""),
        (
            {"messages": [{"role": "system", "content": "s"}, USER, {"role": "assistant", "content": "a"}, USER]},
            [("system", "s"), ("user", "q"), ("assistant", "a"), ("user", "q")],
            None,
        ),
        (
            {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]},
            [("user", "q")],
            "a",
        ),
        (
            {
                "conversations": [
                    {"from": "system", "value": "s"},
                    {"from": "user", "value": "q"},
                    {"from": "bing", "value": "a"},
                    {"from": "human", "value": "r"},
                ]
            },
            [("system", "s"), ("user", "q"), ("assistant", "a"), ("user", "r")],
            None,
        ),
        (
            {"instruction": "do", "input": "x", "output": "y", "system": "s"},
            [("system", "s"), ("user", "do\n\nx")],
            "y",
        ),
        ({"instruction": "do", "input": "", "response": "y"}, [("user", "do")], "y"),
        ({"prompt": "do", "input": None}, [("user", "do")], None),
    ],
)
def test_each_known_form_is_read(tmp_path: Path, record: object, messages: Said, ideal: str | None) -> None:
    (row,) = read_dataset(written(tmp_path, lines(record))).rows
    assert (said(row), row.ideal) == (messages, ideal)


@pytest.mark.parametrize(
    ("record", "message", "ideal"),
    [
        ({"q": "x", "r": "y"}, "x", "y"),
        ({"q": {"a": "é"}, "r": ["y", 1]}, '{"a": "é"}', '["y", 1]'),
        ({"q": 5, "r": False}, "5", "false"),
        ({"q": "x", "r": None}, "x", None),
    ],
)
def test_named_fields_are_read_and_kept_as_json(
    tmp_path: Path, record: object, message: str, ideal: str | None
) -> None:
    (row,) = read_dataset(written(tmp_path, lines(record)), "q", "r").rows
    assert (said(row), row.ideal) == ([("user", message)], ideal)


def test_one_named_field_goes_with_the_usual_other(tmp_path: Path) -> None:
    path = written(tmp_path, lines({"q": "x", "input": "z", "ideal": "y", "out": "w"}))
    assert [(row.input, row.ideal) for row in read_dataset(path, "q").rows] == [("x", "y")]
    assert [(row.input, row.ideal) for row in read_dataset(path, None, "out").rows] == [("z", "w")]


def test_ids_are_the_records_own_or_their_numbers(tmp_path: Path) -> None:
    records = [{"id": "k", "prompt": "a"}, {"prompt": "b"}, {"id": 7, "prompt": "c"}, {"id": None, "prompt": "d"}]
    path = written(tmp_path, "\n" + lines(*records[:2]) + " \n" + lines(*records[2:]))
    assert [row.id for row in read_dataset(path).rows] == ["k", "2", "7", "4"]


def test_rows_without_references_are_named_and_not_refused(tmp_path: Path) -> None:
    """In Reflex one missing reference makes the whole set label-free, silently."""
    found = read_dataset(written(tmp_path, lines({"prompt": "a", "output": "x"}, {"id": "n", "prompt": "b"})))
    assert found.missing_ideals == ("n",)
    assert not found.has_ideals
    assert read_dataset(written(tmp_path, lines({"prompt": "a", "output": "x"}))).has_ideals


def test_marks_line_ends_and_separators_do_not_break_records(tmp_path: Path) -> None:
    text = "\ufeff" + '{"prompt": "a\u2028b\x85c"}\r\n\r\n{"prompt": "d"}'
    assert [row.input for row in read_dataset(written(tmp_path, text)).rows] == ["a\u2028b\x85c", "d"]


REFUSED = [
    ("", None, "expected at least one record, found none"),
    ("\n \n", None, "expected at least one record, found none"),
    ('{"prompt": "a"}\n{"prompt": "b"\n', 2, "expected JSON, found at column 15"),
    ('{"prompt": "a"}\n\n["b"]\n', 3, "expected a JSON object, found a list"),
    ('{"prompt": "a", "prompt": "b"}', 1, "expected JSON, found: the key 'prompt' twice"),
    ('{"prompt": "a", "output": NaN}', 1, "expected JSON, found: NaN"),
    ('{"prompt": ' + "[" * 100_000, 1, "expected JSON, found: "),
    ('{"prompt": ' + "9" * 5000 + "}", 1, "expected JSON, found: "),
    ('{"prompt": "\\ud800"}', 1, "expected Unicode text"),
    ('{"question": "a", "answer": "b"}', 1, "found 'question', 'answer'"),
    ("{}", 1, "found no field"),
    (lines({"prompt": "a"}, {"messages": [USER]}), 2, "expected Alpaca, the form of line 1, found OpenAI"),
    (lines({"prompt": ["a"]}), 1, "prompt: expected text, found a list"),
    (lines({"prompt": "a", "output": ["b"]}), 1, "output: expected text, found a list"),
    (lines({"prompt": "  "}), 1, "expected a message of the user, found none"),
    (lines({"messages": []}), 1, "messages: expected a list of messages, found an empty list"),
    (lines({"messages": "q"}), 1, "messages: expected a list of messages, found text"),
    (lines({"messages": ["q"]}), 1, "messages[0]: expected an object, found text"),
    (lines({"messages": [{"role": "tool", "content": "q"}]}), 1, "messages[0].role: expected one of"),
    (lines({"messages": [{"role": "user", "content": None}]}), 1, "messages[0].content: expected text, found nothing"),
    (lines({"messages": [{"role": "system", "content": "s"}]}), 1, "expected a message of the user"),
    (lines({"messages": [USER, {"role": "assistant", "content": "a"}]}), 1, "found the assistant's"),
    (lines({"conversations": [{"from": "gpt", "value": "a"}]}), 1, "expected a message of the user"),
    (lines({"conversations": [{"from": "observer", "value": "a"}]}), 1, "conversations[0].from: expected one of"),
    (lines({"id": "x", "prompt": "a"}, {"id": "x", "prompt": "b"}), 2, "expected another id than line 1, found 'x'"),
    (lines({"id": "2", "prompt": "a"}, {"prompt": "b"}), 2, "found '2' as its number"),
    (lines({"id": 1.5, "prompt": "a"}), 1, "id: expected text or a whole number, found 1.5"),
    (lines({"id": True, "prompt": "a"}), 1, "id: expected text or a whole number, found True"),
    (lines({"id": "", "prompt": "a"}), 1, "id: expected text or a whole number, found ''"),
]


@pytest.mark.parametrize(("text", "line", "message"), REFUSED, ids=range(len(REFUSED)))
def test_bad_input_is_refused_with_its_line(tmp_path: Path, text: str, line: int | None, message: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(Refused) as refused:
        read_dataset(path)
    place = f"{path}: " if line is None else f"{path}, line {line}: "
    assert refused.value.rule == "dataset_readable"
    assert str(refused.value).startswith(place)
    assert message in str(refused.value)


def test_what_is_not_utf_8_is_refused_with_its_line(tmp_path: Path) -> None:
    path = written(tmp_path, b'{"prompt": "a"}\n{"prompt": "\xe9"}\n')
    with pytest.raises(Refused, match="line 2: expected UTF-8, found the byte 0xe9"):
        read_dataset(path)


def test_named_fields_must_be_there(tmp_path: Path) -> None:
    path = written(tmp_path, lines({"q": "x"}, {"r": "y"}))
    with pytest.raises(Refused, match="line 2: expected the field 'q', found 'r'"):
        read_dataset(path, "q")
    path = written(tmp_path, lines({"q": "x", "r": "y"}))
    with pytest.raises(Refused, match="expected the field 'refrence', found it in no record"):
        read_dataset(path, "q", "refrence")


def test_a_number_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="line 1: expected numbers that fit"):
        read_dataset(written(tmp_path, '{"q": [1e400]}'), "q")


def test_limits_are_stated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, lines({"prompt": "a"}, {"prompt": "b"}))
    monkeypatch.setattr(datasets, "MAX_ROWS", 1)
    with pytest.raises(Refused, match="line 2: expected at most 1 records"):
        read_dataset(path)
    monkeypatch.setattr(datasets, "MAX_FILE_BYTES", 10)
    with pytest.raises(Refused, match="expected at most 10 bytes"):
        read_dataset(path)


@pytest.mark.parametrize("read", [read_dataset, read_inputs])
def test_a_file_that_cannot_be_read_is_unavailable(tmp_path: Path, read: object) -> None:
    assert callable(read)
    with pytest.raises(Unavailable, match=r"nowhere\.jsonl"):
        read(tmp_path / "nowhere.jsonl")


def test_csv_has_columns_input_and_ideal(tmp_path: Path) -> None:
    text = '\ufeffid,input,ideal,more\r\nk,"a, ""b""\nc",x,1\r\n\r\n,,,\r\n,d,,\r\n'
    found = read_dataset(written(tmp_path, text, "data.CSV"))
    assert [(row.id, row.input, row.ideal) for row in found.rows] == [("k", 'a, "b"\nc', "x"), ("2", "d", None)]


def test_csv_columns_can_be_named(tmp_path: Path) -> None:
    path = written(tmp_path, "q,r\na,b\n", "data.csv")
    assert [(row.input, row.ideal) for row in read_dataset(path, "q", "r").rows] == [("a", "b")]
    assert read_dataset(path, "q").missing_ideals == ("1",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected at least one record, found none"),
        ("input,ideal\n", "expected at least one record, found none"),
        ("question,ideal\na,b\n", "line 1: expected the column 'input', found 'question', 'ideal'"),
        ("input,input\na,b\n", "line 1: expected each column once, found 'input' again"),
        ('input,ideal\n"a\nb",c\nd,e,f\n', "line 4: expected 2 cells, as in the header, found 3"),
        ("input,ideal\na\n", "line 2: expected 2 cells, as in the header, found 1"),
        ("input,ideal\n,b\n", "line 2: expected a message of the user, found none"),
        ('input,ideal\na,"b\n', "line 2: expected CSV, found: "),
        ('input,ideal\na,"b"c\n', "line 2: expected CSV, found: "),
        ("input,ideal\na," + "b" * 200_000 + "\n", "line 2: expected CSV, found: field larger than field limit"),
        ("id,input\nk,a\nk,b\n", "line 3: expected another id than line 2, found 'k'"),
    ],
)
def test_bad_csv_is_refused_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(Refused) as refused:
        read_dataset(written(tmp_path, text, "data.csv"))
    assert message in str(refused.value)


def test_a_named_csv_column_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="line 1: expected the column 'r', found 'input'"):
        read_dataset(written(tmp_path, "input\na\n", "data.csv"), None, "r")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("inputs.json", '[\n "a",\n {"k": "é"}, 3, null, ["b"]]'),
        ("inputs.jsonl", '"a"\n\n{"k": "é"}\n3\nnull\n["b"]\n'),
        ("inputs", '"a"\n{"k": "é"}\n3\nnull\n["b"]'),
    ],
)
def test_inputs_of_a_pipeline_are_a_list_or_lines(tmp_path: Path, name: str, text: str) -> None:
    found = read_inputs(written(tmp_path, text, name))
    assert [row.input for row in found.rows] == ["a", '{"k": "é"}', "3", "null", '["b"]']
    assert [row.id for row in found.rows] == ["1", "2", "3", "4", "5"]
    assert not found.has_ideals


def test_lines_of_lists_are_inputs_by_their_suffix(tmp_path: Path) -> None:
    assert [row.input for row in read_inputs(written(tmp_path, "[1, 2]\n[3]\n")).rows] == ["[1, 2]", "[3]"]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("inputs.json", "[]", "expected at least one record, found none"),
        ("inputs.json", "", "expected at least one record, found none"),
        ("inputs.json", '["a",\n oops]', "expected JSON, found at line 2, column 2"),
        ("inputs.json", '["a", "\\ud800"]', "value 2: expected Unicode text"),
        ("inputs.jsonl", '"a"\noops\n', "line 2: expected JSON, found at column 1"),
        ("inputs.jsonl", "[1e400]", "line 1: expected numbers that fit"),
    ],
)
def test_bad_inputs_are_refused(tmp_path: Path, name: str, text: str, message: str) -> None:
    with pytest.raises(Refused) as refused:
        read_inputs(written(tmp_path, text, name))
    assert message in str(refused.value)


def test_rows_survive_json_unchanged() -> None:
    row = DataRow(id="1", messages=({"role": "system", "content": "é"}, USER), ideal=None)
    assert DataRow.model_validate(json.loads(json.dumps(row.model_dump(mode="json")))) == row
    rows = TypeAdapter(tuple[DataRow, ...])
    assert rows.validate_json(rows.dump_json((row, row))) == (row, row)


def test_a_row_is_what_it_says() -> None:
    for messages in ([], [{"role": "user"}], [{**USER, "name": "n"}], [{"role": "user", "content": 1}]):
        with pytest.raises(ValueError, match="messages"):
            DataRow.model_validate({"id": "1", "messages": messages})
    with pytest.raises(ValueError, match="extra"):
        DataRow.model_validate({"id": "1", "messages": [USER], "extra": 1})
    assert DataRow(id="1", messages=({"role": "system", "content": "s"},)).input == NO_USER_MESSAGE


def test_a_data_set_has_rows_and_each_id_once() -> None:
    row = DataRow(id="1", messages=(USER,))
    with pytest.raises(Refused, match="expected at least one row"):
        Dataset(())
    with pytest.raises(Refused, match="expected each id once, found '1' again"):
        Dataset((row, row))


@pytest.mark.parametrize(
    ("path", "rows"),
    [("reflex/security_incidents.jsonl", 100), ("reflex/sample_data.jsonl", 10), ("reflex-real/sample_data.jsonl", 10)],
)
def test_the_sets_of_reflex_are_read(path: str, rows: int) -> None:
    file = Path(__file__).resolve().parents[3] / "shared" / "golden" / path
    if not file.exists():
        pytest.skip(f"../shared/golden is not here: {file}")
    found = read_dataset(file)
    assert len(found.rows) == rows
    assert found.has_ideals
