"""Time: what timestamp authorities have vouched for, and the entries that say otherwise of themselves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from ..entries.entry import format_at, parse_entry
from ..errors import LedgerError, Malformed, UnsupportedFormat
from ..store.folding import read_anchors
from ..store.reader import LedgerReader
from ..tlog.timestamp import imprint, read_token, verify_token
from .anchors import ALLOWED_SKEW_US, check_anchors
from .signatures import Signatures
from .stretches import Damage
from .verdict import Verdict


def check_time(
    reader: LedgerReader,
    verdict: Verdict,
    found: Signatures,
    tokens: Callable[[int], bytes | None],
    roots: Sequence[bytes],
    kept: Sequence[bytes],
) -> None:
    """Check recorded anchors, and the tokens that the reviewer ``kept``, under the authorities' pinned ``roots``."""
    if roots or kept:
        verdict.asked.add("time")
    at_of = partial(_recorded_at, reader)
    try:
        anchors = read_anchors(reader, verdict.size)
        report = check_anchors(anchors, tokens, found.notes.get, found.keys_at, roots, at_of)
    except (LedgerError, ValueError, TypeError, AttributeError) as error:
        verdict.not_checked["time"] = f"what is anchored does not read: {error}"
        return
    verdict.damage += report.damage
    verdict.bounds = report.bounds if report.anchored_to else ()
    unchecked = list(report.unchecked)
    stamped = report.anchored_to
    if kept and not roots:
        unchecked.append("kept tokens: no root of their authority is pinned")
    for token in kept if roots else ():
        try:
            stamped = max(stamped, _check_kept(verdict, found, token, roots, at_of))
        except UnsupportedFormat as error:
            unchecked.append(f"a kept token: {error}")
    if not anchors and not kept:
        unchecked.append("no timestamp is recorded: nobody outside vouches for any time")
    if unchecked:
        verdict.not_checked["time"] = "; ".join(unchecked)
    elif not stamped:
        verdict.not_checked["time"] = "no timestamp verifies"
    if stamped:
        verdict.checked.append("time")
        _tell_unanchored(verdict, report.anchored_from, stamped)


def _check_kept(
    verdict: Verdict,
    found: Signatures,
    token: bytes,
    roots: Sequence[bytes],
    at_of: Callable[[int], str],
) -> int:
    """Find the checkpoint that a kept token stamps; how many entries it vouches for, 0 where it vouches for none."""
    try:
        stamp = verify_token(token, read_token(token).imprint, roots)
    except UnsupportedFormat:
        raise
    except LedgerError as error:
        verdict.damage.append(Damage("tsa_invalid", None, f"a kept token: {error}", unmet=True))
        return 0
    said = f"the kept token of {format_at(stamp.time_us)} by {stamp.authority}"
    size = _stamped_size(found, read_token(token).imprint)
    if size is None:
        detail = f"{said} stamps no checkpoint that this log has published"
        verdict.damage.append(Damage("anchor_mismatch", None, detail, unmet=True))
        return 0
    if 0 < size <= verdict.size and at_of(size - 1) > format_at(stamp.latest + ALLOWED_SKEW_US):
        detail = f"entry {size - 1} says it is of {at_of(size - 1)}, and {said} covers it"
        verdict.damage.append(Damage("time_outside_anchor", size - 1, detail))
    return size


def _stamped_size(found: Signatures, hashed: bytes) -> int | None:
    for size, opened in found.opened.items():
        if any(imprint(found.notes[size], key) == hashed for key in opened.log_keys):
            return size
    return None


def _tell_unanchored(verdict: Verdict, anchored_from: int | None, stamped: int) -> None:
    before = verdict.size if anchored_from is None else anchored_from
    told = [
        f"no token is older than entries 0 to {before - 1}: "
        "how long before the first token they were written is the recorder's word"
    ]
    if stamped < verdict.size:
        told.append(f"no token covers entries {stamped} to {verdict.size - 1} yet")
    verdict.not_checked["unanchored"] = "; ".join(told)


def _recorded_at(reader: LedgerReader, seq: int) -> str:
    for row in reader.entries(seq, seq + 1):
        return parse_entry(row.raw)["at"]
    raise Malformed(f"entry {seq}: expected to find it, found none")
