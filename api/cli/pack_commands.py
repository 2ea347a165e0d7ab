"""``affidavit pack``: evidence of a run or an evaluation window in one file."""

from __future__ import annotations

import os
from pathlib import Path

from ...ledger.application import system_clock
from ...ledger.entries.entry import format_at
from ...ledger.errors import Unavailable
from ...ledger.tlog.policy import print_policy
from ..given_files import read_policy
from ..pack.collect import collect_evidence, require_subject, select_asked
from ..pack.pdf import render_pdf
from ..pack.render import render_page
from ..reading import open_for_reading
from ..settings import keys_root, ledger_place, recorder_name
from .opening import open_for_writing
from .output import print_json, say, write_file


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
    require_subject(run, start, end)
    if os.path.lexists(output):
        raise Unavailable(f"{output}: it exists already")
    stated = None if policy is None else print_policy(read_policy(policy).without_addresses())
    place = ledger_place(given)
    _cover(given)
    with open_for_reading(place, keys_root()) as ledger:
        chosen = select_asked(ledger, run, start, end, calls=calls, content=content)
        evidence = collect_evidence(ledger, chosen, recorder_name(), format_at(system_clock()), stated)
    page = render_pdf(evidence) if output.suffix == ".pdf" else render_page(evidence).encode()
    write_file(output, page, new=True)
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


def _cover(given: str | None) -> None:
    """Sign what no published checkpoint covers yet, where this machine can."""
    with ledger_place(given).snapshot() as reader:
        latest = reader.latest_checkpoint()
        if latest is not None and latest[0] == reader.head().size:
            return
    with open_for_writing(given) as ledger:
        ledger.sign()
