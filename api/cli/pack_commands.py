"""``affidavit pack``: evidence of a run or an evaluation window in one file."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path

from ...domain.errors import Refused
from ...ledger.application import Ledger, system_clock
from ...ledger.entries.entry import format_at
from ...ledger.errors import Unavailable
from ...ledger.files import sync_folder
from ...ledger.store.reader import open_snapshot
from ...ledger.tlog.policy import parse_policy, print_policy
from ...projections.registry import REGISTRY
from ..pack.collect import Selection, collect_evidence, select_run, select_window
from ..pack.pdf import render_pdf
from ..pack.render import render_page
from ..reading import OpenLedger, open_for_reading, parse_time
from ..settings import cosigners, keys_root, ledger_folder, recorder_name
from .output import print_json, say

_MONTH = 30 * 86_400


def write_pack(
    given: str | None,
    run: str | None,
    start: str | None,
    end: str | None,
    output: Path,
    *,
    calls: bool,
    content: bool,
    policy: Path | None,
    as_json: bool,
) -> None:
    """Write the pack to a file that does not exist yet."""
    windowed = start is not None or end is not None
    if (run is not None) == windowed:
        raise Refused("pack_subject", "pack: expected a run, or a window by --from and --to, and not both")
    if output.exists():
        raise Unavailable(f"{output}: it exists already")
    stated = None if policy is None else _stated(policy)
    folder = ledger_folder(given)
    _cover(folder)
    with open_for_reading(folder, keys_root()) as ledger:
        chosen = _select(ledger, run, start, end, calls=calls, content=content)
        evidence = collect_evidence(ledger, chosen, recorder_name(), format_at(system_clock()), stated)
    page = render_pdf(evidence) if output.suffix == ".pdf" else render_page(evidence).encode()
    _write(output, page)
    told = {
        "file": str(output),
        "bytes": len(page),
        "entries": len(evidence.entries),
        "disclosures": sum(len(item.disclosures) for item in evidence.entries),
        "first": evidence.range.first,
        "last": evidence.range.stop - 1,
    }
    if as_json:
        print_json(told)
        return
    say(f"pack     {output}, {len(page):,} bytes")
    say(f"carries  {told['entries']} entries and {told['disclosures']} disclosures, with their proofs")
    if told["disclosures"]:
        say("It holds texts in the open: whoever has the file can read them, and no erasure reaches it.")
    elif content:
        say("It holds no text: the keys of the sealed content are not here, or it is erased.")


def _cover(folder: Path) -> None:
    """Sign what no published checkpoint covers yet, where this machine can."""
    with open_snapshot(folder) as reader:
        latest = reader.latest_checkpoint()
        if latest is not None and latest[0] == reader.head().size:
            return
    with Ledger(folder, keys_root(), REGISTRY, sign_in_background=False, cosigners=cosigners()) as ledger:
        ledger.sign()


def _select(
    ledger: OpenLedger, run: str | None, start: str | None, end: str | None, *, calls: bool, content: bool
) -> Selection:
    if run is not None:
        return select_run(ledger, run, calls=calls, content=content)
    last = int(time.time()) if end is None else _seconds(end)
    first = max(0, last - _MONTH) if start is None else _seconds(start)
    if first > last:
        raise Refused("window_valid", f"--from {start}: it is after --to")
    return select_window(ledger, format_at(first * 1_000_000), format_at(last * 1_000_000), content=content)


def _seconds(text: str) -> int:
    """A time as people write it, or as seconds since 1970."""
    if text.isascii() and text.isdecimal():
        return int(text)
    return int(datetime.fromisoformat(parse_time(text)).astimezone(UTC).timestamp())


def _stated(path: Path) -> str:
    try:
        return print_policy(parse_policy(path.read_bytes()).without_addresses())
    except OSError as error:
        raise Unavailable(f"policy {path}: {error.strerror}") from error


def _write(path: Path, page: bytes) -> None:
    """Whole or not at all."""
    fresh = path.with_name(f".{path.name}.new")
    try:
        fresh.write_bytes(page)
        fresh.replace(path)
        sync_folder(path.absolute().parent)
    except OSError as error:
        raise Unavailable(f"{path}: {error.strerror}") from error
    finally:
        fresh.unlink(missing_ok=True)
