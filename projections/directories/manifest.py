"""The manifest of a run directory: one digest over the names and bytes of all its files (Go's dirhash, "h1").

A line is ``<sha256 hex>  <relative path>\\n``. The lines stand sorted bytewise by path, and ``h1`` is ``h1:``
followed by the base64 of their SHA-256 (golang.org/x/mod/sumdb/dirhash, Hash1). Kept beside ``h1``, the lines
let a changed file be named.
"""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ...domain.errors import Refused


@dataclass(frozen=True, slots=True)
class Manifest:
    """``lines`` are (SHA-256 in hex, relative path), sorted by path."""

    h1: str
    lines: tuple[tuple[str, str], ...]

    def as_json(self) -> dict[str, Any]:
        """The form that ``run.sealed`` keeps."""
        return {"h1": self.h1, "files": [list(line) for line in self.lines]}


@dataclass(frozen=True, slots=True)
class FileChange:
    """A file that differs from a manifest; ``expected`` or ``found`` is None where there is no such file."""

    kind: Literal["changed", "added", "removed"]
    path: str
    expected: str | None
    found: str | None

    def __str__(self) -> str:
        return f"{self.path}: {self.kind}"


def manifest(files: Mapping[str, bytes]) -> Manifest:
    """The manifest of ``files``, given by relative path. Refuses a line break in a name, which would forge a line."""
    for path in files:
        if "\n" in path:
            raise Refused("file_name", f"file name {path!r}: a line break cannot stand in a manifest")
    lines = tuple(
        (hashlib.sha256(files[path]).hexdigest(), path) for path in sorted(files, key=lambda path: path.encode())
    )
    text = "".join(f"{digest}  {path}\n" for digest, path in lines)
    return Manifest("h1:" + b64encode(hashlib.sha256(text.encode()).digest()).decode(), lines)


def compare_manifest(expected: Iterable[Iterable[str]], files: Mapping[str, bytes]) -> list[FileChange]:
    """Name every file of ``files`` that is not as the lines of a manifest say, in order of path.

    ``expected`` are pairs of SHA-256 and path, as tuples or as the lists that come out of an event.
    """
    wanted = {path: digest for digest, path in expected}
    actual = {path: digest for digest, path in manifest(files).lines}
    changes = []
    for path in sorted(wanted.keys() | actual.keys(), key=lambda path: path.encode()):
        before, after = wanted.get(path), actual.get(path)
        if before == after:
            continue
        kind: Literal["changed", "added", "removed"] = "changed"
        if before is None or after is None:
            kind = "added" if before is None else "removed"
        changes.append(FileChange(kind, path, before, after))
    return changes
