"""Entries as rows of a table, and the words for what streams are about."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ....ledger.entries.entry import Entry, StoredEntry, read_entry
from ....ledger.errors import Malformed

_FIELDS = 4
_LONGEST = 26
_is_hash = re.compile(r"[0-9a-f]{64}", re.ASCII).fullmatch

CATEGORIES: dict[str, str] = {
    "anchors": "checkpoints that a timestamp authority has stamped",
    "assignment": "how chance assigns sessions or users to sources",
    "clock": "findings that the recorder's clock stood behind the log",
    "config": "the configuration of the evaluation, change by change",
    "erasure": "keys that were to be destroyed, and were",
    "import": "what was taken over from other systems, with what was found odd",
    "judge_prompt": "the texts of judges' prompts, one version after another",
    "ledger": "the log's own origin and keys",
    "on_demand": "sessions that somebody asked to have graded at once",
    "projection": "seals of read models",
    "regeneration": "jobs that judge a sample of sessions again",
    "request": "what agents published: a request and its interactions",
    "retention": "rules after how many days content is erased",
    "retrieval": "rules that agents searched for",
    "review": "what people signed about runs and entries",
    "rule": "rules that agents cite, version by version",
    "run": "optimisation runs, from their start to their end",
    "score": "figures of outside scorers",
    "session": "grades and outcomes of sessions",
    "shadow": "which of a turn's two answers a judge found better",
    "witnesses": "whom the log asks for cosignatures",
}
"""What the streams of a category are about."""


@dataclass(frozen=True, slots=True)
class EntryRow:
    """One entry in a line. ``gist`` is some of its open fields; ``problem`` says where its bytes do not read."""

    seq: int
    stream: str
    pos: int
    type_name: str
    at: str | None
    gist: str
    sealed: int
    problem: str | None = None


def entry_row(row: StoredEntry) -> EntryRow:
    """The line of a stored entry."""
    try:
        entry = read_entry(row.raw)
    except Malformed as error:
        return EntryRow(row.seq, row.stream, row.pos, row.type_name, None, "", 0, str(error))
    return EntryRow(row.seq, row.stream, row.pos, row.type_name, entry["at"], _gist(entry), len(entry["sealed"]))


def entry_rows(rows: Iterable[StoredEntry]) -> list[EntryRow]:
    return [entry_row(row) for row in rows]


def about(stream: str) -> tuple[str, str] | None:
    """(words, path) of the page about what a stream is about; None where there is none."""
    category, _, name = stream.partition("/")
    match category:
        case "run":
            return f"run {name}", f"/runs/{name}"
        case "review":
            return "reviews", "/reviews"
        case "session":
            return f"session {name}", f"/evaluation/sessions/{name}"
        case "regeneration":
            return f"job {name}", f"/evaluation/jobs/{name}"
        case "judge_prompt":
            return "judges", "/evaluation/judges"
        case "anchors" | "witnesses":
            return category, f"/ledger/{category}"
        case "erasure" | "retention":
            return "erasures", "/ledger/erasures"
        case "import":
            return "imports", "/ledger/imports"
        case "ledger":
            return "keys", "/ledger/keys"
        case _:
            return None


def _gist(entry: Entry) -> str:
    told: list[str] = []
    for name, value in entry["data"].items():
        if len(told) == _FIELDS:
            break
        if isinstance(value, str | int) and value != "":
            told.append(f"{name} {_short(value)}")
        elif isinstance(value, dict | list) and value:
            told.append(f"{name} ×{len(value)}")
    return " · ".join(told)


def _short(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = str(value)
    if _is_hash(text):
        return f"{text[:8]}…"
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
