"""Anchors: what stamped checkpoints prove of the time of every entry, and what contradicts them."""

from __future__ import annotations

import sys
from dataclasses import replace
from hashlib import sha256

import pytest

from affidavit.domain.event import Meta, NewEvent
from affidavit.ledger.application import Ledger
from affidavit.ledger.audit.anchors import ALLOWED_SKEW_US, AnchorReport, Bound, check_anchors, print_bounds
from affidavit.ledger.entries.entry import format_at, parse_entry
from affidavit.ledger.events import AnchorRecorded, ClockSteppedBack
from affidavit.ledger.folds.anchors import ANCHOR_STREAM, Anchor
from affidavit.ledger.store.folding import read_anchors
from affidavit.ledger.tlog.checkpoint import claimed_checkpoint, parse_checkpoint, sign_checkpoint
from affidavit.ledger.tlog.note import parse_note
from affidavit.ledger.tlog.timestamp import imprint, read_token
from affidavit.tests.authority import Authority
from affidavit.tests.stores import every_store

SECOND = 1_000_000
HOUR = 3600 * SECOND
pytestmark = every_store


@pytest.fixture
def authority(now: list[int]) -> Authority:
    return Authority(lambda: now[0])


def record(ledger: Ledger, count: int = 1) -> None:
    for _ in range(count):
        with ledger.recorder.reading() as reader:
            pos = reader.next_pos("filler")
        ledger.record(NewEvent("filler", pos, ClockSteppedBack(behind=1.0), Meta()))


def anchor(ledger: Ledger, authority: Authority) -> int:
    """Have what is there stamped, and record it; how many entries it covers."""
    size = ledger.sign().size
    with ledger.recorder.reading() as reader:
        note = dict(reader.checkpoints())[size]
        pos = reader.next_pos(ANCHOR_STREAM)
    token = authority.stamp(imprint(note, ledger.verifier_key()))
    ledger.place.keep_token(size, token)
    event = AnchorRecorded(
        size=size,
        root=claimed_checkpoint(note).root.hex(),
        token=sha256(token).hexdigest(),
        time=format_at(read_token(token).timestamp.time_us),
        authority="tsa.example",
    )
    ledger.record(NewEvent(ANCHOR_STREAM, pos, event, Meta()))
    return size


def check(
    ledger: Ledger,
    *roots: bytes,
    anchors: list[Anchor] | None = None,
    tokens: dict[int, bytes | None] | None = None,
    notes: dict[int, bytes | None] | None = None,
    at: dict[int, str] | None = None,
) -> AnchorReport:
    """Check the anchors of a ledger; each argument stands for what somebody has changed."""
    with ledger.recorder.reading() as reader:
        known = read_anchors(reader) if anchors is None else anchors
        published = dict(reader.checkpoints())
        ats = {row.seq: parse_entry(row.raw)["at"] for row in reader.entries()}
    return check_anchors(
        known,
        lambda size: tokens[size] if tokens and size in tokens else ledger.place.token(size),
        lambda size: notes[size] if notes and size in notes else published.get(size),
        lambda size: [ledger.verifier_key()],
        roots,
        lambda seq: (at or {}).get(seq, ats[seq]),
    )


def kinds(report: AnchorReport) -> list[tuple[str, int | None]]:
    return [(damage.kind, damage.seq) for damage in report.damage]


def test_every_entry_is_bounded_from_both_sides(ledger: Ledger, authority: Authority, now: list[int]) -> None:
    record(ledger, 2)
    first_at = now[0] = now[0] + HOUR
    assert anchor(ledger, authority) == 3
    record(ledger, 2)
    second_at = now[0] = now[0] + HOUR
    assert anchor(ledger, authority) == 6
    record(ledger)

    report = check(ledger, authority.root_pem)

    assert (report.damage, report.unchecked) == ((), ())
    assert (report.anchored_from, report.anchored_to) == (3, 6)
    (first, second, after) = report.bounds
    assert (first, first.not_after) == (replace(first, first=0, stop=3, not_before=None), first_at + SECOND)
    assert (second.first, second.stop, after.first, after.stop) == (3, 6, 6, None)
    assert first_at - SECOND <= (second.not_before or 0) <= first_at
    assert second_at <= (second.not_after or 0) <= second_at + 2 * SECOND
    assert (after.not_before or 0) > first_at
    assert after.not_after is None


def test_without_anchors_nothing_is_bounded(ledger: Ledger, authority: Authority) -> None:
    report = check(ledger, authority.root_pem)
    assert report == AnchorReport()
    assert report.bounds == (Bound(0, None, None, None),)


def test_without_a_pinned_root_an_anchor_proves_nothing(ledger: Ledger, authority: Authority) -> None:
    anchor(ledger, authority)
    report = check(ledger)
    assert (report.damage, report.anchored_from, report.anchored_to) == ((), None, 0)
    assert report.unchecked == ("the token of the checkpoint of size 1: no root of an authority is pinned",)
    anchor(ledger, authority)
    assert check(ledger).unchecked == ("2 tokens of checkpoints of sizes 1 to 2: no root of an authority is pinned",), (
        "one line, however many there are"
    )


