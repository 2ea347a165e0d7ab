"""The manifest of a run directory."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from affidavit.domain.errors import Refused
from affidavit.projections.directories.manifest import compare_manifest, manifest


def test_it_is_gos_dirhash(vectors: Path) -> None:
    vector = json.loads((vectors / "dirhash_h1.json").read_text())
    found = manifest({name: text.encode() for name, text in vector["files"].items()})
    assert found.h1 == vector["h1"]
    assert "".join(f"{digest}  {path}\n" for digest, path in found.lines) == vector["summary"]
    for name in vector["reject_names"]:
        with pytest.raises(Refused):
            manifest({name: b""})


def test_the_order_of_files_does_not_matter_and_paths_sort_bytewise() -> None:
    files = {"b": b"1", "a/2": b"2", "a.1": b"3", "é": b"4"}
    assert manifest(files) == manifest(dict(reversed(files.items())))
    assert [path for _, path in manifest(files).lines] == ["a.1", "a/2", "b", "é"]


def test_every_changed_file_is_named() -> None:
    expected = manifest({"a": b"1", "b": b"2", "c": b"3"}).as_json()["files"]
    changes = compare_manifest(expected, {"a": b"1", "b": b"!", "d": b"4"})
    assert [str(change) for change in changes] == ["b: changed", "c: removed", "d: added"]
    assert compare_manifest(expected, {"a": b"1", "b": b"2", "c": b"3"}) == []
