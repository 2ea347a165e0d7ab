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
from ..ledger.errors import Unavailable
from ..ledger.keys import sync_folder
from ..ledger.verify import Damage
from ..projections.manifest import compare_manifest
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
        fresh.replace(root)
        sync_folder(root.parent)
    except OSError as error:
        raise Unavailable(f"{root}: {error.strerror}") from error
    finally:
        with suppress(FileNotFoundError):
            shutil.rmtree(fresh)
    return written


def check_folder(ledger: OpenLedger, root: Path) -> list[Damage]:
    """Compare the run directories under ``root/runs`` with the newest seal of each run's native directory."""
    runs = root / "runs"
    if not runs.is_dir():
        raise Unavailable(f"{root}: expected a folder that holds runs/")
    damage: list[Damage] = []
    known: set[str] = set()
    for stream in ledger.reader.streams("run"):
        record = ledger.run(stream.removeprefix("run/"))
        name = record.started.directory
        known.add(name)
        if not (runs / name).exists():
            continue
        seal = _newest_seal(ledger, stream)
        if seal is None:
            damage.append(Damage("run_dir_changed", None, f"{name}: no seal of this run can be read here"))
            continue
        if not (runs / name / "manifest.json").is_file():
            damage.append(
                Damage("run_dir_changed", None, f"{name}: no manifest.json; only the native profile is sealed")
            )
            continue
        seq, lines = seal
        files, odd = _read_files(runs / name)
        changes = [str(change) for change in compare_manifest(lines, files)] + odd
        damage += [Damage("run_dir_changed", seq, f"{name}/{change}") for change in changes]
    for entry in sorted(runs.iterdir()):
        if entry.name not in known:
            damage.append(Damage("run_dir_changed", None, f"{entry.name}: no run of this ledger has this directory"))
    return damage


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
    for base, names, others in os.walk(folder):
        for name in (*names, *others):
            path = Path(base) / name
            relative = path.relative_to(folder).as_posix()
            if path.is_symlink() or not (path.is_dir() or path.is_file()):
                odd.append(f"{relative}: not a regular file")
            elif path.is_file():
                files[relative] = path.read_bytes()
    return files, odd
