"""The pages of jobs: the list, the form that starts one, progress, cancelling."""

from __future__ import annotations

import html
import re

import pytest
from starlette.testclient import TestClient

from affidavit.api.config import change_config, read_config
from affidavit.api.http.app import create_app, open_service
from affidavit.api.http.service import Service

from ..conftest import LOCAL
from ..world import last_job

LIST = "/evaluation/jobs"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
"""What a browser says of a form, also of one without fields."""


def text_of(page: str) -> str:
    """What a reader sees of a page, blanks made one."""
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", page)).split())


def test_jobs_stand_newest_first_with_status_and_progress(visitor: TestClient, world: Service) -> None:
    page = visitor.get(LIST).text
    jobs = re.findall(r'<th scope="row"><a href="/evaluation/jobs/([0-9a-f]{32})"', page)
    assert jobs[0] == last_job(world)
    assert len(jobs) == len(set(jobs)) == 3
    told = text_of(page)
    assert "running" in told
    assert "cancelled" in told
    assert "0 of 6 graded" in told
    assert "completed" in told
    assert "hx-get" in page  # live, since one runs
    assert "hx-get" not in visitor.get(LIST, params={"as_of": 100}).text


def test_the_sample_of_an_earlier_moment_is_that_of_its_configuration(
    own_visitor: TestClient, own_world: Service
) -> None:
    size, _ = own_world.head()
    with own_world.moment() as moment:
        seen = read_config(moment.events)
    change_config(own_world.ledger, seen, {**seen.document, "eval_sample_n_per_stratum": 77})
    told = "at most 77 of each day"
    assert told in text_of(own_visitor.get(LIST).text)
    assert told not in text_of(own_visitor.get(LIST, params={"as_of": size - 1}).text)


def test_a_job_shows_what_it_sampled(visitor: TestClient, world: Service) -> None:
    page = visitor.get(f"{LIST}/{last_job(world)}").text
    told = text_of(page)
    assert "of 6 sessions" in told
    assert "at most 3 sessions were drawn with the seed" in told
    assert "Cancel this job" in told
    assert "prod_with_reflexio" in told
    parts = re.search(r'aria-label="Parts of this page">(.*?)</nav>', page, re.DOTALL)
    assert parts is not None
    targets = re.findall('href="#([^"]*)"', parts[1])
    assert len(targets) == 3
    assert all(f'id="{target}"' in page for target in targets)


def test_a_job_runs_from_start_to_end_by_forms_alone(own_visitor: TestClient, own_world: Service) -> None:
    running = last_job(own_world)
    window = {"from": "2026-11-15", "to": "2026-11-16"}
    refused = own_visitor.post(LIST, data=window)
    assert refused.status_code == 303
    assert "told=regeneration_running" in refused.headers["location"]
    shown = own_visitor.get(refused.headers["location"]).text
    assert "A job is running already" in shown
    assert 'value="2026-11-15"' in shown

    cancelled = own_visitor.post(f"{LIST}/{running}/cancel", headers=FORM)
    assert (cancelled.status_code, cancelled.headers["location"]) == (303, f"{LIST}/{running}")
    assert "cancelling" in text_of(own_visitor.get(f"{LIST}/{running}").text)

    started = own_visitor.post(LIST, data=window)
    path = started.headers["location"]
    assert started.status_code == 303
    assert re.fullmatch(rf"{LIST}/[0-9a-f]{{32}}", path)
    assert "running" in text_of(own_visitor.get(path).text)
    assert own_world.judges is not None
    own_world.judges.run_once()
    told = text_of(own_visitor.get(path).text)
    assert "completed" in told
    assert "Cancel this job" not in told


@pytest.mark.parametrize(
    ("window", "rule"),
    [
        ({"from": "2026-11-16", "to": "2026-11-10"}, "window_ordered"),
        ({"from": "yesterday", "to": "2026-11-10"}, "date_readable"),
        ({"from": "2026-11-10"}, "date_readable"),
        ({"from": "0001-01-01", "to": "9999-12-31"}, "date_readable"),
    ],
)
def test_a_window_that_is_none_starts_nothing(own_visitor: TestClient, window: dict[str, str], rule: str) -> None:
    sent = own_visitor.post(LIST, data=window)
    assert sent.status_code == 303
    assert f"told={rule}" in sent.headers["location"]
    assert own_visitor.get(sent.headers["location"]).text.count('<th scope="row">') == 3


def test_without_a_judge_the_page_says_what_a_job_waits_for(own_world: Service) -> None:
    with open_service(own_world.ledger, live=own_world.live, clock=own_world.clock) as service:
        visitor = TestClient(create_app(service), base_url=LOCAL, client=("127.0.0.1", 40_000))
        assert "No judge is configured on this server" in text_of(visitor.get(LIST).text)
        assert "beside it works on the job" in text_of(visitor.get(f"{LIST}/{last_job(own_world)}").text)


def test_what_is_no_job_is_not_found(visitor: TestClient) -> None:
    assert visitor.get(f"{LIST}/{'0' * 32}").status_code == 404
    assert visitor.post(f"{LIST}/{'0' * 32}/cancel", headers=FORM).status_code == 404
    assert visitor.get(f"{LIST}?before=x").status_code == 422


def test_the_past_offers_no_form(visitor: TestClient, world: Service) -> None:
    page = visitor.get(LIST, params={"as_of": 100}).text
    assert 'method="post"' not in page
    assert "No job yet" in text_of(page)
