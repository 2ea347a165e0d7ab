"""``affidavit verify``: the verdict, for people and for programs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from ...ledger.audit import Against, Verdict, audit, claimed
from ...ledger.errors import Malformed, Unavailable, UnsupportedFormat
from ...ledger.keys import KeyFolder
from ...ledger.note import VerifierKey, parse_vkey
from ...ledger.reader import fingerprint, open_snapshot
from ...ledger.schema import LEDGER_FILE
from ...ledger.verify import Damage
from ...projections.registry import REGISTRY
from ...projections.runner import copied_views
from ...projections.seals import check_seals, check_views
from ..reading import OpenLedger, open_reader, open_scopes
from ..run_folders import check_folder, require_runs
from ..settings import keys_root, ledger_folder
from .output import base64, print_json, progress, say

_MEANING = {
    "ok": "everything that was checked is as it was recorded",
    "damaged": "the ledger is not as it was recorded",
    "not_proven": "no signature covers this ledger",
    "rollback": "this ledger is older than one that was signed",
    "fork": "this ledger has another history than one that was signed",
}


def verify_ledger(
    given: str | None,
    as_json: bool,
    vkey: str | None,
    pinned: Path | None,
    directory: Path | None,
    jobs: int | None,
) -> int:
    """Print the verdict and return the exit code."""
    folder = ledger_folder(given)
    key = None if vkey is None else parse_vkey(vkey)
    note = None if pinned is None else _read_pinned(pinned)
    if directory is not None:
        require_runs(directory)
    before = _fingerprint(folder)
    verdict = _verify(folder, key, note, directory, jobs, as_json, copy=False)
    moved = _fingerprint(folder) != before or any(found.kind == "missing_without_erasure" for found in verdict.damage)
    if verdict.damage and moved:
        # Somebody appended while an immutable snapshot was read, or erased while its keys were: what looks like
        # damage may be that.
        verdict = _verify(folder, key, note, directory, jobs, as_json, copy=True)
    if as_json:
        print_json(_verdict_json(verdict))
    else:
        _print_verdict(verdict)
    return verdict.exit_code


def _verify(
    folder: Path,
    vkey: VerifierKey | None,
    pinned: bytes | None,
    directory: Path | None,
    jobs: int | None,
    quiet: bool,
    *,
    copy: bool,
) -> Verdict:
    if not (folder / LEDGER_FILE).is_file():
        raise Unavailable(f"no ledger in {folder}: expected {LEDGER_FILE}")
    try:
        with open_snapshot(folder) as reader:
            origin = reader.origin()
        # The signing state is read before the log is: what was signed then is there now, whoever appends.
        against = _against(folder, origin, vkey, pinned)
        # The views are copied before the log is opened, too, so that they are not ahead of it.
        with (
            copied_views(folder) as views,
            open_snapshot(folder, copy=copy, hold=False) as reader,
            progress("verifying", quiet=quiet) as on_progress,
        ):
            try:
                verdict = audit(reader, REGISTRY, against, jobs=jobs or os.cpu_count() or 1, on_progress=on_progress)
                _check_derived(open_reader(folder, reader, against.scopes), verdict, views, directory)
            finally:
                if against.scopes is not None:
                    against.scopes.close()
    except UnsupportedFormat:
        raise
    except OSError as error:
        raise Unavailable(f"{error.filename or folder}: {error.strerror}") from error
    except Exception as error:  # whatever lies there, a reviewer gets a verdict
        if not os.access(folder / LEDGER_FILE, os.R_OK):
            raise Unavailable(f"{folder / LEDGER_FILE}: it may not be read") from error
        return Verdict(damage=[Damage("storage_damaged", None, str(error))])
    return verdict


def _check_derived(ledger: OpenLedger, verdict: Verdict, views: Engine, directory: Path | None) -> None:
    """What was derived from the log and lies beside it: the stored views, a rebuilt folder."""
    if verdict.damage:
        if directory is not None:
            verdict.not_checked["run_directories"] = "the log that they were rebuilt from is damaged"
        return
    if Path(str(views.url.database)).is_file():
        verdict.damage += check_views(views, ledger.events)
    if directory is not None:
        damage, unchecked = check_folder(ledger, directory)
        verdict.damage += damage
        verdict.checked.append("run_directories")
        if unchecked:
            verdict.not_checked["run_directories"] = "; ".join(unchecked)


def _against(folder: Path, origin: str, vkey: VerifierKey | None, pinned: bytes | None) -> Against:
    """What this machine has to check a ledger against."""
    why_not = {}
    scopes, why_not["sealed"] = open_scopes(folder, keys_root(), origin)
    try:
        signed = KeyFolder(keys_root(), origin).signed()
    except (Unavailable, Malformed) as error:
        signed, why_not["rollback"] = None, f"no signing state to compare with: {error}"
    return Against(vkey, pinned, signed, scopes, check_seals, why_not)


def _verdict_json(verdict: Verdict) -> dict[str, Any]:
    return {
        "verdict": verdict.verdict,
        "size": verdict.size,
        "root": base64(verdict.root),
        "origin": verdict.origin,
        "signed_size": verdict.signed_size,
        "checked": verdict.checked,
        "erased": verdict.erased,
        "not_checked": list(verdict.not_checked),
        "not_checked_because": verdict.not_checked,
        "damage": [{"kind": found.kind, "seq": found.seq, "detail": found.detail} for found in verdict.damage],
    }


def _print_verdict(verdict: Verdict) -> None:
    say(f"{verdict.verdict.upper()}: {_MEANING[verdict.verdict]}")
    say(f"  origin   {verdict.origin}")
    say(f"  entries  {verdict.size}, signed up to {verdict.signed_size or 0}")
    say(f"  root     {base64(verdict.root)}")
    say(f"  checked  {', '.join(verdict.checked)}")
    if verdict.erased:
        say(f"  erased   {verdict.erased} sealed fields, their keys destroyed as the log says")
    if verdict.not_checked:
        say("  not checked")
        for name, reason in verdict.not_checked.items():
            say(f"    {name}: {reason}")
    for found in verdict.damage[:20]:
        place = "" if found.seq is None else f" at entry {found.seq}"
        say(f"  damage: {found.kind}{place}: {found.detail}")
    if len(verdict.damage) > 20:
        say(f"  and {len(verdict.damage) - 20} more; --json lists them all")


def _read_pinned(path: Path) -> bytes:
    try:
        note = path.read_bytes()
    except OSError as error:
        raise Unavailable(f"pinned checkpoint {path}: {error.strerror}") from error
    claimed(note)
    return note


def _fingerprint(folder: Path) -> object:
    try:
        return fingerprint(folder)
    except OSError:
        return None
