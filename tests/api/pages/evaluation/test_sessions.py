"""The pages of sessions: the list, one session whole, and the click that grades it."""

from __future__ import annotations

import html
import re

from starlette.testclient import TestClient

from affidavit.api.http.app import create_app, open_service
from affidavit.api.http.service import Service
from affidavit.domain.evaluation.events import RequestPublished
from affidavit.domain.event import Meta, NewEvent

from ..conftest import LOCAL
from ..world import session_alias
from ..world_sessions import ERASED_SESSION, HOSTILE_SESSION, HOSTILE_SOURCE, SESSION, UNDECIDED, UNGRADED

LIST = "/evaluation/sessions"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
"""What a browser says of a form, also of one without fields."""


def text_of(page: str) -> str:
    """What a reader sees of a page, blanks made one."""
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", page)).split())


def walk(visitor: TestClient, path: str) -> list[str]:
    """The sessions of a list, followed from page to page."""
    sessions: list[str] = []
    following: str | None = path
    while following is not None:
        page = visitor.get(following)
        assert page.status_code == 200
        sessions += re.findall(r'<th scope="row"><div class="clip"><a href="/evaluation/sessions/([^"]+)"', page.text)
        older = re.search(r'rel="next" href="([^"]+)"', page.text)
        following = None if older is None else html.unescape(older[1])
    return sessions


def test_every_session_stands_in_the_list_once(visitor: TestClient, world: Service) -> None:
    found = walk(visitor, LIST)
    with world.moment() as moment:
        known = {row[0] for row in moment.views.exec_driver_sql("SELECT DISTINCT session FROM requests")}
    assert len(found) == len(set(found))
    assert set(found) == known


def test_the_list_is_narrowed_by_grade_and_by_source(visitor: TestClient, world: Service) -> None:
    graded = {kind: set(walk(visitor, f"{LIST}?grade={kind}")) for kind in ("graded", "success", "failure")}
    assert graded["success"] | graded["failure"] == graded["graded"]
    assert not graded["success"] & graded["failure"]
    assert session_alias(world, UNGRADED) not in graded["graded"]
    hostile = visitor.get(LIST, params={"source": HOSTILE_SOURCE}).text
    assert session_alias(world, HOSTILE_SESSION) in hostile
    assert session_alias(world, SESSION) not in hostile


def test_a_session_is_found_by_its_id(visitor: TestClient, world: Service) -> None:
    found = visitor.get(LIST, params={"id": SESSION})
    assert (found.status_code, found.headers["location"]) == (303, f"{LIST}/{session_alias(world, SESSION)}")
    assert "No session has this id" in text_of(visitor.get(LIST, params={"id": "nobody's"}).text)


def test_one_session_is_shown_whole(visitor: TestClient, world: Service) -> None:
    page = visitor.get(f"{LIST}/{session_alias(world, SESSION)}").text
    told = text_of(page)
    for said in (
        "Where is my parcel number 17?",  # turns
        "I have cancelled parcel 17.",
        "Shadow never shown to the user",
        "Cites About a parcel",  # citations, with the rule as it was
        "What the rule About a parcel said then",
        "loss, significant to the judge",  # verdicts
        "saw 4 turns; more was said since",  # grades through time
        "delivered",  # outcomes
        "0.8750",  # scores
        "Searches for rules",
    ):
        assert said in told, said
    assert page.count("/evaluation/comparisons/") >= 3
    assert "Grades of the session through time" in page


def test_turns_are_shown_by_pages(visitor: TestClient, world: Service) -> None:
    page = visitor.get(f"{LIST}/{session_alias(world, SESSION)}?first=5").text
    assert "Thank you. When will it come?" in page
    assert "Where is my parcel number 17?" not in page.split('id="searches"')[0]


def test_texts_of_others_are_inert(visitor: TestClient, world: Service) -> None:
    page = visitor.get(f"{LIST}/{session_alias(world, HOSTILE_SESSION)}").text
    assert "&lt;script data-hostile&gt;" in page
    assert not re.search(r"<[a-z]+ [^>]*data-hostile", page)


