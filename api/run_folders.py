"""Run directories on disk: written whole or not at all, and compared with what was sealed."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from ..domain.event import Withheld
from ..domain.optimization.events import RunSealed
from ..ledger.audit.stretches import Damage
from ..ledger.errors import Unavailable
from ..ledger.files import sync_folder, sync_tree
from ..projections.directories.manifest import compare_manifest
from .reading import OpenLedger


def write_folders(root: Path, folders: Iterator[tuple[str, Mapping[str, bytes]]]) -> int:
    """Write each (directory name, files) under ``root/runs``; how many files were written.

    The root appears whole or not at all. ``Unavailable`` where something is in its place.
    """
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise Unavailable(f"{root}: expected nothing here, found something; a rebuild never writes over it")
    fresh = root.with_name(f".{root.name}.{secrets.token_hex(4)}")
    written = 0
    try:
        (fresh / "runs").mkdir(parents=True)
        for name, files in folders:
            for path, content in files.items():
                target = fresh / "runs" / name / path
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(content)
                written += 1
        sync_tree(fresh)
        fresh.replace(root)
        sync_folder(root.absolute().parent)
    except OSError as error:
        raise Unavailable(f"{root}: {error.strerror}") from error
    finally:
        with suppress(FileNotFoundError):
            shutil.rmtree(fresh)
    return written


def check_folder(ledger: OpenLedger, root: Path) -> tuple[list[Damage], list[str]]:
    """Compare the run directories under ``root/runs`` with the newest seal of each run's native directory.

    Returns the damage and, in words, the recorded directories that could not be compared.
    """
    runs = require_runs(root)
    damage: list[Damage] = []
    unchecked: list[str] = []
    known: set[str] = set()
    for stream in ledger.reader.streams("run"):
        name = ledger.run(stream.removeprefix("run/")).started.directory
        known.add(name)
        folder = runs / name
        if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
            damage.append(_changed(None, f"{name}: not a directory of its own"))
        elif not folder.exists():
            unchecked.append(f"{name} is not there")
        elif (seal := _newest_seal(ledger, stream)) is None:
            unchecked.append(f"{name} is not sealed, or its seal is closed")
        else:
            damage += _check_directory(folder, *seal)
    for path, names in ((runs, known), (root, {"runs"})):
        damage += [
            _changed(None, f"{entry.name}: nothing of this ledger has this name")
            for entry in sorted(path.iterdir())
            if entry.name not in names
        ]
    return damage, unchecked


def require_runs(root: Path) -> Path:
    """The folder ``runs`` of a rebuilt root, or ``Unavailable``."""
    if not (root / "runs").is_dir():
        raise Unavailable(f"{root}: expected a folder that holds runs/")
    return root / "runs"


def _check_directory(folder: Path, seq: int, lines: list[list[str]]) -> list[Damage]:
    if not (folder / "manifest.json").is_file():
        return [_changed(None, f"{folder.name}: no manifest.json, so not of the native profile")]
    files, odd = _read_files(folder)
    changes = [str(change) for change in compare_manifest(lines, files)] + odd
    return [_changed(seq, f"{folder.name}/{change}") for change in changes]


def _changed(seq: int | None, detail: str) -> Damage:
    return Damage("run_dir_changed", seq, detail)


def _newest_seal(ledger: OpenLedger, stream: str) -> tuple[int, list[list[str]]] | None:
    found = None
    for recorded in ledger.events.stream(stream):
        if isinstance(recorded.event, RunSealed) and not isinstance(recorded.event.manifest, Withheld):
            found = (recorded.seq, recorded.event.manifest["files"])
    return found


def _read_files(folder: Path) -> tuple[dict[str, bytes], list[str]]:
    """The regular files under a folder, and what else is there: links and special files are never followed."""
    files: dict[str, bytes] = {}
    odd: list[str] = []
    for base, folders, others in os.walk(folder):
        if not folders and not others:
            odd.append(f"{Path(base).relative_to(folder).as_posix()}: an empty folder")
        for name in (*folders, *others):
            path = Path(base) / name
            relative = path.relative_to(folder).as_posix()
            if path.is_symlink() or not (path.is_dir() or path.is_file()):
                odd.append(f"{relative}: not a regular file")
            elif not relative.isprintable():
                odd.append(f"{relative!r}: not a name that a rebuild gives")
            elif path.is_file():
                files[relative] = path.read_bytes()
    return files, odd
