"""A signature never contradicts an earlier one, and never covers what was not re-read and re-hashed."""

from __future__ import annotations

import threading

import pytest

from affidavit.domain.event import Meta, NewEvent
from affidavit.ledger.application import Ledger
from affidavit.ledger.errors import SigningRefused, Unavailable
from affidavit.ledger.events import ProjectionSealed
from affidavit.ledger.signing.sign import BackgroundSigner
from affidavit.ledger.tlog.checkpoint import open_checkpoint
from affidavit.ledger.tlog.hashing import leaf_hash
from affidavit.ledger.tlog.receipt import parse_receipt, print_receipt, verify_receipt
from affidavit.projections.registry import REGISTRY
from affidavit.tests.stored import change_evidence, keep_evidence, put_evidence_back
from affidavit.tests.stores import every_store, only_sqlite
from affidavit.tests.trees import root_of

pytestmark = every_store


def fill(ledger: Ledger, count: int, stream: str = "test/1") -> None:
    with ledger.recorder.reading() as reader:
        start = sum(1 for _ in reader.stream(stream))
    ledger.record(
        *(
            NewEvent(stream, pos, ProjectionSealed(name="n", version=1, upto=pos, digest="0" * 64), Meta())
            for pos in range(start, start + count)
        )
    )


def reopen(ledger: Ledger) -> Ledger:
    return Ledger(ledger.place, ledger.keys.path.parent, REGISTRY, edge=ledger._edge, sign_in_background=False)


def notes(ledger: Ledger) -> dict[int, bytes]:
    with ledger.recorder.reading() as reader:
        return dict(reader.checkpoints())


def close_refused(ledger: Ledger) -> None:
    with pytest.raises(SigningRefused):
        ledger.close()


def test_a_checkpoint_covers_all_that_is_durable(ledger: Ledger) -> None:
    fill(ledger, 300)
    checkpoint = ledger.sign()
    with ledger.recorder.reading() as reader:
        leaves = [leaf_hash(row.raw) for row in reader.entries()]
    assert (checkpoint.origin, checkpoint.size, checkpoint.root) == (ledger.origin, 301, root_of(leaves))
    assert open_checkpoint(notes(ledger)[301], [ledger.verifier_key()], ledger.origin) == checkpoint


def test_the_state_lies_beside_the_key(ledger: Ledger) -> None:
    fill(ledger, 3)
    checkpoint = ledger.sign()
    assert ledger.keys.signed() == checkpoint
    assert (ledger.keys.path / "signed").read_text().splitlines()[:2] == [ledger.origin, "4"]


def test_signing_again_without_new_entries_publishes_nothing_new(ledger: Ledger) -> None:
    fill(ledger, 3)
    before = ledger.sign(), notes(ledger)
    assert (ledger.sign(), notes(ledger)) == before


def test_the_frontier_of_every_earlier_size_is_read_from_stored_hashes(ledger: Ledger) -> None:
    fill(ledger, 600)
    with ledger.recorder.reading() as reader:
        leaves = [row.leaf for row in reader.entries()]
        for size in [*range(20), *range(250, 262), *range(508, 516), 600, 601]:
            assert reader.frontier_at(size).root() == root_of(leaves[:size])


def test_closing_signs(ledger: Ledger) -> None:
    fill(ledger, 3)
    ledger.close()
    with reopen(ledger) as again:
        assert max(notes(again)) == 4


def test_an_older_copy_is_not_opened_to_grow(ledger: Ledger) -> None:
    fill(ledger, 1)
    ledger.close()
    keep_evidence(ledger.place, "backup")
    with reopen(ledger) as again:
        fill(again, 1)
    put_evidence_back(ledger.place, "backup")
    with pytest.raises(SigningRefused, match="size 2, but size 3 was signed") as refused:
        reopen(ledger)
    assert refused.value.kind == "rollback"


def test_an_older_copy_put_in_place_while_open_is_not_signed(ledger: Ledger) -> None:
    fill(ledger, 3)
    ledger.sign()
    change_evidence(ledger.place, "DELETE FROM entries WHERE seq=3", "UPDATE head SET size=3")
    with pytest.raises(SigningRefused, match="older copy") as refused:
        ledger.sign()
    assert refused.value.kind == "rollback"
    close_refused(ledger)


