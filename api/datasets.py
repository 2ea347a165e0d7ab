"""Data sets from files: JSONL in the usual forms of conversations, CSV, and inputs of a pipeline.

The first record decides the form of them all: OpenAI (``messages``, ``ideal``), ShareGPT (``conversations``, whose
last turn is the reference where it is the assistant's), Alpaca (``instruction`` or ``prompt``, ``input``,
``output`` or ``response``, ``system``). Where a field is named by the caller, records are custom: two fields. Any
record may have an ``id``; else its number, counted from 1, is its id.

A file is read whole before anything is made of it. What is wrong is ``Refused`` (``dataset_readable``) with the line.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ..domain.errors import Refused
from ..domain.optimization.dataset import DataRow, Dataset
from ..domain.strict_json import STRICT_JSON
from ..ledger.errors import Unavailable

MAX_FILE_BYTES = 32 * 1024 * 1024
"""A run seals its data set whole, and JSON may take twice the room of CSV."""

MAX_ROWS = 100_000
INPUT_FIELD = "input"
OUTPUT_FIELD = "ideal"
_LINE_SUFFIXES = (".jsonl", ".ndjson")
_ROLES = ("system", "user", "assistant")
_SHAREGPT_ROLES = {
    "system": "system",
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "chatgpt": "assistant",
    "bing": "assistant",
    "bard": "assistant",
}


class _NotAsExpected(Exception):
    """What is wrong with a record; the place is added by whoever knows it."""


class _Content(NamedTuple):
    messages: list[dict[str, str]]
    ideal: str | None


class _Form(NamedTuple):
    name: str
    marks: tuple[str, ...]
    read: Callable[[Mapping[str, Any]], _Content]


def read_dataset(path: Path, input_field: str | None = None, output_field: str | None = None) -> Dataset:
    """Read a data set: CSV by the suffix ``.csv``, else JSONL.

    ``input_field`` and ``output_field`` name the fields or columns of input and reference, ``input`` and ``ideal``
    where one of them, or for CSV both, is not given. A field that is named must be there. Missing references are no
    error (``Dataset.missing_ideals``). ``Refused`` for bad input, ``Unavailable`` where the file cannot be read.
    """
    text = _read_text(path)
    custom = _custom_form(input_field or INPUT_FIELD, output_field or OUTPUT_FIELD)
    if path.suffix.lower() == ".csv":
        columns = (input_field or INPUT_FIELD, *((output_field,) if output_field else ()))
        records, forms = _csv_records(path, text, columns), _Forms(custom)
    else:
        named = input_field is not None or output_field is not None
        records, forms = _json_records(path, text), _Forms(custom if named else None)
    rows, output_found = _Rows(path), False
    for place, record in records:
        try:
            form = forms.of(place, record)
            content = form.read(record)
            _check_turns(content.messages)
            rows.add(place, _own_id(record, form), content)
        except _NotAsExpected as error:
            raise _refused(path, place, str(error)) from error
        output_found = output_found or output_field in record
    if output_field is not None and rows.made and not output_found:
        raise _refused(path, None, f"expected the field {output_field!r:.80}, found it in no record")
    return rows.dataset()


def read_inputs(path: Path) -> Dataset:
    """Read the inputs of a pipeline: a JSON list, or one JSON value a line.

    A file that begins with ``[`` is a list, unless its suffix is ``.jsonl`` or ``.ndjson``. Each value is the user's
    message of a row, as JSON where it is not a string; ids are the values' numbers, from 1.
    """
    text = _read_text(path)
    rows = _Rows(path)
    for place, value in _values(path, text):
        try:
            said = value if isinstance(value, str) else _as_json(value)
            rows.add(place, None, _Content([{"role": "user", "content": said}], None))
        except _NotAsExpected as error:
            raise _refused(path, place, str(error)) from error
    return rows.dataset()


class _Forms:
    """The form of each record: the given one, or that of the first record, which all others must have."""

    def __init__(self, given: _Form | None) -> None:
        self._given = given
        self._first: tuple[str, _Form] | None = None

    def of(self, place: str, record: Mapping[str, Any]) -> _Form:
        if self._given is not None:
            return self._given
        found = _form_of(record)
        first, expected = self._first = self._first or (place, found)
        if found is not expected:
            raise _NotAsExpected(f"expected {expected.name}, the form of {first}, found {found.name}")
        return found


class _Rows:
    """The rows made so far, and the place of each id."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.made: list[DataRow] = []
        self.places: dict[str, str] = {}

    def add(self, place: str, own_id: str | None, content: _Content) -> None:
        if len(self.made) == MAX_ROWS:
            raise _NotAsExpected(f"expected at most {MAX_ROWS} records, found more")
        row_id = own_id or str(len(self.made) + 1)
        if row_id in self.places:
            why = "" if own_id else " as its number, since it has none of its own"
            raise _NotAsExpected(f"expected another id than {self.places[row_id]}, found {row_id!r:.80}{why}")
        try:
            "".join((row_id, content.ideal or "", *(message["content"] for message in content.messages))).encode()
        except UnicodeEncodeError as error:
            raise _NotAsExpected("expected Unicode text, found half of a surrogate pair") from error
        self.places[row_id] = place
        self.made.append(DataRow(id=row_id, messages=tuple(content.messages), ideal=content.ideal))

    def dataset(self) -> Dataset:
        if not self.made:
            raise _refused(self.path, None, "expected at least one record, found none")
        return Dataset(tuple(self.made))


def _refused(path: Path, place: str | None, message: str) -> Refused:
    where = f"{path}" if place is None else f"{path}, {place}"
    return Refused("dataset_readable", f"{where}: {message}")


def _read_text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise Unavailable(f"{path}: {error.strerror}") from error
    if len(data) > MAX_FILE_BYTES:
        raise _refused(path, None, f"expected at most {MAX_FILE_BYTES} bytes, found more")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise _refused(path, f"line {line}", f"expected UTF-8, found the byte 0x{data[error.start]:02x}") from error


def _json_records(path: Path, text: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for place, value in _json_lines(path, text):
        if not isinstance(value, dict):
            raise _refused(path, place, f"expected a JSON object, found {_kind(value)}")
        yield place, value


def _json_lines(path: Path, text: str) -> Iterator[tuple[str, Any]]:
    # Only a line feed ends a line: JSON strings may hold the other separators that str.splitlines knows.
    for number, line in enumerate(text.split("\n"), 1):
        if said := line.strip():
            yield f"line {number}", _parse(path, f"line {number}", said)


def _values(path: Path, text: str) -> Iterator[tuple[str, Any]]:
    if path.suffix.lower() in _LINE_SUFFIXES or not text.lstrip().startswith("["):
        yield from _json_lines(path, text)
    else:
        for number, value in enumerate(_parse(path, None, text.strip()), 1):
            yield f"value {number}", value


def _parse(path: Path, place: str | None, text: str) -> Any:
    try:
        return STRICT_JSON.decode(text)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column" if place is None else "column"
        raise _refused(path, place, f"expected JSON, found at {where} {error.colno}: {error.msg}") from error
    except (ValueError, RecursionError) as error:
        raise _refused(path, place, f"expected JSON, found: {error}") from error


def _csv_records(path: Path, text: str, needed: tuple[str, ...]) -> Iterator[tuple[str, dict[str, Any]]]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    header: list[str] | None = None
    while True:
        place = f"line {reader.line_num + 1}"
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise _refused(path, place, f"expected CSV, found: {error}") from error
        if not any(cell.strip() for cell in cells):
            continue
        if header is None:
            header = cells
            _check_header(path, place, header, needed)
        elif len(cells) != len(header):
            raise _refused(path, place, f"expected {len(header)} cells, as in the header, found {len(cells)}")
        else:
            yield place, {name: cell or None for name, cell in zip(header, cells, strict=True)}


def _check_header(path: Path, place: str, header: list[str], needed: tuple[str, ...]) -> None:
    for name in header:
        if header.count(name) > 1:
            raise _refused(path, place, f"expected each column once, found {name!r:.80} again")
    for name in needed:
        if name not in header:
            raise _refused(path, place, f"expected the column {name!r:.80}, found {_names(header)}")


def _form_of(record: Mapping[str, Any]) -> _Form:
    form = next((form for form in _FORMS if any(mark in record for mark in form.marks)), None)
    if form is None:
        known = "messages (OpenAI), conversations (ShareGPT), instruction or prompt (Alpaca)"
        raise _NotAsExpected(f"expected {known}, or the name of the input's field, found {_names(record)}")
    return form


def _openai(record: Mapping[str, Any]) -> _Content:
    turns = _turns(record, "messages", "role", "content", dict(zip(_ROLES, _ROLES, strict=True)))
    return _Content(turns, _reference("ideal", record.get("ideal")))


def _sharegpt(record: Mapping[str, Any]) -> _Content:
    turns = _turns(record, "conversations", "from", "value", _SHAREGPT_ROLES)
    if turns[-1]["role"] == "assistant":
        return _Content(turns[:-1], turns[-1]["content"])
    return _Content(turns, None)


def _alpaca(record: Mapping[str, Any]) -> _Content:
    asked = "instruction" if "instruction" in record else "prompt"
    said = _text(asked, record[asked])
    if more := _optional_text("input", record):
        said = f"{said}\n\n{more}"
    system = _optional_text("system", record)
    messages = [{"role": "system", "content": system}] if system else []
    answer = "output" if "output" in record else "response"
    return _Content([*messages, {"role": "user", "content": said}], _reference(answer, record.get(answer)))


_FORMS = (
    _Form("OpenAI", ("messages",), _openai),
    _Form("ShareGPT", ("conversations",), _sharegpt),
    _Form("Alpaca", ("instruction", "prompt"), _alpaca),
)


def _custom_form(input_field: str, output_field: str) -> _Form:
    def read(record: Mapping[str, Any]) -> _Content:
        if input_field not in record:
            raise _NotAsExpected(f"expected the field {input_field!r:.80}, found {_names(record)}")
        said, ideal = record[input_field], record.get(output_field)
        messages = [] if said is None else [{"role": "user", "content": _as_text(said)}]
        return _Content(messages, None if ideal is None else _as_text(ideal))

    return _Form("custom", (input_field, output_field), read)


def _turns(
    record: Mapping[str, Any], field: str, role_key: str, text_key: str, roles: Mapping[str, str]
) -> list[dict[str, str]]:
    turns = record[field]
    if not isinstance(turns, list) or not turns:
        raise _NotAsExpected(f"{field}: expected a list of messages, found {_kind(turns)}")
    made = []
    for place, turn in enumerate(turns):
        where = f"{field}[{place}]"
        if not isinstance(turn, dict):
            raise _NotAsExpected(f"{where}: expected an object, found {_kind(turn)}")
        role = turn.get(role_key)
        if not isinstance(role, str) or role not in roles:
            raise _NotAsExpected(f"{where}.{role_key}: expected one of {', '.join(roles)}, found {role!r:.80}")
        made.append({"role": roles[role], "content": _text(f"{where}.{text_key}", turn.get(text_key))})
    return made


def _check_turns(messages: list[dict[str, str]]) -> None:
    """An answer that stands among the messages would be shown to the model that is asked for it."""
    if not any(message["role"] == "user" and message["content"].strip() for message in messages):
        raise _NotAsExpected("expected a message of the user, found none")
    if messages[-1]["role"] == "assistant":
        raise _NotAsExpected("expected the last message to be answered, found the assistant's; a reference is 'ideal'")


def _own_id(record: Mapping[str, Any], form: _Form) -> str | None:
    found = None if "id" in form.marks else record.get("id")
    if found is None or (isinstance(found, str) and found):
        return found
    if isinstance(found, int) and not isinstance(found, bool):
        return str(found)
    raise _NotAsExpected(f"id: expected text or a whole number, found {found!r:.80}")


def _reference(field: str, value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, (list, dict)):
        raise _NotAsExpected(f"{field}: expected text, found {_kind(value)}; JSON is kept from a named output field")
    return _as_text(value)


def _text(field: str, value: Any) -> str:
    if not isinstance(value, str):
        raise _NotAsExpected(f"{field}: expected text, found {_kind(value)}")
    return value


def _optional_text(field: str, record: Mapping[str, Any]) -> str:
    value = record.get(field)
    return "" if value is None else _text(field, value)


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else _as_json(value)


def _as_json(value: Any) -> str:
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    except ValueError as error:
        raise _NotAsExpected("expected numbers that fit, found one beyond the largest") from error


def _kind(value: Any) -> str:
    if isinstance(value, list):
        return "a list" if value else "an empty list"
    names = {dict: "an object", str: "text", bool: "true or false", type(None): "nothing"}
    return names.get(type(value), "a number")


def _names(record: Mapping[str, Any] | list[str]) -> str:
    return ", ".join(f"{name!r:.40}" for name in list(record)[:10]) or "no field"
