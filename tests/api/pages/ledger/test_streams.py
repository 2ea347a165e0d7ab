"""The pages of streams: categories, the streams of one, and the events of one stream."""

from __future__ import annotations

import re

from starlette.testclient import TestClient

from affidavit.api.http.service import Service
from affidavit.api.pages.ledger.rows import CATEGORIES, about

from ..world_runs import BETTER, LONG


def test_every_category_on_record_is_listed_with_what_it_is_about(world: Service, visitor: TestClient) -> None:
    with world.ledger.recorder.reading() as reader:
        categories = reader.categories()
    text = visitor.get("/ledger/streams").text
    assert re.findall(r'href="/ledger/streams\?category=(\w+)"', text) == categories
    assert set(categories) <= CATEGORIES.keys()
    assert all(CATEGORIES[name].replace("'", "&#39;") in text for name in categories)


def test_paging_reaches_every_stream_of_a_category_once(world: Service, visitor: TestClient) -> None:
    with world.ledger.recorder.reading() as reader:
        expected = reader.streams("request")
    seen: list[str] = []
    path: str | None = "/ledger/streams?category=request"
    while path is not None:
        text = visitor.get(path).text
        seen += re.findall(r'<th scope="row"><a href="/ledger/streams/([^"]+)"', text)
        found = re.search(r'<a rel="next" href="([^"]+)"', text)
        path = None if found is None else found[1].replace("&amp;", "&")
    assert seen == expected
    assert len(seen) > 50
    assert visitor.get("/ledger/streams?category=nothing").status_code == 404


def test_streams_that_had_not_begun_are_left_out(world: Service, visitor: TestClient) -> None:
    with world.ledger.recorder.reading() as reader:
        begun = reader.seq_of(f"run/{BETTER}", 0)
    text = visitor.get("/ledger/streams", params={"category": "run", "as_of": begun}).text
    assert f">run/{BETTER}</a>" in text
    assert f">run/{LONG}</a>" not in text
    row = re.search(rf'>run/{BETTER}</a></th><td class="n">(\d+)</td>', text)
    assert row is not None
    assert row[1] == "1"


def test_categories_that_had_not_begun_are_left_out(world: Service, visitor: TestClient) -> None:
    assert re.findall(r'href="/ledger/streams\?[^"]*category=(\w+)', visitor.get("/ledger/streams?as_of=0").text) == [
        "ledger"
    ]
    assert "<option>run</option>" not in visitor.get("/ledger?as_of=0").text
    assert "<option>run</option>" in visitor.get("/ledger").text
    assert visitor.get("/ledger/streams?as_of=0&category=run").status_code == 404


def test_a_stream_leads_to_the_page_of_what_it_is_about(visitor: TestClient) -> None:
    text = visitor.get(f"/ledger/streams/run/{BETTER}").text
    assert f'href="/runs/{BETTER}"' in text
    assert about("session/session-1") == ("session session-1", "/evaluation/sessions/session-1")
    assert about("clock") is None


def test_a_stream_that_is_none_is_told(visitor: TestClient) -> None:
    for name in ("run/nobody", "Not%20A%20Stream", "run/..%2f..%2fetc"):
        assert visitor.get(f"/ledger/streams/{name}").status_code == 404
    assert visitor.get(f"/ledger/streams/run/{BETTER}", params={"as_of": "3"}).status_code == 404
