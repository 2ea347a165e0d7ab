"""A reviewer signs in the page: with a key of their own, or one made there; the key never leaves the browser."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from affidavit.api.reviews import review_at
from affidavit.ledger.tlog.note import print_vkey
from affidavit.ledger.tlog.private_key import parse_private_key, print_private_key
from affidavit.tests.api.pages.world import ADA
from affidavit.tests.api.pages.world_runs import BETTER, EVEN

from .conftest import Open
from .serving import Site

WORDS = "It holds.\n\nI looked at each sample — all of them. 𝔘"


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "ada.key"
    path.write_text(print_private_key(ADA) + "\n", encoding="utf-8")
    return path


def signed(page: Any) -> str:
    page.click("[data-sign]")
    page.wait_for_selector("#signed :is(strong, .warning)", timeout=30_000)
    said: str = page.inner_text("#signed")
    return said


def newest(site: Site) -> Any:
    with site.service.live.moment() as moment:
        return review_at(moment.events, moment.size - 1)


def test_with_a_key_from_a_file(own_site: Site, open_page: Open, key_file: Path) -> None:
    site = own_site
    page = open_page(site, f"/reviews/new?run={BETTER}&iteration=2").page
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.post_data or ""))
    assert page.is_disabled("[data-sign]")
    page.check("#verdict-question")
    page.fill("#words", f"  {WORDS}\n ")
    page.set_input_files("#key-file", key_file)
    page.wait_for_selector("[data-sign]:enabled")
    assert print_vkey(ADA.verifier_key) in page.inner_text("#key-told")
    stated = page.inner_text("#preview")
    assert f"subject iteration {BETTER} 2" in stated
    assert "verdict question" in stated

    assert "Recorded as entry" in signed(page)
    review = newest(site)
    assert (review.reviewer, review.verdict, review.words, review.problem) == (ADA.name, "question", WORDS, None)
    assert str(review.subject) == f"iteration {BETTER} 2"
    secret = print_private_key(ADA).split("+", 4)[4]
    assert any("affidavit-review@v1" in body for body in sent)
    assert not any(secret in body or "PRIVATE" in body for body in sent)
    with page.expect_download() as download:
        page.click("text=Keep a copy")
    assert Path(download.value.path()).read_text(encoding="utf-8") == review.note
    page.click("#signed a >> nth=0")
    page.wait_for_selector(f"#review-{review.seq}")


def test_with_a_key_that_is_made_in_the_page(own_site: Site, open_page: Open) -> None:
    page = open_page(own_site, "/reviews/new?first=100&last=199").page
    page.check("#verdict-approve")
    page.fill("#words", "Complete.")
    page.click("[data-making] summary")
    page.fill("#key-name", "eve@example.org")
    page.click("[data-make]")
    page.wait_for_selector("#key-told a")
    assert page.is_disabled("[data-sign]")  # until the key is kept somewhere
    with page.expect_download() as download:
        page.click("#key-told a")
    key = parse_private_key(Path(download.value.path()).read_text(encoding="utf-8"))
    page.wait_for_selector("[data-sign]:enabled")
    assert "Recorded as entry" in signed(page)
    review = newest(own_site)
    assert (review.reviewer, review.vkey) == ("eve@example.org", print_vkey(key.verifier_key))
    assert (str(review.subject), review.problem) == ("entries 100 199", None)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"ada@example.org+12345678+AAAA", "which begins with PRIVATE+KEY"),
        (b"\xff\xfe\x00", "which begins with PRIVATE+KEY"),
        (b"x" * 5000, "it is too long"),
        (print_private_key(ADA).replace("ada@", "eve@").encode(), "the key's ID is not that of its name and key"),
        (b"PRIVATE+KEY+ada+00000000+" + b"A" * 44, "reviewers sign with Ed25519"),
    ],
)
def test_what_is_no_key_does_not_sign(site: Site, open_page: Open, content: bytes, told: str) -> None:
    page = open_page(site, f"/reviews/new?run={EVEN}").page
    page.set_input_files("#key-file", {"name": "x.key", "mimeType": "text/plain", "buffer": content})
    page.wait_for_selector("#key-told .bad")
    assert told in page.inner_text("#key-told")
    assert page.is_disabled("[data-sign]")


def test_about_a_log_that_does_not_verify_nothing_is_signed(site: Site, open_page: Open, key_file: Path) -> None:
    page = open_page(site, f"/reviews/new?run={EVEN}").page
    size = site.service.head()[0]
    page.check("#verdict-approve")
    page.fill("#words", "Good.")
    page.set_input_files("#key-file", key_file)
    page.wait_for_selector("[data-sign]:enabled")
    page.evaluate("document.getElementById('badge').dataset.root = btoa('\\0'.repeat(32))")
    said = signed(page)
    assert "Nothing was signed." in said
    assert "Damaged:" in said
    assert site.service.head()[0] == size


@pytest.mark.parametrize(("name", "value"), [("size", "777"), ("root", "A" * 43 + "="), ("origin", "other.example/0")])
def test_what_was_not_checked_is_not_signed(site: Site, open_page: Open, key_file: Path, name: str, value: str) -> None:
    page = open_page(site, f"/reviews/new?run={EVEN}").page
    size = site.service.head()[0]
    page.check("#verdict-approve")
    page.fill("#words", "Good.")
    page.set_input_files("#key-file", key_file)
    page.wait_for_selector("[data-sign]:enabled")
    page.evaluate("([name, value]) => { document.getElementById('signing').dataset[name] = value }", [name, value])
    assert "names another log, size or root than the one that was checked" in signed(page)
    assert site.service.head()[0] == size


def test_what_is_shown_at_the_press_is_signed_once(own_site: Site, open_page: Open, key_file: Path) -> None:
    page = open_page(own_site, f"/reviews/new?run={EVEN}").page
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.post_data or "") if request.method == "POST" else None)
    page.check("#verdict-approve")
    page.fill("#words", "As I read it.")
    page.set_input_files("#key-file", key_file)
    page.wait_for_selector("[data-sign]:enabled")
    page.evaluate("""() => {
      const form = document.getElementById("signing");
      form.requestSubmit();
      form.words.value = "Something else.";
      form.dispatchEvent(new Event("input"));
      form.requestSubmit();
    }""")
    page.wait_for_selector("#signed strong.good")
    assert "entries" in page.inner_text("#signed")
    assert (len(sent), newest(own_site).words) == (1, "As I read it.")


def test_words_that_no_statement_can_hold(site: Site, open_page: Open, key_file: Path) -> None:
    page = open_page(site, f"/reviews/new?run={EVEN}").page
    page.check("#verdict-approve")
    page.set_input_files("#key-file", key_file)
    page.wait_for_selector("[data-sign]:enabled")
    for words, told in (("   ", "say something"), ("a\tb", "a tab or another control character")):
        page.fill("#words", words)
        assert told in signed(page)
        page.evaluate("document.getElementById('signed').replaceChildren()")
