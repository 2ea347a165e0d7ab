"""Imports: what was read, and what was found odd in it."""

from __future__ import annotations

import re

import pytest
from starlette.testclient import TestClient

from affidavit.api.http.service import Service
from affidavit.api.pages.ledger import imports
from affidavit.domain.event import Withheld
from affidavit.ledger.events import ImportCompleted

from ..world import seq_of


def _completed(service: Service) -> tuple[int, ImportCompleted]:
    seq = seq_of(service, "import/1")
    with service.moment() as moment:
        recorded = moment.events.event(seq)
    assert recorded is not None
    assert isinstance(recorded.event, ImportCompleted)
    return seq, recorded.event


def test_every_import_is_listed(world: Service, visitor: TestClient) -> None:
    seq, event = _completed(world)
    text = visitor.get("/ledger/imports").text
    assert f'href="/ledger/imports/{seq}"' in text
    assert f'<td class="n">{sum(event.findings.values())}</td>' in text
    assert "reflexio" in text
    assert "Nothing was imported." in visitor.get("/ledger/imports", params={"as_of": "3"}).text


def test_every_finding_and_file_is_listed(world: Service, visitor: TestClient) -> None:
    seq, event = _completed(world)
    assert not isinstance(event.detail, Withheld)
    text = visitor.get(f"/ledger/imports/{seq}").text
    for found in event.detail["findings"]:
        assert found["place"] in text
    for file in event.detail["files"]:
        assert file["sha256"] in text
    for each in event.detail["runs"]:
        assert f'href="/runs/{each["run"]}"' in text


def test_findings_of_one_kind_are_paged(world: Service, visitor: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    seq, event = _completed(world)
    monkeypatch.setattr(imports, "PAGE", 2)
    kind, count = max(event.findings.items(), key=lambda item: item[1])
    seen = 0
    path: str | None = f"/ledger/imports/{seq}?kind={kind}"
    while path is not None:
        text = visitor.get(path).text
        table = text.split('<h2 id="runs">')[0]
        rows = re.findall(r'<th scope="row">([^<]+)</th><td><bdi>', table)
        assert set(rows) == {kind.replace("_", " ")}
        seen += len(rows)
        found = re.search(r'<a rel="next" href="([^"]+)"', table)
        path = None if found is None else found[1].replace("&amp;", "&")
    assert seen == count


def test_what_is_no_import_is_told(visitor: TestClient) -> None:
    for seq in ("0", "-1", "99999999"):
        assert visitor.get(f"/ledger/imports/{seq}").status_code == 404