def test_a_token_that_is_gone_proves_nothing(ledger: Ledger, authority: Authority) -> None:
    anchor(ledger, authority)
    report = check(ledger, authority.root_pem, tokens={1: None})
    assert (report.damage, report.unchecked) == ((), ("the token of the checkpoint of size 1: it is not there",))


def test_without_the_extra_tokens_are_not_checked(
    ledger: Ledger, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    anchor(ledger, authority)
    monkeypatch.setitem(sys.modules, "rfc3161_client", None)
    report = check(ledger, authority.root_pem)
    assert report.damage == ()
    assert "affidavit[timestamps]" in report.unchecked[0]


def test_another_token_than_was_recorded_is_damage(ledger: Ledger, authority: Authority) -> None:
    anchor(ledger, authority)
    own = ledger.place.token(1)
    assert own is not None
    again = authority.stamp(read_token(own).imprint)
    assert kinds(check(ledger, authority.root_pem, tokens={1: again})) == [("tsa_invalid", 1)]
    assert kinds(check(ledger, tokens={1: own + b"\x00"})) == [("tsa_invalid", 1)], "a root is not needed to see it"


def test_a_token_of_an_authority_that_is_not_pinned_proves_nothing(
    ledger: Ledger, authority: Authority, now: list[int]
) -> None:
    anchor(ledger, authority)
    other = Authority(lambda: now[0], "Other TSA")
    found = check(ledger, other.root_pem)
    assert (found.damage, found.anchored_to) == ((), 0)
    assert "no chain to a pinned root" in found.unchecked[0]
    assert check(ledger, other.root_pem, authority.root_pem).anchored_to == 1


def test_a_log_that_changes_its_authority_is_bounded_by_the_one_that_is_pinned(
    ledger: Ledger, authority: Authority, now: list[int]
) -> None:
    anchor(ledger, authority)
    record(ledger)
    anchor(ledger, Authority(lambda: now[0], "Other TSA"))
    found = check(ledger, authority.root_pem)
    assert (found.damage, found.anchored_to, len(found.unchecked)) == ((), 1, 1)


def test_a_forged_signature_is_damage_whoever_is_pinned(ledger: Ledger, authority: Authority, now: list[int]) -> None:
    anchor(ledger, authority)
    token = ledger.place.token(1)
    assert token is not None
    forger = Authority(lambda: read_token(token).timestamp.time_us)
    forger.certificate, forger.carried = authority.certificate, authority.carried
    forged = forger.stamp(read_token(token).imprint)
    with ledger.recorder.reading() as reader:
        (known,) = read_anchors(reader)
    rewritten = replace(known, token_sha256=sha256(forged).hexdigest())
    other = Authority(lambda: now[0], "Other TSA")
    for root in (authority.root_pem, other.root_pem):
        assert kinds(check(ledger, root, anchors=[rewritten], tokens={1: forged})) == [("tsa_invalid", 1)]


def test_a_token_signed_anew_by_others_proves_nothing(ledger: Ledger, authority: Authority, now: list[int]) -> None:
    """Whoever can rewrite the entry too still lacks the pinned authority's key."""
    anchor(ledger, authority)
    token = ledger.place.token(1)
    assert token is not None
    forged = Authority(lambda: now[0] - HOUR).stamp(read_token(token).imprint)
    with ledger.recorder.reading() as reader:
        (known,) = read_anchors(reader)
    claimed = format_at(read_token(forged).timestamp.time_us)
    rewritten = replace(known, token_sha256=sha256(forged).hexdigest(), time=claimed)
    found = check(ledger, authority.root_pem, anchors=[rewritten], tokens={1: forged})
    assert (found.damage, found.anchored_to, len(found.unchecked)) == ((), 0, 1)


def test_a_log_that_was_signed_anew_is_not_the_one_that_was_stamped(ledger: Ledger, authority: Authority) -> None:
    """Even under the log's own key: the token is of what was signed then."""
    record(ledger)
    anchor(ledger, authority)
    with ledger.recorder.reading() as reader:
        (known,) = read_anchors(reader)
        checkpoint = parse_checkpoint(parse_note(dict(reader.checkpoints())[2]).text)
    other = sign_checkpoint(replace(checkpoint, root=sha256(b"rewritten").digest()), ledger.keys.signing_key())
    rewritten = replace(known, root=sha256(b"rewritten").digest())

    assert kinds(check(ledger, notes={2: other})) == [("anchor_mismatch", 2)]
    assert kinds(check(ledger, notes={2: other}, anchors=[rewritten])) == [("anchor_mismatch", 2)]
    assert kinds(check(ledger, notes={2: None})) == [("anchor_mismatch", 2)]
    assert kinds(check(ledger, notes={2: b"junk"})) == [("anchor_mismatch", 2)]


def test_a_token_of_another_checkpoint_is_a_mismatch(ledger: Ledger, authority: Authority) -> None:
    anchor(ledger, authority)
    anchor(ledger, authority)
    earlier = ledger.place.token(1)
    assert earlier is not None
    with ledger.recorder.reading() as reader:
        first, second = read_anchors(reader)
    replayed = replace(second, token_sha256=first.token_sha256, time=first.time)
    assert kinds(check(ledger, authority.root_pem, anchors=[replayed], tokens={2: earlier})) == [("anchor_mismatch", 2)]


def test_the_recorded_time_must_be_the_token_s(ledger: Ledger, authority: Authority) -> None:
    anchor(ledger, authority)
    with ledger.recorder.reading() as reader:
        (known,) = read_anchors(reader)
    earlier = replace(known, time="2020-01-01T00:00:00.000000Z")
    assert kinds(check(ledger, anchors=[earlier])) == [("anchor_mismatch", 1)]


def test_what_was_not_there_yet_cannot_have_been_stamped(ledger: Ledger, authority: Authority) -> None:
    anchor(ledger, authority)
    with ledger.recorder.reading() as reader:
        (known,) = read_anchors(reader)
    assert kinds(check(ledger, anchors=[replace(known, size=9)])) == [("anchor_mismatch", 1)]


def test_entries_later_than_the_token_that_covers_them_are_damage(
    ledger: Ledger, authority: Authority, now: list[int]
) -> None:
    record(ledger)
    now[0] += HOUR  # the ledger's clock runs ahead; the authority's does not
    record(ledger, 2)
    slow = Authority(lambda: now[0] - HOUR)
    anchor(ledger, slow)

    report = check(ledger, slow.root_pem)

    assert kinds(report) == [("time_outside_anchor", 2)]
    assert "entries 2 to 3" in report.damage[0].detail


def test_an_entry_backdated_before_an_anchor_is_damage(ledger: Ledger, now: list[int]) -> None:
    """The clock was set back before the anchor was recorded, so that what follows looks older."""
    fast = Authority(lambda: now[0] + HOUR)
    anchor(ledger, fast)
    report = check(ledger, fast.root_pem)
    assert kinds(report) == [("time_outside_anchor", 1)]
    assert "follows what was stamped" in report.damage[0].detail


@pytest.mark.parametrize("beyond", [0, 1])
def test_clocks_may_differ_by_the_skew_and_the_accuracy(
    ledger: Ledger, authority: Authority, now: list[int], beyond: int
) -> None:
    anchor(ledger, authority)
    with ledger.recorder.reading() as reader:
        (known,) = read_anchors(reader)
    token = ledger.place.token(1)
    assert token is not None
    stamp = read_token(token).timestamp
    latest = {0: format_at(stamp.latest + ALLOWED_SKEW_US + beyond)}
    earliest = replace(known, at=format_at(stamp.earliest - ALLOWED_SKEW_US - beyond))

    assert len(check(ledger, authority.root_pem, at=latest).damage) == beyond
    assert len(check(ledger, authority.root_pem, anchors=[earliest]).damage) == beyond


def test_two_anchors_of_the_same_size_bound_together(ledger: Ledger, authority: Authority, now: list[int]) -> None:
    """A later stamp of the same entries takes nothing from what the earlier one proves."""
    anchor(ledger, authority)
    with ledger.recorder.reading() as reader:
        (known,) = read_anchors(reader)
    report = check(ledger, authority.root_pem, anchors=[known, replace(known, seq=7, at=format_at(now[0]))])
    assert [(bound.first, bound.stop) for bound in report.bounds] == [(0, 1), (1, 7), (7, None)]
    assert report.damage == ()


def test_only_what_reads_as_an_anchor_counts(ledger: Ledger, authority: Authority) -> None:
    anchor(ledger, authority)
    ledger.record(NewEvent(ANCHOR_STREAM, 1, ClockSteppedBack(behind=1.0), Meta()))
    anchor(ledger, authority)
    with ledger.recorder.reading() as reader:
        assert [(found.seq, found.size) for found in read_anchors(reader)] == [(1, 1), (3, 3)]
        assert [found.size for found in read_anchors(reader, before=3)] == [1]
        assert [found.size for found in read_anchors(reader, start=1)] == [3]


def test_bounds_are_printed_whatever_time_somebody_signed() -> None:
    far = 2**62 * SECOND
    bounds = [Bound(0, 3, None, 0), Bound(3, None, far, None), Bound(5, None, far, None)]
    assert print_bounds(bounds, 5) == [
        (0, 3, None, "1970-01-01T00:00:00.000000Z"),
        (3, 5, f"{2**62} seconds after 1970", None),
    ]
