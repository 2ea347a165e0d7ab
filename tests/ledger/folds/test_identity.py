"""Origins and keys are as the entries of stream ``ledger`` say; entries that contradict each other say nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from affidavit.domain.event import Event
from affidavit.ledger.entries.entry import Entry
from affidavit.ledger.errors import Malformed
from affidavit.ledger.events import KeyRotated, LedgerContinued, LedgerOpened
from affidavit.ledger.folds.identity import Continuation, KeyRange, fold_identity
from affidavit.ledger.tlog.note import ED25519, ED25519_COSIGNATURE, VerifierKey, print_vkey

ORIGIN, SECOND = "example.org/log/0123456789abcdef", "example.org/restored/fedcba9876543210"


def key(number: int, origin: str = ORIGIN, algorithm: int = ED25519) -> VerifierKey:
    return VerifierKey(origin, algorithm, bytes([number + 9]) * 32)


def entry(seq: int, pos: int, event: Event, stream: str = "ledger") -> Entry:
    return Entry(
        v=1,
        seq=seq,
        prev="0" * 64,
        at="2026-11-22T10:00:00.000000Z",
        stream=stream,
        pos=pos,
        type=event.type_name,
        meta={},
        data=event.model_dump(),
        sealed={},
    )


def opened(vkey: str = print_vkey(key(1)), origin: str = ORIGIN) -> Entry:
    return entry(0, 0, LedgerOpened(format=1, origin=origin, vkey=vkey))


def rotated(seq: int = 10, pos: int = 1, **changed: Any) -> Entry:
    fields = {"old": print_vkey(key(1)), "new": print_vkey(key(2)), "first": seq + 1, "last": seq + 5}
    return entry(seq, pos, KeyRotated(**{**fields, **changed}))


def continued(seq: int = 20, pos: int = 1, **changed: Any) -> Entry:
    fields = {
        "origin": SECOND,
        "vkey": print_vkey(key(3, SECOND)),
        "continues": ORIGIN,
        "signed_size": 30,
        "signed_root": "ab" * 32,
        "reason": "restored",
    }
    return entry(seq, pos, LedgerContinued(**{**fields, **changed}))


def test_a_new_log_has_one_key_for_every_size() -> None:
    identity = fold_identity([opened()])
    assert (identity.genesis, identity.origin, identity.key) == (ORIGIN, ORIGIN, key(1))
    assert identity.ranges == (KeyRange(ORIGIN, key(1), 0, None, 0),)
    assert identity.keys_at(0) == identity.keys_at(10**9) == [key(1)]


def test_a_rotation_overlaps_and_ends() -> None:
    identity = fold_identity([opened(), rotated()])
    assert [identity.keys_at(size) for size in (10, 11, 15, 16)] == [
        [key(1)],
        [key(1), key(2)],
        [key(1), key(2)],
        [key(2)],
    ]
    assert (identity.origin, identity.key) == (ORIGIN, key(2))
    assert [signer.named_by for signer in identity.ranges] == [0, 10]


def test_overlaps_may_overlap() -> None:
    again = rotated(12, 2, old=print_vkey(key(2)), new=print_vkey(key(3)), last=13)
    identity = fold_identity([opened(), rotated(), again])
    assert [len(identity.keys_at(size)) for size in (12, 13, 14, 15, 16)] == [2, 3, 2, 2, 1]
    assert identity.keys_at(16) == [key(3)]


def test_a_continuation_ends_what_was_before() -> None:
    identity = fold_identity([opened(), rotated(18), continued(20, 2)])
    assert (identity.genesis, identity.origin, identity.key) == (ORIGIN, SECOND, key(3, SECOND))
    assert [identity.origin_at(size) for size in (0, 20, 21, 99)] == [ORIGIN, ORIGIN, SECOND, SECOND]
    assert identity.keys_at(20) == [key(1), key(2)]
    assert identity.keys_at(21) == [key(3, SECOND)]
    assert identity.continuations == (Continuation(20, SECOND, ORIGIN, 30, b"\xab" * 32),)


def test_other_streams_and_unknown_events_say_nothing() -> None:
    elsewhere, unknown = rotated(), rotated()
    elsewhere["stream"], unknown["type"] = "run/1", "ledger.renamed.v1"
    assert fold_identity([opened(), elsewhere, unknown]) == fold_identity([opened()])


def without(name: str) -> Callable[[Entry], Entry]:
    def cut(made: Entry) -> Entry:
        made["data"] = {field: value for field, value in made["data"].items() if field != name}
        return made

    return cut


@pytest.mark.parametrize(
    ("entries", "says"),
    [
        ([], "no entry names its origin"),
        ([rotated(0, 0)], "expected ledger.opened.v1 as entry 0"),
        (
            [entry(1, 0, LedgerOpened(format=1, origin=ORIGIN, vkey=print_vkey(key(1))))],
            "expected ledger.opened.v1 as entry 0",
        ),
        ([opened(), entry(1, 1, LedgerOpened(format=1, origin=ORIGIN, vkey=print_vkey(key(1))))], "opened before"),
        ([opened(print_vkey(key(1, SECOND)))], "expected a key of type 0x01 under"),
        ([opened(print_vkey(key(1, algorithm=ED25519_COSIGNATURE)))], "found 0x04"),
        ([opened("nonsense")], "vkey"),
        ([without("vkey")(opened())], "does not have its fields"),
        ([opened(), rotated(pos=2)], "expected position 1 of stream 'ledger', found 2"),
        ([opened(), rotated(old=print_vkey(key(7)))], "the key that it replaces is not the one that signs"),
        ([opened(), rotated(new=print_vkey(key(1)))], "the new key has signed this log before"),
        ([opened(), rotated(new=print_vkey(key(2, SECOND)))], "expected a key of type 0x01 under"),
        ([opened(), rotated(first=12)], "expected them to begin after 0 and to hold 11"),
        ([opened(), rotated(last=10)], "expected them to begin after 0 and to hold 11"),
        ([opened(), rotated(), rotated(12, 2)], "the key that it replaces is not the one that signs"),
        (
            [opened(), rotated(), rotated(12, 2, old=print_vkey(key(2)), new=print_vkey(key(3)), first=11)],
            "begin after 11",
        ),
        ([opened(), continued(continues=SECOND)], "it continues"),
        ([opened(), continued(origin=ORIGIN, vkey=print_vkey(key(3)))], "was this log's before"),
        ([opened(), continued(vkey=print_vkey(key(1, SECOND)))], "the new key has signed this log before"),
        ([opened(), continued(vkey=print_vkey(key(3)))], "expected a key of type 0x01 under"),
    ],
)
def test_a_contradiction_is_malformed(entries: list[Entry], says: str) -> None:
    with pytest.raises(Malformed, match=says):
        fold_identity(entries)
