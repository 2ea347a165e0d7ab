"""What a statement is about, and the form that states it, without a script."""

from __future__ import annotations

import re

import pytest
from starlette.testclient import TestClient

from affidavit.api.http.service import Service

from ..world_runs import BETTER, ERASED_RUN
from .reading import text_of


def test_what_is_signed_is_stated(visitor: TestClient, world: Service) -> None:
    size = world.head()[0]
    page = visitor.get(f"/reviews/new?run={BETTER}").text
    assert f'data-subject="run {BETTER}"' in page
    assert f'data-size="{size}"' in page
    assert f"affidavit review {BETTER} --verdict approve" in page
    told = text_of(visitor, f"/reviews/new?run={BETTER}&iteration=2")
    assert f"Review run {BETTER}, iteration 2" in told
    assert "2 reviews were signed of this run before; form your own opinion first" in told
    page = visitor.get("/reviews/new?first=100&last=199").text
    assert 'data-subject="entries 100 199"' in page
    assert "--entries 100-199" in page


def test_a_time_becomes_its_entries(visitor: TestClient, world: Service) -> None:
    with world.ledger.recorder.reading() as reader:
        first, stop = reader.size_at("2026-11-01T00:00:00.000000Z"), reader.size_at("2026-11-08T00:00:00.000000Z")
    page = visitor.get("/reviews/new?from=2026-11-01&to=2026-11-08").text
    assert f'data-subject="entries {first} {stop - 1}"' in page
    assert "nothing was recorded from 2020-01-01 to 2020-01-02" in text_of(
        visitor, "/reviews/new?from=2020-01-01&to=2020-01-02", 422
    )


def test_of_the_past_an_earlier_log_is_signed(visitor: TestClient, world: Service) -> None:
    page = visitor.get("/reviews/new?first=0&last=9&as_of=20").text
    form = re.search(r'<form class="stack wide" id="signing"[^>]*>', page)
    assert form is not None
    assert 'data-size="21"' in form[0]
    with world.ledger.recorder.reading() as reader:
        assert reader.origin() in form[0]


@pytest.mark.parametrize(
    ("query", "status", "told"),
    [
        ("run=nobody", 404, "run 'nobody' is not on this ledger"),
        (f"run={BETTER}&iteration=99", 404, "iteration 99 is not recorded"),
        (f"run={BETTER}&iteration=x", 422, "expected a whole number"),
        ("first=9&last=3", 422, "expected a first that is not after the last"),
        ("first=0&last=999999", 404, "entry 999999"),
        ("first=-1&last=3", 422, "expected a whole number"),
    ],
)
def test_what_is_not_there_cannot_be_reviewed(visitor: TestClient, query: str, status: int, told: str) -> None:
    assert told in text_of(visitor, f"/reviews/new?{query}", status)


def test_without_a_subject_there_is_a_choice(visitor: TestClient) -> None:
    page = visitor.get("/reviews/new").text
    assert page.count('action="/reviews/new"') == 3


def test_an_erased_run_can_be_reviewed(visitor: TestClient) -> None:
    assert 'data-subject="run ' in visitor.get(f"/reviews/new?run={ERASED_RUN}").text
