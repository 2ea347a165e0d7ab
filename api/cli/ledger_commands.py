"""Commands about the ledger itself: init, seal, checkpoint, receipt, log."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

from ...ledger.application import Ledger
from ...ledger.entries.entry import parse_entry
from ...ledger.errors import Unavailable
from ...ledger.publishing.proving import prove_entry
from ...ledger.publishing.static_log import read_raws
from ...ledger.store.reader import LedgerReader, StoredEntry, open_snapshot
from ...ledger.tlog.hashing import leaf_hash
from ...ledger.tlog.note import print_vkey
from ...ledger.tlog.receipt import Receipt
from ...ledger.tlog.receipt import print_receipt as print_proof
from ...projections.registry import REGISTRY
from ..record import open_ledger
from ..settings import cosigners, keys_root, ledger_folder
from .output import base64, print_json, print_table, put, say


def make_ledger(given: str | None, name: str) -> None:
    folder = ledger_folder(given)
    with Ledger.create(folder, keys_root(), REGISTRY, name=name, sign_in_background=False) as ledger:
        say(f"ledger   {folder}")
        say(f"origin   {ledger.origin}")
        say(f"keys     {ledger.keys.path}")
        say(f"vkey     {print_vkey(ledger.verifier_key())}")
    say()
    say("Keep the keys apart from the ledger, and give the vkey to whoever will verify it.")


def seal_ledger(given: str | None, as_json: bool) -> None:
    with open_ledger(given) as recording:
        checkpoint = recording.seal()
    if as_json:
        print_json({"origin": checkpoint.origin, "size": checkpoint.size, "root": base64(checkpoint.root)})
    else:
        say(f"sealed and signed {checkpoint.size} entries, root {base64(checkpoint.root)}")


def print_checkpoint(given: str | None) -> None:
    with open_snapshot(ledger_folder(given)) as reader:
        latest = reader.latest_checkpoint()
    if latest is None:
        raise Unavailable("no checkpoint is signed yet; `affidavit seal` signs one")
    put(latest[1].decode())


def print_receipt(given: str | None, seq: int, output: Path | None) -> None:
    """Print a receipt, or write it to a file; what lies there is replaced."""
    with open_snapshot(ledger_folder(given)) as reader:
        receipt = prove_entry(reader, seq)
        if receipt is not None:
            receipt = _with_entry(receipt, reader)
    if receipt is None:  # no checkpoint covers it yet, so one must be signed
        with Ledger(
            ledger_folder(given), keys_root(), REGISTRY, sign_in_background=False, cosigners=cosigners()
        ) as ledger:
            fresh = ledger.receipt(seq)
            with ledger.recorder.reading() as reader:
                receipt = _with_entry(fresh, reader)
    if output is None:
        put(print_proof(receipt).decode())
        return
    try:
        output.write_bytes(print_proof(receipt))
    except OSError as error:
        raise Unavailable(f"{output}: {error.strerror}") from error


def _with_entry(receipt: Receipt, reader: LedgerReader) -> Receipt:
    """The receipt with the bytes of its entry, so that checking it needs nothing else but the key."""
    return replace(receipt, extra=read_raws(reader, receipt.index, 1)[0])


def list_entries(given: str | None, stream: str | None, as_json: bool) -> None:
    with open_snapshot(ledger_folder(given)) as reader:
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
