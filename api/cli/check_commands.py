"""``affidavit check``: the verdict on what somebody handed over, for people and for programs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...ledger.audit.fork import print_fork
from ...ledger.audit.head import Outside, claimed
from ...ledger.entries.entry import format_at
from ...ledger.errors import LedgerError, Malformed, Unavailable
from ...ledger.evidence.check import EvidenceVerdict
from ...ledger.signing.identity import read_identity
from ...ledger.store.reader import open_snapshot
from ...ledger.store.schema import LEDGER_FILE
from ...ledger.tlog.note import VerifierKey, parse_vkey
from ...ledger.tlog.timestamp import read_certificates
from ..checking import Checked, check
from ..settings import ledger_folder, read_policy
from .output import base64, print_json, say

_MEANING = {
    "ok": "everything that was checked is as it was recorded",
    "damaged": "this is not as it was recorded",
    "not_proven": "it is not shown that this is what it was to be",
    "rollback": "this is older than what was signed",
    "fork": "the log has another history than one that was signed",
}
_MOST_LINES = 20


def check_file(
    given: str | None,
    path: Path,
    policy: Path | None,
    vkeys: Sequence[str],
    pinned: Sequence[Path],
    tsa_roots: Sequence[Path],
    entry: Path | None,
    as_json: bool,
) -> int:
    """Print the verdict and return the exit code."""
    outside = Outside(
        tuple(map(parse_vkey, vkeys)),
        None if policy is None else read_policy(policy),
        tuple(_read_checkpoint(each) for each in pinned),
        tuple(_read_certificates(each) for each in tsa_roots),
    )
    content = None if entry is None else _read("entry", entry)
    folder = ledger_folder(given)
    checked = check(path, outside, content, lambda origin: _keys_here(folder, origin))
    if as_json:
        print_json(_document(checked))
    else:
        _print(checked)
    return checked.verdict.exit_code


def _keys_here(folder: Path, origin: str) -> list[VerifierKey]:
    """The keys that the ledger of this machine names, where it is the one of ``origin``."""
    if not (folder / LEDGER_FILE).is_file():
        return []
    try:
        with open_snapshot(folder) as reader:
            signers = read_identity(reader).ranges
    except LedgerError:
        return []
    return [signer.key for signer in signers if signer.origin == origin]


def _document(checked: Checked) -> dict[str, Any]:
    verdict = checked.verdict
    document = {
        "kind": checked.kind,
        "verdict": verdict.verdict,
        "size": verdict.size,
        "root": base64(verdict.root),
        "origin": verdict.origin,
        "signed_size": verdict.signed_size,
        "checked": verdict.checked,
        "erased": verdict.erased,
        "not_checked": list(verdict.not_checked),
        "not_checked_because": verdict.not_checked,
        "damage": [
            {"kind": found.kind, "seq": found.seq, "detail": found.detail, "unmet": found.unmet}
            for found in verdict.damage
        ],
        "fork_evidence": None if verdict.fork is None else json.loads(print_fork(verdict.fork)),
    }
    if isinstance(verdict, EvidenceVerdict):
        document |= {
            "range": {"first": verdict.shown[0], "stop": verdict.shown[1]},
            "entries": verdict.entries,
            "gaps": [{"first": first, "stop": stop} for first, stop in verdict.gaps],
            "disclosed": verdict.disclosed,
            "closed": [{"seq": seq, "fields": fields} for seq, fields in verdict.closed.items()],
            "erased_fields": [{"seq": seq, "fields": fields} for seq, fields in verdict.erased_fields.items()],
            "cosignatures": [{"name": each.key.name, "time": each.time} for each in verdict.cosignatures],
            "bounds": [
                {
                    "first": bound.first,
                    "stop": verdict.size if bound.stop is None else bound.stop,
                    "not_before": None if bound.not_before is None else format_at(bound.not_before),
                    "not_after": None if bound.not_after is None else format_at(bound.not_after),
                }
                for bound in verdict.bounds
            ],
        }
    return document


def _print(checked: Checked) -> None:
    verdict = checked.verdict
    say(f"{verdict.verdict.upper()}: {_MEANING[verdict.verdict]}")
    say(f"  kind     {checked.kind}")
    if verdict.origin:
        say(f"  origin   {verdict.origin}")
        say(f"  log      {verdict.size} entries, root {base64(verdict.root)}")
    for line in checked.told:
        say(f"  {line}")
    if verdict.checked:
        say(f"  checked  {', '.join(verdict.checked)}")
    if verdict.not_checked:
        say("  not checked")
        for name, reason in verdict.not_checked.items():
            say(f"    {name}: {reason}")
    for found in verdict.damage[:_MOST_LINES]:
        place = "" if found.seq is None else f" at entry {found.seq}"
        say(f"  {'not met' if found.unmet else 'damage'}: {found.kind}{place}: {found.detail}")
    if len(verdict.damage) > _MOST_LINES:
        say(f"  and {len(verdict.damage) - _MOST_LINES} more; --json lists them all")


def _read_checkpoint(path: Path) -> bytes:
    note = _read("pinned checkpoint", path)
    try:
        claimed(note)
    except Malformed as error:
        raise Malformed(f"pinned checkpoint {path}: {error}") from error
    return note


def _read_certificates(path: Path) -> bytes:
    pem = _read("certificates", path)
    try:
        read_certificates(pem)
    except Malformed as error:
        raise Malformed(f"certificates {path}: {error}") from error
    return pem


def _read(what: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise Unavailable(f"{what} {path}: {error.strerror}") from error
