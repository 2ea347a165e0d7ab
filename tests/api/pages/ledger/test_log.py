"""The page of the ledger: its newest entries, filters, paging, and as of an earlier moment."""

from __future__ import annotations

import re

from starlette.testclient import TestClient

from affidavit.api.http.service import Service
from affidavit.domain.event import Meta, NewEvent
from affidavit.ledger.application import Ledger
from affidavit.ledger.events import ClockSteppedBack

from ..world_runs import BETTER, ERASED_RUN


def _seqs(text: str) -> list[int]:
    return [int(seq) for seq in re.findall(r'<th scope="row" class="n"><a href="/ledger/entries/(\d+)', text)]


def _next(text: str) -> str | None:
    found = re.search(r'<a rel="next" href="([^"]+)"', text)
    return None if found is None else found[1].replace("&amp;", "&")


def test_the_newest_entries_come_first_and_renew_themselves(world: Service, visitor: TestClient) -> None:
    size, _ = world.head()
    text = visitor.get("/ledger").text
    assert _seqs(text) == list(range(size - 1, size - 51, -1))
    assert 'hx-get="/ledger"' in text


def test_paging_reaches_every_entry_once(world: Service, visitor: TestClient) -> None:
    size, _ = world.head()
    seen: list[int] = []
    path: str | None = "/ledger"
    while path is not None:
        text = visitor.get(path).text
        seen += _seqs(text)
        path = _next(text)
    assert seen == list(range(size - 1, -1, -1))
    assert "hx-get" not in text


def test_one_stream_is_paged_by_itself(world: Service, visitor: TestClient) -> None:
    with world.ledger.recorder.reading() as reader:
        expected = [row.seq for row in reader.stream(f"run/{BETTER}")]
    seen: list[int] = []
    path: str | None = f"/ledger?stream=run/{BETTER}"
    while path is not None:
        text = visitor.get(path).text
        seen += _seqs(text)
        path = _next(text)
    assert seen == expected[::-1]
    assert visitor.get("/ledger", params={"stream": "Not A Stream"}).status_code == 422


def test_a_type_is_looked_for_back_from_the_newest(world: Service, visitor: TestClient) -> None:
    with world.ledger.recorder.reading() as reader:
        expected = [row.seq for row in reader.entries() if row.type_name == "erasure.executed.v1"]
    text = visitor.get("/ledger", params={"type": "erasure.executed.v1"}).text
    assert _seqs(text) == expected[::-1]
    assert "Looked at entries 0 to" in text
    nothing = visitor.get("/ledger", params={"type": "ledger.continued.v1"}).text
    assert "None of the entries that were looked at fits." in nothing


def test_a_category_and_a_type_go_together(visitor: TestClient) -> None:
    text = visitor.get("/ledger", params={"category": "run", "type": "run.sealed.v1"}).text
    assert set(re.findall(r'href="/ledger/streams/(\w+)/', text)) == {"run"}
    assert set(re.findall(r"<td><code>([\w.]+)</code></td>", text)) == {"run.sealed.v1"}


def test_earlier_it_had_fewer_entries_and_says_what_changed(visitor: TestClient) -> None:
    text = visitor.get("/ledger", params={"as_of": "99"}).text
    assert re.findall(r'href="/ledger/entries/(\d+)\?as_of=99"', text)[0] == "99"
    assert '<dt>Entries</dt><dd><span class="value">100</span>' in text
    assert '<th scope="row">entries</th><td class="n">100</td>' in text
    assert "hx-get" not in text


def test_an_erased_stream_says_so_on_its_page(visitor: TestClient) -> None:
    assert "The key of this stream was destroyed" in visitor.get(f"/ledger/streams/run/{ERASED_RUN}").text
    assert "The key of this stream was destroyed" not in visitor.get(f"/ledger/streams/run/{BETTER}").text


def test_what_is_not_signed_yet_is_counted_as_the_tail(ledger: Ledger, client: TestClient) -> None:
    ledger.sign()
    ledger.record(NewEvent("clock", 0, ClockSteppedBack(behind=1), Meta()))
    assert "1 in the tail, not signed yet" in client.get("/ledger").text
    assert "no signed checkpoint covers it yet" in client.get("/ledger/entries/1").text
    assert client.get("/ledger/entries/1/receipt").status_code == 404
