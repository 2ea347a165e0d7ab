"""The list of reviews."""

from __future__ import annotations

import re
from html import unescape

import pytest
from starlette.testclient import TestClient

from affidavit.api.pages.reviews import listing as module

from ..world import ADA
from ..world_runs import BETTER, HOSTILE_RUN
from .reading import cards, text_of


def test_reviews_stand_newest_first_each_verified(visitor: TestClient) -> None:
    seqs = cards(visitor, "/reviews")
    assert seqs == sorted(seqs, reverse=True)
    assert len(seqs) == 6
    told = text_of(visitor, "/reviews")
    assert told.count("signature verified") == 5
    assert "Who signed it, and the words, are erased; the verdict stays." in told
    assert f"by {ADA.name}" in told
    assert "1 to 6 of 6" in told
    assert f'data-entries="{",".join(map(str, seqs))}"' in visitor.get("/reviews").text


def test_words_of_others_are_inert(visitor: TestClient) -> None:
    page = visitor.get(f"/reviews?run={HOSTILE_RUN}").text
    assert "<script data-hostile" not in page
    assert "&lt;script data-hostile&gt;" in page


def test_they_are_filtered(visitor: TestClient) -> None:
    assert len(cards(visitor, f"/reviews?run={BETTER}")) == 2
    assert len(cards(visitor, "/reviews?verdict=reject")) == 2
    assert len(cards(visitor, f"/reviews?run={BETTER}&verdict=question")) == 1
    assert "Nobody signed one of run nobody yet." in text_of(visitor, "/reviews?run=nobody")
    assert len(cards(visitor, "/reviews?verdict=nonsense")) == 6


def test_they_are_paged(visitor: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAGE", 4)
    whole = [*cards(visitor, "/reviews")]
    (older,) = re.findall(r'rel="next" href="([^"]+)"', visitor.get("/reviews").text)
    assert whole + cards(visitor, unescape(older)) == sorted(whole + cards(visitor, unescape(older)), reverse=True)
    told = text_of(visitor, unescape(older))
    assert "5 to 6 of 6" in told
    assert "No more reviews." in text_of(visitor, "/reviews?before=1")


def test_as_of_an_earlier_entry(visitor: TestClient) -> None:
    seqs = sorted(cards(visitor, "/reviews"))
    assert cards(visitor, f"/reviews?as_of={seqs[1]}") == [seqs[1], seqs[0]]
    told = text_of(visitor, f"/reviews?as_of={seqs[1]}")
    assert "You see the past." in told
    assert "reviews: reject 0 2" in told
    assert cards(visitor, f"/reviews?as_of={seqs[0] - 1}") == []
    assert "Nobody has signed a review yet." in text_of(visitor, f"/reviews?as_of={seqs[0] - 1}")


def test_a_root_is_told_as_in_the_badge_in_base64(visitor: TestClient) -> None:
    assert re.search(
        r'root <span class="hash" title="in hex [0-9a-f]{64}">[A-Za-z0-9+/]{43}=<', visitor.get("/reviews").text
    )
