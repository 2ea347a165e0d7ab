"""Commands about the ledger itself: init, verify, seal, checkpoint, receipt, log."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from ...ledger.application import Ledger, prove_entry
from ...ledger.audit import Against, Verdict, audit, claimed, key_in_entry_0
from ...ledger.entry import parse_entry
from ...ledger.errors import Malformed, Unavailable, UnsupportedFormat
from ...ledger.hashing import leaf_hash
from ...ledger.keys import KeyFolder
from ...ledger.note import VerifierKey, parse_vkey, print_vkey
from ...ledger.reader import StoredEntry, fingerprint, open_snapshot
from ...ledger.receipt import print_receipt as print_proof
from ...ledger.receipt import verify_leaf_receipt
from ...ledger.schema import LEDGER_FILE
from ...ledger.verify import Damage
from ...projections.registry import REGISTRY
from ...projections.runner import copied_views
from ...projections.seals import check_seals, check_views
from ..reading import OpenLedger, open_reader, open_scopes
from ..record import open_ledger
from ..run_folders import check_folder, require_runs
from ..settings import keys_root, ledger_folder
from .output import base64, print_json, print_table, progress, put, say

_MEANING = {
    "ok": "everything that was checked is as it was recorded",
    "damaged": "the ledger is not as it was recorded",
    "not_proven": "no signature covers this ledger",
    "rollback": "this ledger is older than one that was signed",
    "fork": "this ledger has another history than one that was signed",
}


def make_ledger(given: str | None, name: str) -> None:
    folder = ledger_folder(given)
    with Ledger.create(folder, keys_root(), REGISTRY, name=name, sign_in_background=False) as ledger:
        say(f"ledger   {folder}")
        say(f"origin   {ledger.origin}")
        say(f"keys     {ledger.keys.path}")
        say(f"vkey     {print_vkey(ledger.verifier_key())}")
    say()
    say("Keep the keys apart from the ledger, and give the vkey to whoever will verify it.")


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


def seal_ledger(given: str | None, as_json: bool) -> None:
    with open_ledger(given) as recording:
        checkpoint = recording.seal()
    if as_json:
        print_json({"origin": checkpoint.origin, "size": checkpoint.size, "root": base64(checkpoint.root)})
    else:
        say(f"sealed and signed {checkpoint.size} entries, root {base64(checkpoint.root)}")


def print_checkpoint(given: str | None) -> None:
    with open_snapshot(ledger_folder(given)) as reader:
        latest = reader.latest_checkpoint()
    if latest is None:
        raise Unavailable("no checkpoint is signed yet; `affidavit seal` signs one")
    put(latest[1].decode())


def print_receipt(given: str | None, seq: int) -> None:
    with open_snapshot(ledger_folder(given)) as reader:
        receipt, key = prove_entry(reader, seq), key_in_entry_0(reader)
        if receipt is not None and key is not None:  # a checkpoint row is believed for nothing
            verify_leaf_receipt(receipt, reader.hashes(0, seq, 1), [key], reader.origin())
    if receipt is None:  # no checkpoint covers it yet, so one must be signed
        with Ledger(ledger_folder(given), keys_root(), REGISTRY, sign_in_background=False) as ledger:
            receipt = ledger.receipt(seq)
    put(print_proof(receipt).decode())


def list_entries(given: str | None, stream: str | None, as_json: bool) -> None:
    with open_snapshot(ledger_folder(given)) as reader:
        head = reader.head()
        rows = reader.entries(0, head.size) if stream is None else reader.stream(stream)
        if not as_json:
            listed = [(row.seq, parse_entry(row.raw)["at"], row.stream, row.pos, row.type_name) for row in rows]
            print_table(("seq", "at", "stream", "pos", "type"), listed, right=("seq", "pos"))
            return
        put(f'{{"size": {head.size}, "root": {json.dumps(base64(head.root()))}, "entries": [')
        for first, part in _parts(rows):  # in parts, so that a long log needs no memory
            lines = (json.dumps({**parse_entry(row.raw), "leaf": leaf_hash(row.raw).hex()}) for row in part)
            put(("\n" if first else ",\n") + ",\n".join(lines))
        put("\n]}\n")


def _parts(rows: Iterator[StoredEntry], size: int = 1000) -> Iterator[tuple[bool, list[StoredEntry]]]:
    """Rows in lists of at most ``size``, and whether it is the first."""
    first = True
    while part := list(islice(rows, size)):
        yield first, part
        first = False


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
