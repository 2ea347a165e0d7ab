"""``affidavit verify``: the verdict, for people and for programs."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Engine

from ...domain.errors import Refused
from ...ledger.audit.anchors import Bound, stored_token
from ...ledger.audit.audit import Against, Verdict, audit, claimed
from ...ledger.audit.fork import print_fork
from ...ledger.audit.stretches import Damage
from ...ledger.entries.entry import format_at
from ...ledger.errors import Malformed, Unavailable, UnsupportedFormat
from ...ledger.signing.identity import read_identity
from ...ledger.signing.keys import KeyFolder
from ...ledger.store.reader import LedgerReader, fingerprint, open_snapshot
from ...ledger.store.schema import LEDGER_FILE
from ...ledger.tlog.note import parse_vkey
from ...ledger.tlog.receipt import Receipt, parse_receipt
from ...ledger.tlog.timestamp import read_certificates
from ...projections.registry import REGISTRY
from ...projections.runner import copied_views
from ...projections.seals import check_seals, check_views
from ..reading import OpenLedger, open_reader, open_scopes
from ..run_folders import check_folder, require_runs
from ..settings import keys_root, ledger_folder, read_policy
from .output import base64, print_json, progress, say

T = TypeVar("T")

_MOST_LINES = 20
_MEANING = {
    "ok": "everything that was checked is as it was recorded",
    "damaged": "the ledger is not as it was recorded",
    "not_proven": "it is not shown that this ledger is what it was to be",
    "rollback": "this ledger is older than one that was signed",
    "fork": "this ledger has another history than one that was signed",
}


@dataclass(frozen=True, slots=True)
class Asked:
    """What the reviewer brings along, by the names of the options."""

    vkey: str | None = None
    pinned: Sequence[Path] = ()
    policy: Path | None = None
    receipts: Sequence[Path] = ()
    tsa_roots: Sequence[Path] = ()
    tokens: Sequence[Path] = ()
    max_age: int | None = None
    directory: Path | None = None
    fork_evidence: Path | None = None

    def against(self) -> Against:
        """What the files hold. ``Unavailable`` and ``Malformed`` name the file that does not read."""
        if self.max_age is not None and self.policy is None:
            raise Refused("option_usable", "--max-age: expected --policy beside it, whose witnesses it is about")
        return Against(
            vkey=None if self.vkey is None else parse_vkey(self.vkey),
            pinned=[_read("pinned checkpoint", path, _require_checkpoint) for path in self.pinned],
            policy=None if self.policy is None else read_policy(self.policy),
            receipts=[_read("receipt", path, _parse_receipt) for path in self.receipts],
            tsa_roots=[_read("certificates", path, _require_certificates) for path in self.tsa_roots],
            kept_tokens=[_read("time token", path, bytes) for path in self.tokens],
            now=int(time.time()),
            max_cosignature_age=self.max_age,
        )


def verify_ledger(given: str | None, as_json: bool, asked: Asked, jobs: int | None) -> int:
    """Print the verdict and return the exit code."""
    folder = ledger_folder(given)
    against = asked.against()
    if asked.directory is not None:
        require_runs(asked.directory)
    before = _fingerprint(folder)
    verdict = _verify(folder, against, asked.directory, jobs, as_json, copy=False)
    moved = _fingerprint(folder) != before or any(found.kind == "missing_without_erasure" for found in verdict.damage)
    if verdict.damage and moved:
        # Somebody appended while an immutable snapshot was read, or erased while its keys were: what looks like
        # damage may be that.
        verdict = _verify(folder, against, asked.directory, jobs, as_json, copy=True)
    kept = _keep_evidence(verdict, asked.fork_evidence)
    if as_json:
        print_json(_verdict_json(verdict))
    else:
        _print_verdict(verdict)
        for line in kept:
            say(f"  {line}")
    return verdict.exit_code


def _verify(
    folder: Path, asked: Against, directory: Path | None, jobs: int | None, quiet: bool, *, copy: bool
) -> Verdict:
    if not (folder / LEDGER_FILE).is_file():
        raise Unavailable(f"no ledger in {folder}: expected {LEDGER_FILE}")
    try:
        # The signing state is read before the log is: what was signed then is there now, whoever appends.
        with open_snapshot(folder) as reader:
            against = _against(folder, reader, asked)
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
    if verdict.is_damaged:
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


def _against(folder: Path, reader: LedgerReader, asked: Against) -> Against:
    """What is asked, and what this machine has to check a ledger against."""
    why_not = {}
    genesis = origin = reader.origin()
    with suppress(Exception):  # whatever lies there, the audit says what is wrong with it
        origin = read_identity(reader).origin
    scopes, why_not["sealed"] = open_scopes(folder, keys_root(), genesis)
    try:
        signed = KeyFolder(keys_root(), genesis, origin).signed()
    except (Unavailable, Malformed) as error:
        signed, why_not["rollback"] = None, f"no signing state to compare with: {error}"
    tokens = partial(stored_token, folder)
    return replace(asked, signed=signed, scopes=scopes, check_projections=check_seals, why_not=why_not, tokens=tokens)


def _keep_evidence(verdict: Verdict, path: Path | None) -> list[str]:
    """Write the evidence of a fork where it was asked for; what to say of it."""
    if verdict.verdict != "fork":
        return []
    if verdict.fork is None:
        return ["no two signed checkpoints here contradict each other; keep what you pinned, and this ledger"]
    if path is None:
        return ["--fork-evidence FILE writes two signed checkpoints that show the fork to anybody"]
    try:
        path.write_bytes(print_fork(verdict.fork))
    except OSError as error:
        raise Unavailable(f"fork evidence {path}: {error.strerror}") from error
    return [f"{path} shows the fork to anybody who has the log's key: affidavit check {path}"]


def _verdict_json(verdict: Verdict) -> dict[str, Any]:
    witnessing = verdict.witnessing
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
        "damage": [
            {"kind": found.kind, "seq": found.seq, "detail": found.detail, "unmet": found.unmet}
            for found in verdict.damage
        ],
        "witnesses": {
            "mode": _mode(verdict),
            "policy": witnessing.policy,
            "policy_sha256": witnessing.digest,
            "size": witnessing.size,
            "at": witnessing.at,
        },
        "bounds": [
            {
                "first": bound.first,
                "stop": verdict.size if bound.stop is None else bound.stop,
                "not_before": _moment(bound.not_before),
                "not_after": _moment(bound.not_after),
            }
            for bound in verdict.bounds
        ],
        "fork_evidence": None if verdict.fork is None else json.loads(print_fork(verdict.fork)),
    }


def _print_verdict(verdict: Verdict) -> None:
    say(f"{verdict.verdict.upper()}: {_MEANING[verdict.verdict]}")
    say(f"  origin   {verdict.origin}")
    say(f"  entries  {verdict.size}, signed up to {verdict.signed_size or 0}")
    say(f"  root     {base64(verdict.root)}")
    say(f"  checked  {', '.join(verdict.checked)}")
    if verdict.erased:
        say(f"  erased   {verdict.erased} sealed fields, their keys destroyed as the log says")
    if verdict.witnessing.policy or verdict.witnessing.required is not None:
        say(f"  witness  {_told_witnessing(verdict)}")
    for bound in verdict.bounds:
        if bound.not_before is not None or bound.not_after is not None:
            say(f"  time     {_told_bound(bound, verdict.size)}")
    if verdict.not_checked:
        say("  not checked")
        for name, reason in verdict.not_checked.items():
            say(f"    {name}: {reason}")
    for found in verdict.damage[:_MOST_LINES]:
        place = "" if found.seq is None else f" at entry {found.seq}"
        say(f"  {'not met' if found.unmet else 'damage'}: {found.kind}{place}: {found.detail}")
    if len(verdict.damage) > _MOST_LINES:
        say(f"  and {len(verdict.damage) - _MOST_LINES} more; --json lists them all")


def _mode(verdict: Verdict) -> str | None:
    required = verdict.witnessing.required
    return None if required is None else "fail-closed" if required else "fail-open"


def _told_witnessing(verdict: Verdict) -> str:
    found = verdict.witnessing
    mode = _mode(verdict)
    told = "the log declares none" if mode is None else f"the log declares {mode}"
    if found.policy is None:
        return told
    by = f"by the {'policy given' if found.policy == 'given' else 'log’s own policy'} {found.digest}"
    if found.size is None or found.at is None:
        return f"{told}; {by} no checkpoint has a quorum"
    return f"{told}; {by} size {found.size} has a quorum since {_moment(found.at * 1_000_000)}"


def _told_bound(bound: Bound, size: int) -> str:
    before, after = _moment(bound.not_before), _moment(bound.not_after)
    stop = size if bound.stop is None else bound.stop
    times = [f"not before {before}"] * bool(before) + [f"not after {after}"] * bool(after)
    return f"entries {bound.first} to {stop - 1} were written {' and '.join(times)}"


def _moment(microseconds: int | None) -> str | None:
    return None if microseconds is None else format_at(microseconds)


def _read(what: str, path: Path, read: Callable[[bytes], T]) -> T:
    try:
        return read(path.read_bytes())
    except OSError as error:
        raise Unavailable(f"{what} {path}: {error.strerror}") from error
    except Malformed as error:
        raise Malformed(f"{what} {path}: {error}") from error


def _require_checkpoint(note: bytes) -> bytes:
    claimed(note)
    return note


def _parse_receipt(data: bytes) -> Receipt:
    receipt = parse_receipt(data)
    claimed(receipt.checkpoint_note)
    return receipt


def _require_certificates(pem: bytes) -> bytes:
    read_certificates(pem)
    return pem


def _fingerprint(folder: Path) -> object:
    try:
        return fingerprint(folder)
    except OSError:
        return None
