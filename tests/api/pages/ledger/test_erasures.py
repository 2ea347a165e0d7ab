"""Erasures: each with who asked and what was done, and the rule of retention."""

from __future__ import annotations

import re

import pytest
from starlette.testclient import TestClient

from affidavit.api.http.service import Service
from affidavit.api.pages.ledger import erasures
from affidavit.api.retention import declare_retention
from affidavit.ledger.store.folding import read_erasures

from ..world_runs import ERASED_RUN


def test_every_erasure_is_listed_with_its_entries(world: Service, visitor: TestClient) -> None:
    with world.ledger.recorder.reading() as reader:
        executed = read_erasures(reader).executed
    text = visitor.get("/ledger/erasures").text
    assert f"run/{ERASED_RUN}" in executed
    for scope, (seq, destroyed) in executed.items():
        assert f"<code>{scope}</code>" in text
        assert f'href="/ledger/entries/{seq}"' in text
        assert destroyed.fingerprint in text
    assert text.count("data subject request") == len(executed)
    assert "asked for by letter" in text
    assert "No rule was ever declared" in text


def test_one_that_was_only_asked_for_is_not_finished(world: Service, visitor: TestClient) -> None:
    with world.ledger.recorder.reading() as reader:
        executed = read_erasures(reader).executed[f"run/{ERASED_RUN}"][0]
    text = visitor.get("/ledger/erasures", params={"as_of": executed - 1}).text
    assert text.count("not finished") == 1


def test_they_are_paged(visitor: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = re.findall(r'<th scope="row"><code>([^<]+)', visitor.get("/ledger/erasures").text)
    monkeypatch.setattr(erasures, "PAGE", 1)
    seen: list[str] = []
    path: str | None = "/ledger/erasures"
    while path is not None:
        text = visitor.get(path).text
        seen += re.findall(r'<th scope="row"><code>([^<]+)', text)
        found = re.search(r'<a rel="next" href="([^"]+)"', text)
        path = None if found is None else found[1].replace("&amp;", "&")
    assert seen == whole


def test_the_rule_in_force_is_said(own_world: Service, own_visitor: TestClient) -> None:
    declare_retention(own_world.ledger, {"run": 30})
    text = own_visitor.get("/ledger/erasures").text
    assert "runs are erased 30 days after the last entry" in text
    assert "what lies under a person is kept" in text


def test_a_log_without_erasures_says_so(client: TestClient) -> None:
    assert "Nothing was erased." in client.get("/ledger/erasures").text
