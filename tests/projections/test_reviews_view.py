"""Reviews are found by their places: newest first, of a run, of a verdict, as of an earlier size."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Connection, create_engine

from affidavit.api.record import RecordingLedger
from affidavit.api.reviews import record_review
from affidavit.ledger.application import Ledger
from affidavit.ledger.entries.review import Opinion, Statement, Subject, sign_statement
from affidavit.ledger.tlog.note import ED25519, print_vkey
from affidavit.ledger.tlog.private_key import NotePrivateKey
from affidavit.projections.reviews_view import count_reviews, newest_reviews, verdict_counts
from affidavit.projections.runner import catch_up

KEY = NotePrivateKey("ada@example.org", ED25519, bytes(32))


def review(ledger: Ledger, verdict: Opinion, **subject: Any) -> int:
    with ledger.recorder.reading() as reader:
        head = reader.head()
    statement = Statement(
        ledger.origin, Subject(**subject), head.size, head.root(), verdict, "2026-11-22T10:00:00Z", "Words."
    )
    return record_review(ledger, sign_statement(statement, KEY), print_vkey(KEY.verifier_key)).seq


@pytest.fixture
def views(ledger: Ledger) -> Iterator[Connection]:
    engine = create_engine("sqlite://")
    with ledger.recorder.reading() as reader:
        catch_up(engine, ledger.event_reader(reader))
    with engine.connect() as connection:
        yield connection
    engine.dispose()


@pytest.fixture
def seqs(ledger: Ledger) -> list[int]:
    """Four reviews: of run 001, of its iteration 1, of entries, and of run 001 again."""
    run = RecordingLedger(ledger).start_run(strategy="iterative", prompt="Answer.", config={})
    run.record_iteration(run.record_evaluation("Answer.", score=0.5))
    return [
        review(ledger, "approve", run="001"),
        review(ledger, "question", run="001", iteration=1),
        review(ledger, "approve", first=0, last=1),
        review(ledger, "reject", run="001"),
    ]


def test_newest_first_and_as_of_a_size(seqs: list[int], views: Connection) -> None:
    size = seqs[-1] + 1
    assert newest_reviews(views, size, 10) == seqs[::-1]
    assert newest_reviews(views, size, 2) == [seqs[3], seqs[2]]
    assert newest_reviews(views, seqs[2], 10) == [seqs[1], seqs[0]]
    assert newest_reviews(views, size, 10, run="001") == [seqs[3], seqs[1], seqs[0]]
    assert newest_reviews(views, size, 10, run="001", verdict="approve") == [seqs[0]]
    assert newest_reviews(views, size, 10, run="002") == []


def test_they_are_counted(seqs: list[int], views: Connection) -> None:
    size = seqs[-1] + 1
    assert count_reviews(views, size) == 4
    assert count_reviews(views, seqs[3]) == 3
    assert count_reviews(views, size, start=seqs[1] + 1) == 2
    assert count_reviews(views, size, verdict="approve") == 2
    assert verdict_counts(views, size) == {"approve": 2, "question": 1, "reject": 1}
    assert verdict_counts(views, seqs[0]) == {}
