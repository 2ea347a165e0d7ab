"""Commands about trusted time: have a checkpoint stamped, list what the stamps prove."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...domain.errors import Refused
from ...ledger.application import Ledger
from ...ledger.audit.anchors import Anchor, AnchorReport, Bound, check_anchors, read_anchors, stored_token
from ...ledger.entries.entry import format_at, parse_entry
from ...ledger.signing.identity import read_identity
from ...ledger.store.reader import LedgerReader, open_snapshot
from ...projections.registry import REGISTRY
from ..anchoring import Anchoring, anchor_now, open_authority
from ..settings import cosigners, keys_root, ledger_folder
from .output import print_json, print_table, say


def anchor_ledger(given: str | None, tsa: str | None, ca: Path | None, every: int | None, as_json: bool) -> None:
    """Anchor once, or ``every`` so many seconds until interrupted."""
    url = tsa or os.environ.get("AFFIDAVIT_TSA")
    if not url:
        raise Refused("authority_configured", "which authority? --tsa URL, or AFFIDAVIT_TSA")
    known = os.environ.get("AFFIDAVIT_TSA_CA")
    authority = open_authority(url, ca or (Path(known) if known else None))

    def show(anchor: Anchor) -> None:
        if as_json:
            print_json(_anchor_json(anchor))
            return
        say(f"entry {anchor.seq}: {anchor.authority} stamped the first {anchor.size} entries at {anchor.time}")
        if not authority.roots:
            say("  its signature was not checked: --ca names the authority's root certificates")

    with Ledger(ledger_folder(given), keys_root(), REGISTRY, sign_in_background=False, cosigners=cosigners()) as ledger:
        if every is None:
            show(anchor_now(ledger, authority))
        else:
            Anchoring(ledger, authority, every).run(show)


def list_anchors(given: str | None, roots: Sequence[Path], as_json: bool) -> int:
    """Print the anchors and what they prove; the exit code of a verdict."""
    pinned = [_read_root(path) for path in roots]
    folder = ledger_folder(given)
    with open_snapshot(folder) as reader:
        anchors = read_anchors(reader)
        report = _check(folder, reader, anchors, pinned)
    if as_json:
        print_json(
            {
                "anchors": [_anchor_json(anchor) for anchor in anchors],
                "bounds": [_bound_json(bound) for bound in report.bounds],
                "not_checked": list(report.unchecked),
                "damage": [{"kind": found.kind, "seq": found.seq, "detail": found.detail} for found in report.damage],
            }
        )
    else:
        _print(anchors, report)
    return 1 if report.damage else 0


def _check(folder: Path, reader: LedgerReader, anchors: Sequence[Anchor], roots: Sequence[bytes]) -> AnchorReport:
    notes = dict(reader.checkpoints())

    def at_of(seq: int) -> str:
        (row,) = reader.entries(seq, seq + 1)
        return parse_entry(row.raw)["at"]

    identity = read_identity(reader)
    return check_anchors(anchors, lambda size: stored_token(folder, size), notes.get, identity.keys_at, roots, at_of)


def _print(anchors: Sequence[Anchor], report: AnchorReport) -> None:
    if not anchors:
        say("nothing was ever anchored: no authority says when any entry was written")
        return
    listed = [(anchor.seq, anchor.size, anchor.time, anchor.authority) for anchor in anchors]
    print_table(("entry", "entries stamped", "time", "authority"), listed, right=("entry", "entries stamped"))
    if report.anchored_to:
        print_table(("entries", "not before", "not after"), [_row(bound) for bound in report.bounds])
    for reason in report.unchecked:
        say(f"not checked: {reason}")
    for found in report.damage:
        say(f"damage: {found.kind} at entry {found.seq}: {found.detail}")


def _row(bound: Bound) -> tuple[str, str | None, str | None]:
    last = "" if bound.stop is None else bound.stop - 1
    return f"{bound.first} to {last}", _at(bound.not_before), _at(bound.not_after)


def _bound_json(bound: Bound) -> dict[str, Any]:
    return {
        "first": bound.first,
        "last": None if bound.stop is None else bound.stop - 1,
        "not_before": _at(bound.not_before),
        "not_after": _at(bound.not_after),
    }


def _at(time_us: int | None) -> str | None:
    return None if time_us is None else format_at(time_us)


def _anchor_json(anchor: Anchor) -> dict[str, Any]:
    return {
        "seq": anchor.seq,
        "at": anchor.at,
        "size": anchor.size,
        "root": anchor.root.hex(),
        "token": anchor.token_sha256,
        "time": anchor.time,
        "authority": anchor.authority,
    }


def _read_root(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise Refused("file_readable", f"{path}: {error.strerror}") from error
