"""The files of a run as JSON values and texts without secrets, each with its digest.

**What is hashed.** The digest of a file is the SHA-256 of its own bytes, unless a secret was taken out or
an object gave a key twice or a log has an unreadable line (there could be a secret in what was dropped): then it is the
SHA-256 of the value that was kept, printed as reflex prints it (JSON with an indent of 2, ASCII only,
keys in their order, no newline at the end; ``run.log.jsonl`` one object a line, each ended by a newline).
Size goes with it. A file that could not be read has no digest, because what could not be read could not
be searched for secrets.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from dataclasses import dataclass, field
from typing import Any

from ....domain.redaction import key_shaped, redact
from .files import ITERATIONS, KNOWN, RUNS, RawRun
from .findings import Finding, finding

MAX_DEPTH = 64
"""Containers in containers; reflex writes 6."""
MAX_LOG_LINES = 100_000
_MAX_INTEGER = 2**53 - 1
_SURROGATE = re.compile("[\ud800-\udfff]")
_TEXTS = frozenset({"best_prompt.md", "error.txt", "running"})
_LOG = "run.log.jsonl"


@dataclass(frozen=True, slots=True)
class Document:
    """One source file. ``value`` is its JSON or text without secrets, None where it could not be read."""

    path: str
    value: Any
    sha256: str | None
    bytes: int
    has_nan: bool = False

    def as_json(self, below: str = "") -> dict[str, Any]:
        return {"path": f"{below}{self.path}", "sha256": self.sha256, "bytes": self.bytes}


@dataclass(slots=True)
class RunDocuments:
    """Every file of one run, by path, with the findings of reading them."""

    directory: str
    number: str
    documents: dict[str, Document] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    def place(self, path: str) -> str:
        return f"{RUNS}/{self.directory}/{path}" if path else f"{RUNS}/{self.directory}"

    def object(self, path: str) -> dict[str, Any] | None:
        """The JSON object in a file, or None."""
        document = self.documents.get(path)
        return document.value if document is not None and isinstance(document.value, dict) else None

    def text(self, path: str) -> str | None:
        document = self.documents.get(path)
        return document.value if document is not None and isinstance(document.value, str) else None

    def log(self) -> list[Any]:
        """The lines of the run's log; null stands for a line that is no JSON."""
        document = self.documents.get(_LOG)
        return document.value if document is not None and isinstance(document.value, list) else []

    def has_nan(self, path: str) -> bool:
        document = self.documents.get(path)
        return document is not None and document.has_nan

    def iteration_paths(self) -> list[str]:
        """The iteration files by number."""
        paths = [path for path in self.documents if path.startswith(f"{ITERATIONS}/")]
        return sorted(paths, key=lambda path: (int(path.removeprefix(f"{ITERATIONS}/").removesuffix(".json")), path))

    def readable(self) -> bool:
        """Whether anything tells of a run: a sentinel and an error alone do not."""
        return any(
            isinstance(document.value, dict)
            for path, document in self.documents.items()
            if path in KNOWN or path.startswith(f"{ITERATIONS}/")
        )

    def listing(self, below: str = "") -> list[dict[str, Any]]:
        return [document.as_json(below) for _, document in sorted(self.documents.items())]


def read_documents(directory: str, number: str, raw: RawRun) -> RunDocuments:
    """Parse a run's files and take the secrets out. Nothing in them makes it fail."""
    run = RunDocuments(directory, number, findings=list(raw.findings))
    for path, data in raw.files.items():
        reading = _Reading(run.place(path), run.findings)
        if path in _TEXTS:
            text = reading.decode(data)
            reading.look_for_keys(text)
            run.documents[path] = Document(path, text, _sha256(data), len(data))
        elif path == _LOG:
            run.documents[path] = reading.log(path, data)
        else:
            run.documents[path] = reading.document(path, data)
    return run


