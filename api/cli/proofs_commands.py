"""``affidavit checkpoint`` and ``affidavit receipt``: what others keep, to hold the ledger to it."""

from __future__ import annotations

from pathlib import Path

from ...ledger.errors import Unavailable
from ...ledger.publishing.proving import prove_entry, with_entry
from ...ledger.tlog.receipt import print_receipt as print_proof
from ..settings import ledger_place
from .opening import open_for_writing
from .output import put, write_file


def print_checkpoint(given: str | None) -> None:
    with ledger_place(given).snapshot() as reader:
        latest = reader.latest_checkpoint()
    if latest is None:
        raise Unavailable("no checkpoint is signed yet; `affidavit seal` signs one")
    put(latest[1].decode())


def print_receipt(given: str | None, seq: int, output: Path | None) -> None:
    """Print a receipt, or write it to a file; what lies there is replaced."""
    with ledger_place(given).snapshot() as reader:
        receipt = prove_entry(reader, seq)
        if receipt is not None:
            receipt = with_entry(receipt, reader)
    if receipt is None:  # no checkpoint covers it yet, so one must be signed
        with open_for_writing(given) as ledger:
            fresh = ledger.receipt(seq)
            with ledger.recorder.reading() as reader:
                receipt = with_entry(fresh, reader)
    proof = print_proof(receipt)
    if output is None:
        put(proof.decode())
    else:
        write_file(output, proof)