def test_an_erased_session_cannot_be_graded_and_shows_what_is_left(visitor: TestClient, world: Service) -> None:
    with world.moment() as moment:
        erased = moment.views.exec_driver_sql("SELECT session FROM requests ORDER BY seq").all()
        names = moment.names_of([row[0] for row in erased])
    (alias,) = [alias for alias, name in names.items() if name is None]
    told = text_of(visitor.get(f"{LIST}/{alias}").text)
    assert "Its texts are erased" in told
    assert "Grade this session" not in told
    assert told.count("erased: the key of this text was destroyed") >= 2
    assert ERASED_SESSION not in told
    assert visitor.post(f"{LIST}/{alias}/grade", headers=FORM).status_code == 409


def test_a_click_grades_and_the_next_one_is_answered_from_the_ledger(
    own_visitor: TestClient, own_world: Service
) -> None:
    path = f"{LIST}/{session_alias(own_world, UNGRADED)}"
    assert "Not graded" in text_of(own_visitor.get(path).text)
    first, again = own_visitor.post(f"{path}/grade", headers=FORM), own_visitor.post(f"{path}/grade", headers=FORM)
    assert (first.status_code, first.headers["location"]) == (303, f"{path}?told=graded")
    assert again.headers["location"] == f"{path}?told=cached"
    told = text_of(own_visitor.get(first.headers["location"]).text)
    assert "Graded just now" in told
    assert "on demand" in told


def test_without_a_judge_the_page_says_so_and_nothing_is_graded(own_world: Service) -> None:
    alias = session_alias(own_world, UNDECIDED)
    with open_service(own_world.ledger, live=own_world.live, clock=own_world.clock) as service:
        visitor = TestClient(create_app(service), base_url=LOCAL, client=("127.0.0.1", 40_000), follow_redirects=False)
        told = text_of(visitor.get(f"{LIST}/{alias}").text)
        sent = visitor.post(f"{LIST}/{alias}/grade", headers=FORM)
    assert "No judge is configured on this server" in told
    assert "Grade this session" not in told
    assert sent.headers["location"].endswith("?told=no_judge")


def test_a_session_whose_id_an_earlier_one_has_is_not_graded_by_a_click_on_it(
    own_visitor: TestClient, own_world: Service
) -> None:
    ledger = own_world.ledger
    with ledger.naming():
        owner = ledger.alias("user", "zoe@example.org")
        under = f"user/{owner}"
        session, request = ledger.alias("session", SESSION, under), ledger.alias("request", "zoe-1", under)
    event = RequestPublished(
        request=request, user=owner, session=session, source="", agent_version="v1",
        requested_at=own_world.now(), interactions=0, sent={},
    )  # fmt: skip
    ledger.record(NewEvent(f"request/{request}", 0, event, Meta(scope=under)))
    told = text_of(own_visitor.get(f"{LIST}/{session}").text)
    assert "It has no turns" in told
    both = own_visitor.get(LIST, params={"id": SESSION})
    assert both.status_code == 200
    assert session in both.text
    assert session_alias(own_world, UNGRADED) not in both.text


def test_what_is_no_session_is_not_found(visitor: TestClient) -> None:
    assert visitor.get(f"{LIST}/session-0000000000000000").status_code == 404
    assert visitor.post(f"{LIST}/session-0000000000000000/grade", headers=FORM).status_code == 404
    assert visitor.get(f"{LIST}?grade=best").status_code == 422


def test_the_past_of_a_session_offers_no_grading(visitor: TestClient, world: Service) -> None:
    alias = session_alias(world, SESSION)
    with world.moment() as moment:
        query = "SELECT min(seq) FROM results WHERE session = ?"
        graded = int(moment.views.exec_driver_sql(query, (alias,)).scalar_one())
    told = text_of(visitor.get(f"{LIST}/{alias}", params={"as_of": graded - 1}).text)
    assert "Not graded" in told
    assert "You see the past; go to now to grade." in told
    assert "Grade this session" not in told
    assert "grade that counts" in told


def test_where_the_page_lies_and_its_parts_stand_apart(visitor: TestClient, world: Service) -> None:
    page = visitor.get(f"{LIST}/{session_alias(world, SESSION)}").text
    lies, parts = (
        re.search(rf'aria-label="{name}">(.*?)</nav>', page, re.DOTALL)
        for name in ("Where this page lies", "Parts of this page")
    )
    assert lies is not None
    assert parts is not None
    assert text_of(lies[1]) == f"Sessions › {SESSION}"
    assert re.findall('href="([^"]*)"', lies[1]) == [LIST]
    assert all(target.startswith("#") for target in re.findall('href="([^"]*)"', parts[1]))
