"""``affidavit check``: the verdict on what somebody handed over, for people and for programs."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...ledger.audit.head import Outside
from ...ledger.errors import LedgerError
from ...ledger.evidence.check import EvidenceVerdict
from ...ledger.store.folding import read_identity
from ...ledger.tlog.note import VerifierKey, parse_vkey
from ..checking import Checked, check
from ..given_files import read_certificates, read_checkpoint, read_file, read_policy
from ..settings import ledger_place
from .output import base64, print_json
from .verdicts import bounds_json, print_verdict, verdict_json


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
        tuple(read_checkpoint(each) for each in pinned),
        tuple(read_certificates(each) for each in tsa_roots),
        int(time.time()),
    )
    content = None if entry is None else read_file("entry", entry)
    checked = check(path, outside, content, lambda origin: _keys_here(given, origin))
    if as_json:
        print_json(_document(checked))
    else:
        _print(checked)
    return checked.verdict.exit_code


def _keys_here(given: str | None, origin: str) -> list[VerifierKey]:
    """The keys that the ledger here names, where it is the one of ``origin``."""
    try:
        place = ledger_place(given)
        if not place.exists():
            return []
        with place.snapshot() as reader:
            signers = read_identity(reader).ranges
    except LedgerError:
        return []
    return [signer.key for signer in signers if signer.origin == origin]


def _document(checked: Checked) -> dict[str, Any]:
    verdict = checked.verdict
    document = {"kind": checked.kind, **verdict_json(verdict)}
    if isinstance(verdict, EvidenceVerdict):
        document |= {
            "range": {"first": verdict.shown[0], "stop": verdict.shown[1]},
            "entries": verdict.entries,
            "gaps": [{"first": first, "stop": stop} for first, stop in verdict.gaps],
            "disclosed": verdict.disclosed,
            "closed": [{"seq": seq, "fields": fields} for seq, fields in verdict.closed.items()],
            "erased_fields": [{"seq": seq, "fields": fields} for seq, fields in verdict.erased_fields.items()],
            "cosignatures": [{"name": each.key.name, "time": each.time} for each in verdict.cosignatures],
            "bounds": bounds_json(verdict.bounds, verdict.size),
        }
    return document


def _print(checked: Checked) -> None:
    verdict = checked.verdict
    about = [f"kind     {checked.kind}"]
    if verdict.origin:
        about += [f"origin   {verdict.origin}", f"log      {verdict.size} entries, root {base64(verdict.root)}"]
    print_verdict(verdict, [*about, *checked.told])