class _Reading:
    """Reads one file, and gathers what it finds, once for each kind."""

    def __init__(self, place: str, findings: list[Finding]) -> None:
        self._place = place
        self._findings = findings
        self._noted: set[tuple[str, str]] = set()
        self.has_nan = False
        self.repeats_key = False

    def document(self, path: str, data: bytes) -> Document:
        value = self._clean(self._parse(self.decode(data)))
        if not isinstance(value, dict):
            self._note("unreadable_file")
            return Document(path, None, None, len(data))
        safe, changed = self._redact(value)
        printed = json.dumps(safe, indent=2).encode() if changed else data
        return Document(path, safe, _sha256(printed), len(printed), self.has_nan)

    def log(self, path: str, data: bytes) -> Document:
        lines: list[Any] = []
        changed = False
        for line in self.decode(data).split("\n")[:MAX_LOG_LINES]:
            if not line.strip():
                continue
            value = self._clean(self._parse(line))
            if value is None:
                # it could hold a secret that nobody can point at, so null stands in its place
                self._note("unreadable_file", "a line of the log is no JSON; it was left out")
                changed = True
            safe, redacted = self._redact(value)
            changed = changed or redacted
            lines.append(safe)
        printed = "".join(json.dumps(line) + "\n" for line in lines).encode() if changed else data
        return Document(path, lines, _sha256(printed), len(printed), self.has_nan)

    def decode(self, data: bytes) -> str:
        try:
            return data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            self._note("invalid_utf8", f"byte {error.start}")
            return data.decode("utf-8-sig", errors="replace")

    def look_for_keys(self, text: str) -> None:
        for shape in key_shaped(text):
            self._note("key_shaped_text", shape.kind)

    def _parse(self, text: str) -> Any:
        try:
            return json.loads(
                text,
                parse_constant=self._constant,
                parse_float=self._float,
                parse_int=self._integer,
                object_pairs_hook=self._object,
            )
        except (ValueError, RecursionError):
            return None

    def _redact(self, value: Any) -> tuple[Any, bool]:
        redacted = redact(value)
        for place in redacted.places:
            self._note("secret_redacted", place)
        return redacted.value, bool(redacted.places) or self.repeats_key

    def _clean(self, value: Any, depth: int = 0) -> Any:
        """Replace lone surrogates; None for a whole that is nested too deep."""
        try:
            return self._cleaned(value, depth)
        except _TooDeep:
            self._note("value_refused", f"nested deeper than {MAX_DEPTH} levels")
            return None

    def _cleaned(self, value: Any, depth: int) -> Any:
        if isinstance(value, str):
            return self._text(value)
        if depth == MAX_DEPTH and isinstance(value, (dict, list)):
            raise _TooDeep
        if isinstance(value, dict):
            return {self._text(key): self._cleaned(item, depth + 1) for key, item in value.items()}
        if isinstance(value, list):
            return [self._cleaned(item, depth + 1) for item in value]
        return value

    def _text(self, text: str) -> str:
        if _SURROGATE.search(text):
            self._note("surrogate_replaced")
            text = _SURROGATE.sub("\ufffd", text)
        return text

    def _constant(self, _: str) -> None:
        self.has_nan = True
        self._note("nan_token")

    def _float(self, digits: str) -> float | None:
        value = float(digits)
        if math.isfinite(value):
            return value
        self._note("number_out_of_range")
        return None

    def _integer(self, digits: str) -> int | float | None:
        if len(digits) <= 15 or abs(value := int(digits) if len(digits) < 400 else _MAX_INTEGER + 1) <= _MAX_INTEGER:
            return int(digits)
        self._note("number_out_of_range")
        try:
            return float(value) if len(digits) < 400 else None
        except OverflowError:
            return None

    def _object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            self.repeats_key = True
            self._note("duplicate_key")
        return found

    def _note(self, kind: str, detail: str = "") -> None:
        if (kind, detail) not in self._noted and len(self._noted) < 100:
            self._noted.add((kind, detail))
            self._findings.append(finding(kind, self._place, detail))


class _TooDeep(Exception):
    """The way out of a recursion; never seen outside this file."""


def look_for_keys(run: RunDocuments) -> list[Finding]:
    """Key-shaped strings that are left in the run's JSON files after redaction."""
    found: dict[tuple[str, str], None] = {}
    for path, document in run.documents.items():
        if path not in _TEXTS:
            for text in _strings(document.value):
                found.update({(path, shape.kind): None for shape in key_shaped(text)})
    return [finding("key_shaped_text", run.place(path), kind) for path, kind in found]


def _strings(value: Any) -> list[str]:
    texts, rest = [], [value]
    while rest:
        item = rest.pop()
        if isinstance(item, str):
            texts.append(item)
        elif isinstance(item, dict):
            rest.extend(item.values())
            texts.extend(item)
        elif isinstance(item, list):
            rest.extend(item)
    return texts


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
