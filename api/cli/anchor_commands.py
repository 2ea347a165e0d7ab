"""Commands about trusted time: have a checkpoint stamped, list what the stamps prove."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ...domain.errors import Refused
from ...ledger.audit.anchors import AnchorReport, check_anchors, print_bounds
from ...ledger.folds.anchors import Anchor
from ...ledger.store.folding import read_anchors, read_identity
from ...ledger.store.place import Place
from ...ledger.store.reader import LedgerReader
from ..anchoring import Anchoring, anchor_now, open_authority, recorded_at
from ..given_files import read_certificates
from ..settings import ledger_place
from .opening import open_for_writing
from .output import print_json, print_table, say
from .verdicts import bounds_json


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
            say("  whose signature it is was not checked: --ca names the authority's root certificates")

    with open_for_writing(given) as ledger:
        if every is None:
            show(anchor_now(ledger, authority))
        else:
            Anchoring(ledger, authority, every).run(show)


def list_anchors(given: str | None, roots: Sequence[Path], as_json: bool) -> int:
    """Print the anchors and what they prove; the exit code of a verdict."""
    pinned = [read_certificates(path) for path in roots]
    place = ledger_place(given)
    with place.snapshot() as reader:
        anchors = read_anchors(reader)
        report = _check(place, reader, anchors, pinned)
        size = reader.head().size
    if as_json:
        print_json(
            {
                "anchors": [_anchor_json(anchor) for anchor in anchors],
                "bounds": bounds_json(report.bounds, size),
                "not_checked": list(report.unchecked),
                "damage": [{"kind": found.kind, "seq": found.seq, "detail": found.detail} for found in report.damage],
            }
        )
    else:
        _print(anchors, report, size)
    return 1 if report.damage else 0


def _check(place: Place, reader: LedgerReader, anchors: Sequence[Anchor], roots: Sequence[bytes]) -> AnchorReport:
    notes = dict(reader.checkpoints())
    identity = read_identity(reader)
    at_of = partial(recorded_at, reader)
    return check_anchors(anchors, place.token, notes.get, identity.keys_at, roots, at_of)


def _print(anchors: Sequence[Anchor], report: AnchorReport, size: int) -> None:
    if not anchors:
        say("nothing was ever anchored: no authority says when any entry was written")
        return
    listed = [(anchor.seq, anchor.size, anchor.time, anchor.authority) for anchor in anchors]
    print_table(("entry", "entries stamped", "time", "authority"), listed, right=("entry", "entries stamped"))
    if report.anchored_to:
        rows = [(f"{each.first} to {each.stop - 1}", *each[2:]) for each in print_bounds(report.bounds, size)]
        print_table(("entries", "not before", "not after"), rows)
    for reason in report.unchecked:
        say(f"not checked: {reason}")
    for found in report.damage:
        say(f"damage: {found.kind} at entry {found.seq}: {found.detail}")


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
