"""Verifying the ledger that is served: beside its writer, against what was brought, and what is kept of it."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from affidavit.api.verifying import Brought, Verification, Verifier
from affidavit.domain.event import Meta, NewEvent
from affidavit.ledger.application import Ledger
from affidavit.ledger.errors import Malformed
from affidavit.ledger.events import ClockSteppedBack
from affidavit.ledger.store.sqlite.place import FolderPlace
from affidavit.ledger.tlog.note import print_vkey
from affidavit.tests.folders import folder_of

LATER = 60.0


@pytest.fixture
def verifier(ledger: Ledger, tmp_path: Path) -> Iterator[Verifier]:
    with closing(Verifier(FolderPlace(tmp_path / "ledger"), tmp_path / "keys", lambda: 1_795_341_600)) as made:
        yield made


def _finish(verifier: Verifier) -> Verification:
    deadline = time.monotonic() + LATER
    while time.monotonic() < deadline:
        running, last = verifier.look()
        if running is None:
            assert last is not None
            return last
        time.sleep(0.02)
    raise AssertionError("it does not end")


def _append(ledger: Ledger, count: int, start: int = 0) -> None:
    events = [
        NewEvent("clock", pos, ClockSteppedBack(behind=1.5), Meta(recorder="test"))
        for pos in range(start, start + count)
    ]
    ledger.record(*events)


def test_what_is_served_is_verified_while_its_writer_has_it_open(ledger: Ledger, verifier: Verifier) -> None:
    _append(ledger, 3)
    ledger.sign()
    _append(ledger, 1, start=3)
    assert verifier.start(Brought())
    found = _finish(verifier)
    verdict = found.verdict
    assert found.problem is None
    assert verdict is not None
    assert (verdict.verdict, verdict.size, verdict.signed_size) == ("ok", 5, 4)
    assert found.signing_state == 4
    assert {"chain", "tree", "signatures", "signing_state", "sealed"} <= set(verdict.checked)
    assert {"key_pinned", "fork", "time", "unsigned_tail"} <= verdict.not_checked.keys()


def test_what_is_brought_is_checked_against(ledger: Ledger, verifier: Verifier) -> None:
    ledger.sign()
    with ledger.recorder.reading() as reader:
        latest = reader.latest_checkpoint()
    assert latest is not None
    pinned = latest[1].decode().replace("\n", "\r\n")  # as a browser sends it
    verifier.start(Brought(print_vkey(ledger.verifier_key()), pinned))
    verdict = _finish(verifier).verdict
    assert verdict is not None
    assert verdict.verdict == "ok"
    assert {"key_pinned", "pinned"} <= set(verdict.checked)


def test_what_somebody_brought_is_not_what_everybody_is_told(ledger: Ledger, verifier: Verifier) -> None:
    verifier.start(Brought())
    alone = _finish(verifier)
    verifier.start(Brought(print_vkey(ledger.verifier_key())))
    assert _finish(verifier) is not alone
    assert verifier.look_alone() is alone


def test_damage_is_found(ledger: Ledger, verifier: Verifier) -> None:
    _append(ledger, 3)
    ledger.sign()
    with closing(sqlite3.connect(folder_of(ledger) / "ledger.db", isolation_level=None)) as db:
        db.execute("DROP TRIGGER entries_no_UPDATE")
        (raw,) = db.execute("SELECT entry FROM entries WHERE seq=2").fetchone()
        forged = bytes(raw).replace(b'"1.5"', b'"9.5"')
        assert forged != raw
        db.execute("UPDATE entries SET entry=? WHERE seq=2", (forged,))
    verifier.start(Brought())
    verdict = _finish(verifier).verdict
    assert verdict is not None
    assert verdict.verdict == "damaged"
    assert {damage.seq for damage in verdict.damage if damage.kind == "entry_modified"} == {2}


def test_one_at_a_time(ledger: Ledger, verifier: Verifier) -> None:
    assert verifier.start(Brought())
    assert not verifier.start(Brought(vkey=print_vkey(ledger.verifier_key())))
    running, last = verifier.look()
    assert running is not None
    assert running.brought == Brought()
    assert last is None
    assert _finish(verifier).brought == Brought()
    assert verifier.start(Brought())


@pytest.mark.parametrize(
    ("brought", "told"),
    [
        (Brought(vkey="not a key"), "the vkey"),
        (Brought(pinned="not a note"), "the pinned checkpoint"),
        (Brought(policy="not a policy"), "the policy"),
    ],
)
def test_what_does_not_read_is_told_at_once(verifier: Verifier, brought: Brought, told: str) -> None:
    with pytest.raises(Malformed, match=told):
        verifier.start(brought)
    assert verifier.look() == (None, None)


def test_one_that_is_stopped_has_no_verdict(ledger: Ledger, verifier: Verifier) -> None:
    verifier.start(Brought())
    verifier.close()
    found = _finish(verifier)
    assert found.verdict is None
    assert found.problem
