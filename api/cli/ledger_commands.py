"""Commands about the ledger itself: init, reopen, seal, log."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice

from ...domain.event import Meta
from ...ledger.application import Ledger
from ...ledger.continuing import continue_ledger
from ...ledger.entries.entry import StoredEntry, parse_entry
from ...ledger.tlog.hashing import leaf_hash
from ...ledger.tlog.note import print_vkey
from ...projections.registry import REGISTRY
from ..record import open_ledger
from ..settings import cosigners, keys_root, ledger_place, recorder_name
from .output import base64, print_json, print_table, put, say


def make_ledger(given: str | None, name: str) -> None:
    place = ledger_place(given)
    with Ledger.create(place, keys_root(), REGISTRY, name=name, sign_in_background=False) as ledger:
        say(f"ledger   {place}")
        say(f"origin   {ledger.origin}")
        say(f"keys     {ledger.keys.path}")
        say(f"vkey     {print_vkey(ledger.verifier_key())}")
    say()
    say("Keep the keys apart from the ledger, and give the vkey to whoever will verify it.")


def reopen_ledger(given: str | None, name: str, reason: str, as_json: bool) -> None:
    continued = continue_ledger(
        ledger_place(given),
        keys_root(),
        REGISTRY,
        name=name,
        reason=reason,
        meta=Meta(recorder=recorder_name()),
        cosigners=cosigners(),
    )
    if as_json:
        print_json(continued.model_dump())
        return
    say(f"origin    {continued.origin}")
    say(f"vkey      {continued.vkey}")
    say(f"continues {continued.continues}, of which {continued.signed_size} entries were signed")
    say()
    say("The entries that this copy lacks are lost to it. Give the new vkey to whoever verifies.")


def seal_ledger(given: str | None, as_json: bool) -> None:
    with open_ledger(given) as recording:
        checkpoint = recording.seal()
    if as_json:
        print_json({"origin": checkpoint.origin, "size": checkpoint.size, "root": base64(checkpoint.root)})
    else:
        say(f"sealed and signed {checkpoint.size} entries, root {base64(checkpoint.root)}")


def list_entries(given: str | None, stream: str | None, as_json: bool) -> None:
    with ledger_place(given).snapshot() as reader:
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
