"""What people do on the pages, from the first click to what is on the ledger afterwards."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from affidavit.api.record import RecordingLedger
from affidavit.domain.optimization.events import Sample
from affidavit.ledger.entries.review import Statement, Subject, sign_statement
from affidavit.ledger.tlog.note import print_vkey
from affidavit.tests.api.pages.world import ADA, BOB, last_job, session_alias
from affidavit.tests.api.pages.world_runs import BETTER, DRIVEN, ERASED_RUN, LINEAGE, LONG, OPEN, SIBLING
from affidavit.tests.api.pages.world_sessions import UNGRADED

from .conftest import Open
from .serving import PAGES, Site
from .soundness import script
from .watching import Watched

WITHOUT_SCRIPTS: dict[str, Any] = {"java_script_enabled": False}


@pytest.mark.parametrize("scripts", [True, False])
def test_runs_are_searched_filtered_and_sorted_by_address(open_page: Open, site: Site, scripts: bool) -> None:
    tab = open_page(site, "/runs", java_script_enabled=scripts)
    page = tab.page
    page.select_option("#status", "failed")
    page.get_by_role("button", name="Show").click()
    page.wait_for_url("**status=failed*")
    assert _runs(tab) == ["failed"]
    tab.go("/runs")
    page.fill("#q", "branch-")
    page.get_by_role("button", name="Show").click()
    page.wait_for_url("**q=branch-*")
    found = _runs(tab)
    assert set(found) == {*LINEAGE[1:], SIBLING}
    page.get_by_role("link", name=re.compile("^run")).click()
    page.wait_for_url("**sort=*")
    assert set(_runs(tab)) == set(found), "the search holds"
    other = open_page(site, page.url.removeprefix(site.url), **WITHOUT_SCRIPTS)
    assert _runs(other) == _runs(tab), "an address can be passed on"


def test_the_family_of_a_run(page: Watched) -> None:
    """Branches of branches, four deep, as a picture and as a list, each of them a link."""
    page.go(f"/runs/lineage/{LINEAGE[2]}")
    picture = page.page.locator("main svg.picture").first.text_content() or ""
    for run in (*LINEAGE, SIBLING):
        assert page.page.locator(f"main li a[href='/runs/{run}']").count() >= 1
        assert run in picture


def test_branches_leave_where_they_left(page: Watched) -> None:
    page.go(f"/runs/{BETTER}")
    page.page.locator("svg.flow:visible").locator(f'a[href="/runs/{LINEAGE[1]}"]').first.click()
    page.page.wait_for_url(f"**/runs/{LINEAGE[1]}")
    assert f"A branch of {BETTER}, left after its iteration 4" in " ".join(page.text().split())


def test_a_run_is_live_while_it_is_open(open_page: Open, own_site: Site) -> None:
    """What is recorded appears without a reload, and where the reader is on the page stays."""
    tab = open_page(own_site, f"/runs/{OPEN}")
    assert tab.page.locator("svg.flow:visible").locator('a[href$="/iterations/3"]').count() == 0
    recorder = RecordingLedger(own_site.service.ledger).resume_run(OPEN)
    samples = [Sample(id=str(n), input="q", response="a", score=0.5) for n in range(4)]
    recorder.record_iteration(recorder.record_evaluation("Another prompt.", samples=samples))
    tab.page.locator("svg.flow:visible").locator('a[href$="/iterations/3"]').first.wait_for()


def test_the_ledger_is_live(open_page: Open, own_site: Site) -> None:
    tab = open_page(own_site, "/ledger")
    seq = own_site.service.head()[0]
    link = tab.page.locator(f'main a[href="/ledger/entries/{seq}"]')
    assert link.count() == 0
    RecordingLedger(own_site.service.ledger).start_run(run="new", strategy="iterative", prompt="P", config={})
    link.first.wait_for()


@pytest.mark.parametrize("scripts", [True, False])
def test_time_travel_by_the_one_control(open_page: Open, site: Site, scripts: bool) -> None:
    """By seq and by date; links stay in the past, what changed since is told, and one link leads back."""
    tab = open_page(site, f"/runs/{LONG}", java_script_enabled=scripts)
    page = tab.page
    now = tab.text()
    with site.service.ledger.recorder.reading() as reader:
        seqs = [row.seq for row in reader.stream(f"run/{LONG}")]
    page.fill("#as-of", str(seqs[60]))
    page.get_by_role("button", name="Go").click()
    page.wait_for_url(f"**as_of={seqs[60]}*")
    assert "You see the past." in tab.text("aside.past")
    assert page.locator("main .status-open").first.is_visible()
    assert tab.text() != now
    changed = page.locator("aside.past tbody tr")
    assert changed.count() > 0
    page.locator("nav[aria-label=Areas]").get_by_role("link", name="Runs").click()
    page.wait_for_url("**/runs?as_of=*")
    assert LONG in _runs(tab)
    assert OPEN not in _runs(tab), "it began later"
    page.fill("#as-of", "2026-10-01")
    page.get_by_role("button", name="Go").click()
    page.wait_for_url("**as_of=2026-10-01*")
    assert "2026-" in tab.text("aside.past")
    page.get_by_role("link", name="this page now").click()
    page.wait_for_load_state()
    assert page.locator("aside.past").count() == 0


def test_a_moment_before_the_ledger_began_is_explained(page: Watched) -> None:
    page.go("/runs?as_of=1999-01-01", 404)
    assert "had not begun" in page.text()
    page.go("/runs?as_of=nonsense", 422)
    assert "nonsense" in page.text()


def test_a_session_is_graded_without_scripts(open_page: Open, own_site: Site) -> None:
    path = f"/evaluation/sessions/{session_alias(own_site.service, UNGRADED)}"
    tab = open_page(own_site, path, **WITHOUT_SCRIPTS)
    tab.page.get_by_role("button", name="Grade this session").click()
    tab.page.wait_for_load_state()
    assert re.search("✓ success|✕ failure", tab.text())


@pytest.mark.parametrize("scripts", [True, False])
def test_a_job_is_cancelled_and_another_started(open_page: Open, own_site: Site, scripts: bool) -> None:
    job = last_job(own_site.service)
    tab = open_page(own_site, f"/evaluation/jobs/{job}", java_script_enabled=scripts)
    tab.page.get_by_role("button", name="Cancel this job").click()
    tab.page.wait_for_load_state()
    assert "cancelling" in tab.text()
    judges = own_site.service.judges
    assert judges is not None
    judges.run_once()
    tab.go("/evaluation/jobs")
    tab.page.fill("#from", "2026-11-01")
    tab.page.fill("#to", "2026-11-02")
    tab.page.get_by_role("button", name="Start the job").click()
    tab.page.wait_for_load_state()
    started = last_job(own_site.service)
    assert started != job
    judges.run_once()
    tab.go(f"/evaluation/jobs/{started}")
    assert "completed" in tab.text()


def test_a_job_that_runs_shows_its_progress(open_page: Open, own_site: Site) -> None:
    tab = open_page(own_site, f"/evaluation/jobs/{last_job(own_site.service)}")
    assert "running" in tab.text()
    judges = own_site.service.judges
    assert judges is not None
    judges.run_once()
    tab.page.locator("#progress .status-completed").wait_for()


def test_a_reviewer_signs_in_the_page(open_page: Open, own_site: Site, tmp_path: Path) -> None:
    """A key is made in the page and saved, a verdict signed and recorded; no byte of the key is sent."""
    own_site.service.ledger.sign()
    tab = open_page(own_site, f"/runs/{BETTER}", accept_downloads=True)
    page = tab.page
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.post_data or ""))
    page.get_by_role("link", name="Review this run").click()
    page.locator("summary", has_text="I have no key yet").click()
    page.fill("#key-name", "eve@example.org")
    page.get_by_role("button", name="Make a key").click()
    with page.expect_download() as download:
        page.get_by_role("link", name="save the key file").click()
    key = Path(download.value.path()).read_text()
    assert key.startswith("PRIVATE+KEY+eve@example.org+")
    page.get_by_label(re.compile("^approve")).check()
    page.fill("#words", "The samples hold.")
    page.get_by_role("button", name="Sign and hand in").click()
    page.locator("#signed", has_text="Recorded").wait_for()
    assert any("The samples hold." in body for body in sent)
    secret = key.split("+", 4)[4].strip()  # it is base64, which may hold a "+" too
    assert not [body for body in sent if "PRIVATE" in body or secret in body]
    page.locator("#signed a").first.click()
    page.wait_for_url("**/reviews?*")
    shown = tab.text()
    assert "eve@example.org" in shown
    assert "The samples hold." in shown


def test_a_statement_is_handed_in_without_scripts(open_page: Open, own_site: Site) -> None:
    ledger = own_site.service.ledger
    with ledger.recorder.reading() as reader:
        head = reader.head()
        subject = Subject(run=DRIVEN)
        said = Statement(ledger.origin, subject, head.size, head.root(), "question", "2026-11-22T10:00:00Z", "By hand.")
    tab = open_page(own_site, "/reviews/upload", **WITHOUT_SCRIPTS)
    tab.page.fill("#statement", sign_statement(said, ADA).decode())
    tab.page.fill("#vkey", print_vkey(BOB.verifier_key))
    tab.expected.add(tab.page.url)
    tab.page.get_by_role("button", name="Hand it in").click()
    assert "It was not recorded" in tab.text(), "another's key"
    tab.page.fill("#vkey", print_vkey(ADA.verifier_key))
    tab.page.get_by_role("button", name="Hand it in").click()
    tab.page.wait_for_url("**/reviews?*")
    assert "By hand." in tab.text()


def test_an_evidence_pack_is_downloaded(open_page: Open, site: Site) -> None:
    tab = open_page(site, f"/runs/{DRIVEN}", accept_downloads=True)
    with tab.page.expect_download() as download:
        tab.page.get_by_role("link", name="Evidence pack").click()
    text = Path(download.value.path()).read_text(encoding="utf-8")
    assert 'id="evidence"' in text


@pytest.mark.parametrize("scripts", [True, False])
def test_the_ledger_is_verified_from_the_page(open_page: Open, own_site: Site, scripts: bool) -> None:
    """It runs beside the server; without scripts the reader loads the page again."""
    own_site.service.ledger.sign()
    tab = open_page(own_site, "/ledger/verification", java_script_enabled=scripts)
    assert "the server's own word" in tab.text()
    tab.page.get_by_role("button", name="Verify the ledger").click()
    for _ in range(200):
        if tab.page.locator("#verdict").count():
            break
        tab.page.wait_for_timeout(100)
        if not scripts:
            tab.page.reload()
    assert "✓ ok" in tab.text("section.verdict")
    assert tab.page.locator("#checked + ul li").count() > 3
    assert tab.page.locator("#not-checked + ul li").count() > 0


def test_an_entry_is_downloaded_as_its_stored_bytes(open_page: Open, site: Site) -> None:
    path = PAGES["entry"](site.service)
    answer = open_page(site).page.request.get(site.url + path + "/raw")
    with site.service.ledger.recorder.reading() as reader:
        seq = int(path.rsplit("/", 1)[1])
        (row,) = reader.entries(seq, seq + 1)
    assert answer.body() == row.raw


def test_what_was_erased_says_so_and_keeps_its_figures(page: Watched) -> None:
    page.go(f"/runs/{ERASED_RUN}")
    text = page.text()
    assert "erased" in text
    assert "0.4552" in text, "scores stand open"
    assert "Summarise the incident report" not in text
    page.go("/ledger/erasures")
    assert f"run/{ERASED_RUN}" in page.text()


def test_another_machine_signs_in_with_a_key(open_page: Open, own_site: Site) -> None:
    """Behind a proxy nobody is local: a key opens the pages, and only as far as its scopes go."""
    token, _ = own_site.service.keyring.create(("read",), "a reader", "2026-11-22T10:00:00+00:00")
    tab = open_page(own_site, extra_http_headers={"X-Forwarded-For": "203.0.113.7"})
    tab.go(f"/runs/{BETTER}", 401)
    tab.page.fill("input[name=key]", "nonsense")
    tab.expected.add(own_site.url + "/login")
    tab.page.locator("main button").first.click()
    tab.page.wait_for_load_state()
    assert "not known" in tab.text()
    tab.page.fill("input[name=key]", token)
    tab.page.locator("main button").first.click()
    tab.page.wait_for_url(f"**/runs/{BETTER}")
    assert f"Run {BETTER}" in tab.text("h1")
    tab.page.get_by_role("button", name="Sign out").click()
    tab.page.wait_for_url("**/login")
    tab.go(f"/runs/{BETTER}", 401)


WALKED = ("runs", "run", "iteration", "evaluation", "comparisons", "session", "ledger", "entry", "review")


@pytest.mark.parametrize("name", WALKED)
def test_the_keyboard_reaches_everything(page: Watched, name: str) -> None:
    """The first stop skips to the content; each further one shows where it is; none is a trap."""
    page.go(PAGES[name](page.site.service))
    page.page.evaluate(script())
    keyboard = page.page.keyboard
    keyboard.press("Tab")
    assert page.ask("document.activeElement.textContent") == "Skip to the content"
    assert page.ask("document.activeElement.getBoundingClientRect().left >= 0"), "it shows itself"
    stops = page.ask("soundness.stops()")
    told: str | None = page.ask("soundness.where()")
    for _ in range(2 * stops):
        if told is None:
            break
        assert told == "", told
        keyboard.press("Tab")
        told = page.ask("soundness.where()")
    assert page.ask("soundness.seen.size") == stops
    keyboard.press("Shift+Tab")
    assert page.ask("document.activeElement !== document.body"), "and back"


def _runs(tab: Watched) -> list[str]:
    """The runs that the list shows, in order."""
    found: list[str] = tab.page.locator("table.runs tbody th > a:first-child").all_inner_texts()
    return found
