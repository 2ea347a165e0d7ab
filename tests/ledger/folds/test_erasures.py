"""What the log says was erased: an execution counts where an entry before it asked for it, and nowhere else."""

from __future__ import annotations

from affidavit.domain.event import Event, Meta, Recorded
from affidavit.ledger.entries.entry import Entry
from affidavit.ledger.events import ErasureExecuted, ErasureRequested
from affidavit.ledger.folds.erasures import Destroyed, fold_erasures, pair_erasures


def entry(seq: int, event: Event, stream: str = "erasure") -> Entry:
    return Entry(
        v=1,
        seq=seq,
        prev="0" * 64,
        at="2026-11-22T10:00:00.000000Z",
        stream=stream,
        pos=seq,
        type=event.type_name,
        meta={},
        data=event.model_dump(exclude_none=True),
        sealed={},
    )


def requested(seq: int, scope: str = "run/1", stream: str = "erasure") -> Entry:
    return entry(seq, ErasureRequested(scope=scope, reason="asked"), stream)


def executed(seq: int, asked: int, scope: str = "run/1", stream: str = "erasure", number: int = 7) -> Entry:
    event = ErasureExecuted(
        scope=scope, reason="asked", requested=asked, key_fingerprint=f"{number:064x}", aliases=number
    )
    return entry(seq, event, stream)


def test_what_was_sealed_before_the_execution_is_erased() -> None:
    found = fold_erasures([requested(3), executed(4, 3)])
    assert found.executed == {"run/1": (4, Destroyed(f"{7:064x}", 7))}
    assert found.unfinished == {}
    assert found.executed_after(2, "run/1") == Destroyed(f"{7:064x}", 7)
    assert found.executed_after(4, "run/1") is None
    assert found.executed_after(2, "run/2") is None


def test_a_request_alone_is_unfinished() -> None:
    found = fold_erasures([requested(3)])
    assert found.unfinished == {3: "run/1"}
    assert (found.requested_after(2, "run/1"), found.requested_after(3, "run/1")) == (True, False)


def test_an_execution_of_another_scope_leaves_the_request_open() -> None:
    found = fold_erasures([requested(3), executed(4, 3, "run/2"), executed(5, 3)])
    assert found.executed == {"run/1": (5, Destroyed(f"{7:064x}", 7))}
    assert found.unfinished == {}


def test_the_first_execution_of_a_scope_is_the_one_that_counts() -> None:
    found = fold_erasures([requested(3), executed(4, 3), requested(5), executed(6, 5, number=8)])
    assert found.executed["run/1"] == (4, Destroyed(f"{7:064x}", 7))


def test_entries_of_other_streams_and_without_their_fields_are_passed_over() -> None:
    broken = executed(5, 3)
    del broken["data"]["requested"]
    assert fold_erasures([requested(3, stream="run/1"), executed(4, 3)]).executed == {}
    assert fold_erasures([requested(3), executed(4, 3, stream="run/1"), broken]).unfinished == {3: "run/1"}


def test_requests_and_executions_are_paired_newest_first() -> None:
    end = ErasureExecuted(scope="run/1", reason="asked", requested=3, key_fingerprint="0" * 64, aliases=0)
    beyond = end.model_copy(update={"scope": "run/0", "requested": 1})
    events = {
        2: beyond,
        3: ErasureRequested(scope="run/1", reason="asked"),
        4: end,
        5: ErasureRequested(scope="run/2", reason="asked"),
        6: ErasureRequested(scope="run/3", reason="asked"),
    }
    recorded = [Recorded(seq, "", "erasure", seq, event.type_name, Meta(), event) for seq, event in events.items()]
    rows = pair_erasures(recorded)
    assert [(row.scope, row.requested, row.executed) for row in rows] == [
        ("run/3", 6, None),
        ("run/2", 5, None),
        ("run/1", 3, 4),
        ("run/0", 1, 2),
    ]
