"""What was recorded since an entry, counted and listed."""

from __future__ import annotations

import re

import pytest
from starlette.testclient import TestClient

from affidavit.api.http.service import Service
from affidavit.api.pages.ledger import changes


def test_what_came_after_is_counted_and_listed(world: Service, visitor: TestClient) -> None:
    size, _ = world.head()
    text = visitor.get("/ledger/changes", params={"since": size - 4}).text
    assert "3 entries were recorded after" in text
    assert [int(seq) for seq in re.findall(r'class="n"><a href="/ledger/entries/(\d+)"', text)] == [
        size - 1,
        size - 2,
        size - 3,
    ]
    counts = re.findall(r'</code></a></td><td class="n">(\d+)</td>', text)
    assert sum(map(int, counts)) == 3


def test_of_a_long_time_the_newest_are_counted_and_that_is_said(
    visitor: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes, "COUNTED", 100)
    text = visitor.get("/ledger/changes").text
    assert "Counted are the newest 100" in text
    assert sum(map(int, re.findall(r'</code></a></td><td class="n">(\d+)</td>', text))) == 100


def test_since_the_last_entry_there_is_nothing(world: Service, visitor: TestClient) -> None:
    size, _ = world.head()
    assert "Nothing was recorded since." in visitor.get("/ledger/changes", params={"since": size - 1}).text
    assert visitor.get("/ledger/changes", params={"since": size}).status_code == 404
