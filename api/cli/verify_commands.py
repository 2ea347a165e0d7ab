"""``affidavit verify``: the verdict, for people and for programs."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from ...domain.errors import Refused
from ...ledger.audit.anchors import PrintedBound, print_bounds, print_time
from ...ledger.audit.audit import Against, audit
from ...ledger.audit.fork import print_fork
from ...ledger.audit.stretches import Damage
from ...ledger.audit.verdict import Verdict
from ...ledger.errors import Unavailable, Unreachable, UnsupportedFormat
from ...ledger.store.place import Place
from ...ledger.tlog.note import parse_vkey
from ...projections.registry import REGISTRY
from ...projections.runner import copied_views
from ...projections.seals import check_views
from ..given_files import read_certificates, read_checkpoint, read_file, read_policy, read_receipt
from ..reading import OpenLedger, open_reader
from ..run_folders import check_folder, require_runs
from ..settings import keys_root, ledger_place
from ..verifying import known_here
from .output import base64, print_json, progress, say, write_file
from .verdicts import bounds_json, print_verdict, verdict_json


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
            pinned=[read_checkpoint(path) for path in self.pinned],
            policy=None if self.policy is None else read_policy(self.policy),
            receipts=[read_receipt(path) for path in self.receipts],
            tsa_roots=[read_certificates(path) for path in self.tsa_roots],
            kept_tokens=[read_file("time token", path) for path in self.tokens],
            now=int(time.time()),
            max_cosignature_age=self.max_age,
        )


def verify_ledger(given: str | None, as_json: bool, asked: Asked, jobs: int | None) -> int:
    """Print the verdict and return the exit code."""
    place = ledger_place(given)
    against = asked.against()
    if asked.directory is not None:
        require_runs(asked.directory)
    if not place.exists():
        raise Unavailable(f"no ledger in {place}; `affidavit init` makes one")
    before = _fingerprint(place)
    verdict = _verify(place, against, asked.directory, jobs, as_json, copy=False)
    moved = _fingerprint(place) != before or any(found.kind == "missing_without_erasure" for found in verdict.damage)
    if verdict.damage and moved:
        # Somebody appended while an immutable snapshot was read, or erased while its keys were: what looks like
        # damage may be that.
        verdict = _verify(place, against, asked.directory, jobs, as_json, copy=True)
    kept = _keep_evidence(verdict, asked.fork_evidence)
    if as_json:
        print_json(_verdict_json(verdict))
    else:
        _print(verdict)
        for line in kept:
            say(f"  {line}")
    return verdict.exit_code


def _verify(
    place: Place, asked: Against, directory: Path | None, jobs: int | None, quiet: bool, *, copy: bool
) -> Verdict:
    try:
        with place.snapshot() as reader:
            against = known_here(place, keys_root(), reader, asked)
        # The views are copied before the log is opened, too, so that they are not ahead of it.
        with (
            copied_views(place) as views,
            place.snapshot(copy=copy, hold=False) as reader,
            progress("verifying", quiet=quiet) as on_progress,
        ):
            try:
                verdict = audit(reader, REGISTRY, against, jobs=jobs or os.cpu_count() or 1, on_progress=on_progress)
                _check_derived(open_reader(place, reader, against.scopes), verdict, views, directory)
            finally:
                if against.scopes is not None:
                    against.scopes.close()
    except (UnsupportedFormat, Unreachable):
        raise
    except OSError as error:
        raise Unavailable(f"{error.filename or place}: {error.strerror}") from error
    except Exception as error:  # whatever lies there, a reviewer gets a verdict
        place.require_readable()
        return Verdict(damage=[Damage("storage_damaged", None, str(error))])
    return verdict


def _check_derived(ledger: OpenLedger, verdict: Verdict, views: Engine | None, directory: Path | None) -> None:
    """What was derived from the log and lies beside it: the stored views, a rebuilt folder."""
    if verdict.is_damaged:
        if directory is not None:
            verdict.not_checked["run_directories"] = "the log that they were rebuilt from is damaged"
        return
    if views is not None:
        verdict.damage += check_views(views, ledger.events)
    if directory is not None:
        damage, unchecked = check_folder(ledger, directory)
        verdict.damage += damage
        verdict.checked.append("run_directories")
        if unchecked:
            verdict.not_checked["run_directories"] = "; ".join(unchecked)


def _keep_evidence(verdict: Verdict, path: Path | None) -> list[str]:
    """Write the evidence of a fork where it was asked for; what to say of it."""
    if verdict.verdict != "fork":
        return []
    if verdict.fork is None:
        return ["no two signed checkpoints here contradict each other; keep what you pinned, and this ledger"]
    if path is None:
        return ["--fork-evidence FILE writes two signed checkpoints that show the fork to anybody"]
    write_file(path, print_fork(verdict.fork))
    return [f"{path} shows the fork to anybody who has the log's key: affidavit check {path}"]


def _verdict_json(verdict: Verdict) -> dict[str, Any]:
    witnessing = verdict.witnessing
    return {
        **verdict_json(verdict),
        "moved": None
        if verdict.moved is None
        else {"seq": verdict.moved.seq, "at": verdict.moved.at, "store": verdict.moved.store},
        "witnesses": {
            "mode": _mode(witnessing.required),
            "modes": [{"first": first, "mode": _mode(required)} for first, required in witnessing.modes],
            "policy": witnessing.policy,
            "policy_sha256": witnessing.digest,
            "size": witnessing.size,
            "at": witnessing.at,
        },
        "bounds": bounds_json(verdict.bounds, verdict.size),
    }


def _print(verdict: Verdict) -> None:
    about = [
        f"origin   {verdict.origin}",
        f"entries  {verdict.size}, signed up to {verdict.signed_size or 0}",
        f"root     {base64(verdict.root)}",
    ]
    more = []
    if verdict.moved is not None:
        more.append(f"closed   {verdict.moved}")
    if verdict.erased:
        more.append(f"erased   {verdict.erased} sealed fields, their keys destroyed as the log says")
    if verdict.witnessing.policy or verdict.witnessing.required is not None:
        more.append(f"witness  {_told_witnessing(verdict)}")
    more += [
        f"time     {_told_bound(bound)}"
        for bound in print_bounds(verdict.bounds, verdict.size)
        if bound.not_before is not None or bound.not_after is not None
    ]
    print_verdict(verdict, about, more)


def _mode(required: bool | None) -> str | None:
    return None if required is None else "fail-closed" if required else "fail-open"


def _told_witnessing(verdict: Verdict) -> str:
    found = verdict.witnessing
    mode = _mode(found.required)
    told = "the log declares none" if mode is None else f"the log declares {mode}"
    if len(found.modes) > 1:
        parts = [f"{_mode(required)} from entry {first} on" for first, required in found.modes]
        told = f"the log declares {', then '.join(parts)}"
    if found.policy is None:
        return told
    by = f"by the {'policy given' if found.policy == 'given' else 'log’s own policy'} {found.digest}"
    if found.size is None or found.at is None:
        return f"{told}; {by} no checkpoint has a quorum"
    return f"{told}; {by} size {found.size} has a quorum since {print_time(found.at * 1_000_000)}"


def _told_bound(bound: PrintedBound) -> str:
    before, after = bound.not_before, bound.not_after
    times = [f"not before {before}"] * bool(before) + [f"not after {after}"] * bool(after)
    return f"entries {bound.first} to {bound.stop - 1} were written {' and '.join(times)}"


def _fingerprint(place: Place) -> object:
    try:
        return place.fingerprint()
    except OSError:
        return None
