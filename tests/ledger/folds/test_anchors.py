"""What the log says was stamped: only what stands in the stream of anchors, and reads as one."""

from __future__ import annotations

from typing import Any

from affidavit.ledger.entries.entry import Entry
from affidavit.ledger.events import AnchorRecorded
from affidavit.ledger.folds.anchors import Anchor, fold_anchors

AT, TIME = "2026-11-22T10:00:01.000000Z", "2026-11-22T10:00:00.000000Z"


def recorded(seq: int, stream: str = "anchors", **changed: Any) -> Entry:
    fields = {"size": 3, "root": "ab" * 32, "token": "cd" * 32, "time": TIME, "authority": "tsa.example"}
    return Entry(
        v=1,
        seq=seq,
        prev="0" * 64,
        at=AT,
        stream=stream,
        pos=0,
        type=AnchorRecorded.type_name,
        meta={},
        data={**fields, **changed},
        sealed={},
    )


def test_an_anchor_is_what_its_entry_says() -> None:
    assert list(fold_anchors([recorded(5)])) == [Anchor(5, AT, 3, b"\xab" * 32, "cd" * 32, TIME, "tsa.example")]


def test_what_stands_elsewhere_or_lacks_its_fields_anchors_nothing() -> None:
    other = recorded(6)
    other["type"] = "clock.stepped_back.v1"
    entries = [recorded(4, stream="run/043"), other, recorded(7, size=0), recorded(8, root="none"), recorded(9)]
    assert [anchor.seq for anchor in fold_anchors(entries)] == [9]
