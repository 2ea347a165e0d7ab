"""The list of the entries that name the log's keys."""

from __future__ import annotations

from starlette.testclient import TestClient

from affidavit.api.http.service import Service


def test_the_entries_that_name_the_keys(visitor: TestClient, world: Service) -> None:
    answer = visitor.get("/ledger/signers.txt")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    with world.ledger.recorder.reading() as reader:
        assert answer.text.split() == [str(row.seq) for row in reader.stream("ledger")]
    assert answer.text.startswith("0\n")
