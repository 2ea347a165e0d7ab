"""Receipts of a stored log: right at every size, from few hashes, and never from what the database only claims."""

from __future__ import annotations

from contextlib import suppress

import pytest

from affidavit.domain.event import Meta, NewEvent
from affidavit.ledger.application import Ledger
from affidavit.ledger.errors import LedgerError, VerificationError
from affidavit.ledger.events import ProjectionSealed
from affidavit.ledger.publishing.proving import Prover, prove_entry, prove_extension, with_entry
from affidavit.ledger.store.reader import LedgerReader
from affidavit.ledger.tlog.hashing import leaf_hash
from affidavit.ledger.tlog.receipt import verify_receipt
from affidavit.tests.stored import change_evidence
from affidavit.tests.stores import every_store

pytestmark = every_store


def fill(ledger: Ledger, size: int) -> None:
    """Record until the log has ``size`` entries, and sign."""
    with ledger.recorder.reading() as reader:
        there, start = reader.head().size, reader.next_pos("test/1")
    ledger.record(
        *(
            NewEvent("test/1", start + n, ProjectionSealed(name="n", version=1, upto=n, digest="0" * 64), Meta())
            for n in range(size - there)
        )
    )
    ledger.sign()


def test_one_prover_proves_every_entry_as_the_log_grows(ledger: Ledger) -> None:
    prover = Prover()
    for size in (1, 2, 255, 256, 257, 300, 512, 770):
        fill(ledger, size)
        with ledger.recorder.reading() as reader:
            raws = reader.raws(0, size)
            for seq in {0, 1, size // 2, size - 2, size - 1} & set(range(size)):
                receipt = prover.prove(reader, seq)
                assert receipt is not None
                assert receipt == prove_entry(reader, seq)
                assert (
                    verify_receipt(receipt, leaf_hash(raws[seq]), [ledger.verifier_key()], ledger.origin).size == size
                )
            assert prover.prove(reader, size) is None


def test_what_never_changes_is_read_once(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(ledger, 3 * 256 + 20)
    asked: list[tuple[int, int]] = []
    hashes = LedgerReader.hashes

    def counting(self: LedgerReader, level: int, first: int, count: int) -> bytes:
        asked.append((level, first))
        return hashes(self, level, first, count)

    monkeypatch.setattr(LedgerReader, "hashes", counting)
    prover = Prover()
    with ledger.recorder.reading() as reader:
        for seq in (5, 300, 600):
            prover.prove(reader, seq)
        asked.clear()
        prover.prove(reader, 7)
    assert asked == [(0, 0)], "the leaf tile of the entry, and nothing above or beside it"


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE entries SET entry=CAST(replace(entry, '\"upto\":5', '\"upto\":6') AS BLOB) WHERE seq=6",
        "DELETE FROM entries WHERE seq=6",
        "UPDATE tiles SET hashes=zeroblob(8192) WHERE level=0 AND n=0",
        "UPDATE checkpoints SET note=(SELECT note FROM checkpoints WHERE size=1) WHERE size=300",
        "UPDATE checkpoints SET size=299 WHERE size=300",
    ],
)
def test_no_receipt_is_given_that_would_not_verify(ledger: Ledger, change: str) -> None:
    fill(ledger, 300)
    change_evidence(ledger.place, change)
    with ledger.recorder.reading() as reader, pytest.raises(VerificationError):
        prove_entry(reader, 6)
    with pytest.raises(VerificationError):
        ledger.receipt(6)
    with suppress(LedgerError):  # it may refuse to sign, too
        ledger.close()


def test_what_was_wrong_is_forgotten(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """A node that was read wrong once must not spoil every receipt from then on."""
    fill(ledger, 600)
    prover = Prover()
    with ledger.recorder.reading() as reader:
        with monkeypatch.context() as wrong:
            wrong.setattr(LedgerReader, "hashes", lambda self, level, first, count: bytes(32 * count))
            with pytest.raises(VerificationError):
                prover.prove(reader, 6)
        assert prover.prove(reader, 6) == prove_entry(reader, 6)


def test_a_receipt_can_carry_its_entry(ledger: Ledger) -> None:
    fill(ledger, 9)
    with ledger.recorder.reading() as reader:
        receipt = prove_entry(reader, 6)
        assert receipt is not None
        carried = with_entry(receipt, reader)
        assert carried.extra == reader.raws(6, 7)[0]
    assert verify_receipt(carried, leaf_hash(carried.extra), [ledger.verifier_key()], ledger.origin).size == 9


def test_a_smaller_tree_is_shown_to_be_the_beginning_of_a_larger_one(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(ledger, 300)
    with ledger.recorder.reading() as reader:
        assert prove_extension(reader, 7, 300)
        monkeypatch.setattr(LedgerReader, "hashes", lambda reader, level, first, count: bytes(32 * count))
        with pytest.raises(LedgerError):
            prove_extension(reader, 7, 300)
