"""What the log says of its witnesses: the last declaration counts; one that cannot be read is told."""

from __future__ import annotations

from typing import Any

import pytest

from affidavit.ledger.entries.entry import Entry
from affidavit.ledger.errors import Malformed
from affidavit.ledger.events import WitnessesDeclared
from affidavit.ledger.folds.witnesses import declaration, fold_declared


def declared(seq: int, data: dict[str, Any], stream: str = "witnesses") -> Entry:
    return Entry(
        v=1,
        seq=seq,
        prev="0" * 64,
        at="2026-11-22T10:00:00.000000Z",
        stream=stream,
        pos=0,
        type=WitnessesDeclared.type_name,
        meta={},
        data=data,
        sealed={},
    )


FIRST, SECOND = ({"policy": "quorum none\n", "required": required} for required in (False, True))


def test_the_last_declaration_counts() -> None:
    assert fold_declared([]) is None
    assert fold_declared([declared(1, FIRST), declared(2, SECOND)]) == WitnessesDeclared(**SECOND)
    assert fold_declared([declared(1, FIRST), declared(2, SECOND, stream="run/043")]) == WitnessesDeclared(**FIRST)


def test_a_declaration_without_its_fields_is_told_with_its_place() -> None:
    with pytest.raises(Malformed, match=r"^entry 4: witnesses\.declared\.v1 does not have its fields$"):
        declaration(declared(4, {"policy": "quorum none\n"}))