def test_another_history_is_not_signed(ledger: Ledger) -> None:
    """A copy of size 2 grows to size 3 on its own, after the original was signed at size 3."""
    fill(ledger, 1)
    ledger.close()
    keep_evidence(ledger.place, "copy")
    unsigned_state = (ledger.keys.path / "signed").read_bytes()
    with reopen(ledger) as again:
        fill(again, 1, "original/1")
    signed_state = (ledger.keys.path / "signed").read_bytes()
    put_evidence_back(ledger.place, "copy")
    (ledger.keys.path / "signed").write_bytes(unsigned_state)  # so that the copy may be opened at all
    copy = reopen(ledger)
    (ledger.keys.path / "signed").write_bytes(signed_state)
    for _ in range(2):  # of the same size, and of a larger one
        fill(copy, 1, "copy/1")
        with pytest.raises(SigningRefused, match="another root than was signed") as refused:
            copy.sign()
        assert refused.value.kind == "fork"
    assert max(notes(copy)) == 2
    assert (ledger.keys.path / "signed").read_bytes() == signed_state
    close_refused(copy)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE entries SET entry=CAST(replace(CAST(entry AS TEXT), '\"upto\":1', '\"upto\":7') AS BLOB) WHERE seq=2",
        "UPDATE entries SET entry=x'7b7d' WHERE seq=2",
        "UPDATE entries SET leaf=zeroblob(32) WHERE seq=2",
        "UPDATE entries SET stream='test/2' WHERE seq=2",
        "UPDATE entries SET pos=9 WHERE seq=2",
        "UPDATE entries SET type='a.b.v1' WHERE seq=2",
        "UPDATE entries SET seq=9 WHERE seq=3",
        "DELETE FROM entries WHERE seq=2",
        "DELETE FROM entries WHERE seq=3",
        "UPDATE head SET frontier=zeroblob(length(frontier))",
        "UPDATE head SET frontier=x''",
        "UPDATE head SET leaf=zeroblob(32)",
        "UPDATE head SET size=3",
        "UPDATE head SET size=5",
    ],
)
def test_what_changed_between_append_and_signing_is_not_signed(ledger: Ledger, statement: str) -> None:
    """Attack 23: bit rot, or a hand, before the signature that would have made it history."""
    fill(ledger, 3)
    before = notes(ledger)
    change_evidence(ledger.place, statement)
    with pytest.raises(SigningRefused) as refused:
        ledger.sign()
    assert refused.value.kind == "self_check_failed"
    assert (notes(ledger), ledger.keys.signed().size) == (before, 1)
    close_refused(ledger)


@only_sqlite
def test_an_entry_that_became_text_is_not_signed(ledger: Ledger) -> None:
    """PostgreSQL has no values of another type than their column's."""
    fill(ledger, 3)
    change_evidence(ledger.place, "UPDATE entries SET entry=CAST(entry AS TEXT) WHERE seq=2")
    with pytest.raises(SigningRefused) as refused:
        ledger.sign()
    assert refused.value.kind == "self_check_failed"
    close_refused(ledger)


def test_an_entry_that_re_hashes_but_does_not_parse_is_not_signed(ledger: Ledger) -> None:
    fill(ledger, 1)
    change_evidence(ledger.place, f"UPDATE entries SET entry=x'7b7d', leaf=x'{leaf_hash(b'{}').hex()}' WHERE seq=1")
    with pytest.raises(SigningRefused, match="entry 1"):
        ledger.sign()
    close_refused(ledger)


def test_damaged_hashes_beside_sound_entries_are_damage_and_no_fork(ledger: Ledger) -> None:
    fill(ledger, 300)
    ledger.sign()
    change_evidence(ledger.place, "UPDATE tiles SET hashes=zeroblob(8192), root=zeroblob(32)")
    fill(ledger, 1)
    with pytest.raises(SigningRefused, match="differ from the entries") as refused:
        ledger.sign()
    assert refused.value.kind == "self_check_failed"
    close_refused(ledger)


