"""The log as evidence for others: exporting all of it, and checking one receipt of it."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from statistics import median

from affidavit.bench.rows import Bench, Row
from affidavit.bench.windows import Side, interleave, median_of, timed
from affidavit.ledger.publishing.proving import Prover
from affidavit.ledger.publishing.static_log import check_export
from affidavit.ledger.publishing.tlog_directory import export_log
from affidavit.ledger.store.folding import read_identity
from affidavit.ledger.store.sqlite.reader import open_snapshot
from affidavit.ledger.tlog.checkpoint import claimed_checkpoint
from affidavit.ledger.tlog.hashing import leaf_hash
from affidavit.ledger.tlog.proof import verify_inclusion
from affidavit.ledger.tlog.receipt import parse_receipt, print_receipt, verify_receipt

_CHECKS = 1000
MEGABYTE = 1_000_000


def measure_export(bench: Bench) -> list[Row]:
    """The whole log into a new folder, durable; what was exported is verified whole once."""
    size = bench.sizes.large
    ledger, out = bench.ledgers.of_size(size), bench.folder / "static-log"
    seconds = interleave({"export": _exporting(ledger, out)}, bench.sizes.exports)["export"]
    with open_snapshot(ledger) as reader:
        keys = read_identity(reader).keys_at(size)
    checking = timed(lambda: check_export(out, keys))
    files = [path.stat().st_size for path in out.rglob("*") if path.is_file()]
    shutil.rmtree(out)
    return [
        Row(
            "export_tiles",
            f"static tile export of {size:,} entries: each hashed again, tiles, bundles, checkpoint, all durable",
            "s",
            median_of(seconds),
            10,
            "at most",
            beside={
                "entries_per_second": size / median(seconds),
                "files": float(len(files)),
                "megabytes": sum(files) / MEGABYTE,
                "verified_whole_in_seconds": checking,
            },
        )
    ]


def measure_receipt_check(bench: Bench) -> list[Row]:
    """Checking the file of a receipt that carries its entry: everything but the signature, and all of it."""
    folder = bench.ledgers.of_size(bench.sizes.large)
    with open_snapshot(folder) as reader:
        identity, size = read_identity(reader), reader.head().size
        prover, seqs = Prover(), range(0, size, max(1, size // _CHECKS))
        receipts = [prover.prove(reader, seq) for seq in seqs]
        raws = [reader.raws(seq, seq + 1)[0] for seq in seqs]
    files = [print_receipt(receipt) for receipt in receipts if receipt is not None]

    def check() -> None:
        for file, raw in zip(files, raws, strict=True):
            receipt = parse_receipt(file)
            checkpoint = claimed_checkpoint(receipt.checkpoint_note)
            verify_inclusion(receipt.index, checkpoint.size, leaf_hash(raw), receipt.path, checkpoint.root)

    def check_signed() -> None:
        for file, raw in zip(files, raws, strict=True):
            verify_receipt(parse_receipt(file), leaf_hash(raw), [identity.key], identity.origin)

    seconds = interleave({"check": lambda: timed(check), "signed": lambda: timed(check_signed)}, bench.sizes.windows)
    each = {name: [1_000_000 * taken / len(files) for taken in found] for name, found in seconds.items()}
    return [
        Row(
            "receipt_check",
            f"checking a receipt at {size:,} entries from its file, without the signature",
            "µs",
            median_of(each["check"]),
            100,
            "at most",
            beside={
                "with_the_signature_microseconds": median(each["signed"]),
                "bytes": sum(map(len, files)) / len(files),
            },
        )
    ]


def _exporting(ledger: Path, out: Path) -> Side:
    def export() -> float:
        shutil.rmtree(out, ignore_errors=True)
        with open_snapshot(ledger) as reader:
            start = time.perf_counter()
            export_log(reader, out)
            return time.perf_counter() - start

    return export