def test_a_crash_after_the_state_is_written_publishes_the_same_bytes_later(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempted: list[tuple[int, bytes]] = []

    def crash(size: int, note: bytes) -> None:
        attempted.append((size, note))
        raise OSError("killed")

    fill(ledger, 3)
    monkeypatch.setattr(ledger.recorder, "publish_checkpoint", crash)
    with pytest.raises(OSError, match="killed"):
        ledger.sign()
    monkeypatch.undo()
    assert (ledger.keys.signed().size, max(notes(ledger))) == (4, 1)
    ledger.sign()
    assert attempted == [(4, notes(ledger)[4])]


def test_a_crash_before_the_state_is_written_publishes_nothing(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(_: object) -> None:
        raise OSError("killed")

    fill(ledger, 3)
    monkeypatch.setattr(ledger.keys, "write_signed", crash)
    with pytest.raises(OSError, match="killed"):
        ledger.sign()
    monkeypatch.undo()
    assert (ledger.keys.signed().size, max(notes(ledger))) == (1, 1)
    assert ledger.sign().size == 4


def test_a_receipt_verifies_with_nothing_but_the_entry_and_the_key(ledger: Ledger) -> None:
    fill(ledger, 300)
    ledger.sign()
    with ledger.recorder.reading() as reader:
        raws = [row.raw for row in reader.entries()]
    for seq in (0, 1, 255, 256, 300):
        receipt = parse_receipt(print_receipt(ledger.receipt(seq)))
        assert verify_receipt(receipt, leaf_hash(raws[seq]), [ledger.verifier_key()], ledger.origin).size == 301


def test_a_receipt_of_an_unsigned_entry_signs_first(ledger: Ledger) -> None:
    fill(ledger, 1)
    assert ledger.receipt(1).index == 1
    assert ledger.keys.signed().size == 2


def test_there_is_no_receipt_of_an_entry_to_come(ledger: Ledger) -> None:
    with pytest.raises(Unavailable, match="entry 1: the log has no such entry yet"):
        ledger.receipt(1)


def test_the_background_signer_signs_after_an_append() -> None:
    signed = threading.Event()
    signer = BackgroundSigner(signed.set, delay=0.001)
    signer.wake()
    assert signed.wait(timeout=30)
    signer.stop()


def test_many_appends_within_the_delay_share_a_signature() -> None:
    count = 0

    def sign() -> None:
        nonlocal count
        count += 1

    signer = BackgroundSigner(sign, delay=60)
    for _ in range(100):
        signer.wake()
    signer.stop()  # ends the delay
    assert count == 1


def test_a_signer_that_was_never_woken_never_signs() -> None:
    signer = BackgroundSigner(lambda: pytest.fail("signed"))
    signer.stop()


def test_a_refusal_stops_the_signer_and_is_raised_at_the_end() -> None:
    asked = threading.Event()

    def refuse() -> None:
        asked.set()
        raise SigningRefused("fork", "another root than was signed")

    signer = BackgroundSigner(refuse, delay=0.001)
    signer.wake()
    assert asked.wait(timeout=30)
    with pytest.raises(SigningRefused, match="another root"):
        signer.stop()


def test_what_does_not_serve_just_now_is_tried_again_at_the_next_append() -> None:
    answers = iter([Unavailable("disk full"), None])
    asked = threading.Semaphore(0)

    def sign() -> None:
        answer = next(answers, None)
        asked.release()
        if answer is not None:
            raise answer

    signer = BackgroundSigner(sign, delay=0.001)
    for _ in range(2):
        signer.wake()
        assert asked.acquire(timeout=30)
    signer.stop()


def test_a_ledger_signs_in_the_background(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger.close()
    signed = threading.Event()
    again = Ledger(ledger.place, ledger.keys.path.parent, REGISTRY, edge=ledger._edge)
    assert again._signer is not None

    def sign_and_say() -> None:
        again.sign()
        signed.set()

    monkeypatch.setattr(again._signer, "_delay", 0.001)
    monkeypatch.setattr(again._signer, "_sign", sign_and_say)
    with again:
        fill(again, 3)
        assert signed.wait(timeout=30)
        assert max(notes(again)) == 4
