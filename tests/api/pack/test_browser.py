"""The pack in a real browser with the network cut: whole it says so, with one byte changed it never does."""

from __future__ import annotations

import json
import random
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from affidavit.api.pack.page_digest import page_digest
from affidavit.api.pack.render import checker
from affidavit.ledger.application import Ledger
from affidavit.ledger.tlog.note import print_vkey

CHROMIUM = shutil.which("chromium")
_FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"),
    *("--disable-sync", "--no-first-run"),
)
_ANSWER_MILLISECONDS = 60_000


@dataclass(frozen=True, slots=True)
class Answer:
    state: str | None
    text: str


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("chromium is not here: `apt-get install chromium` brings it")
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=list(_FLAGS))
        yield opened
        opened.close()


@pytest.fixture
def ask(browser: Any, tmp_path: Path) -> Iterator[Callable[..., Answer]]:
    """Opens a page as a file and returns what its checker says; state None where its script did not run."""
    context = browser.new_context(offline=True)
    tab = context.new_page()
    path = tmp_path / "pack.html"

    def asked(page: str | bytes, *, vkey: str = "", pinned: str = "") -> Answer:
        path.write_bytes(page.encode() if isinstance(page, str) else page)
        tab.goto(path.as_uri(), wait_until="load")
        if not tab.evaluate("document.documentElement.dataset.checker === 'on'"):
            return Answer(None, tab.inner_text("body"))
        tab.wait_for_selector("#answer[data-state]", timeout=_ANSWER_MILLISECONDS)
        if vkey or pinned:
            tab.evaluate("document.querySelector('details').open = true")
            tab.fill("#given-vkey", vkey)
            tab.fill("#given-pinned", pinned)
            tab.evaluate("delete document.getElementById('answer').dataset.state")
            tab.click("#check-again")
            tab.wait_for_selector("#answer[data-state]", timeout=_ANSWER_MILLISECONDS)
        return Answer(tab.get_attribute("#answer", "data-state"), tab.inner_text("#answer"))

    yield asked
    context.close()


Ask = Callable[..., Answer]


def test_a_whole_pack_checks_itself(ask: Ask, page: str) -> None:
    answer = ask(page)
    assert answer.state == "ok", answer.text
    for words in (
        "signature:",
        "inclusion:",
        "disclosures:",
        "range:",
        "shown:",
        "key_pinned: the key is the one that",
    ):
        assert words in answer.text


def test_the_readers_own_key_and_checkpoint_count(ask: Ask, page: str, ledger: Ledger) -> None:
    vkey = print_vkey(ledger.verifier_key())
    with ledger.recorder.reading() as reader:
        latest = reader.latest_checkpoint()
    assert latest is not None
    answer = ask(page, vkey=vkey, pinned=latest[1].decode())
    assert answer.state == "ok"
    assert "key_pinned: your key signed it" in answer.text
    assert f"your checkpoint of size {latest[0]} is of this history" in answer.text
    assert ask(page, vkey="other.example+00000000+AAAA").state == "damaged"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("\nAsked to cite<", "\nAsked to bite<"),
        ('<data value="0.527', '<data value="0.627'),
        (">0.5278<", ">0.5279<"),
        ("entries of the range are not in this file", "entries of the range are now in this file"),
        ('{"seq":3,"entry"', '{"seq":4,"entry"'),
        ("Not checked by this page", "Checked by this page"),
        ("\\u003c", "<"),
        ("max-width: 62rem", "max-width: 63rem"),
        ("const sha256", "const sha255"),
        ("default-src 'none'", "default-src 'self'"),
    ],
)
def test_a_change_that_somebody_means_is_found(ask: Ask, page: str, old: str, new: str) -> None:
    assert old in page
    assert ask(page.replace(old, new, 1)).state != "ok"


def test_a_page_that_is_as_its_digest_says_is_not_said_to_be_whole(ask: Ask, page: str) -> None:
    (old,) = re.findall(r'"body":"([0-9a-f]{64})"', page)
    forged = page.replace("</main>", "<p>The run reached every goal.</p></main>", 1)
    assert ask(forged).state == "damaged"
    answer = ask(forged.replace(old, page_digest(forged)))
    assert answer.state == "ok"
    assert "page: it agrees with the digest that the file states, which whoever changed it could" in answer.text


def harness(evidence: str) -> str:
    """A page with the checker and evidence in it, and nothing else."""
    script = checker()
    return (
        f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>V</title><script>{script}</script></head>'
        '<body><div id="answer"></div><input id="given-vkey"><textarea id="given-pinned"></textarea>'
        '<details></details><button id="check-again">Again</button><main></main><script type="application/json" '
        f'id="evidence">{escaped(evidence)}</script></body></html>'
    )


def escaped(evidence: str) -> str:
    return evidence.replace("<", "\\u003c")


@pytest.mark.long
def test_no_byte_can_be_changed_unseen(ask: Ask, page: str) -> None:
    """A byte is found, or the browser reads the same document with it: white space, mostly."""
    rng = random.Random(20261122)
    whole = page.encode()
    head, _, evidence = whole.partition(b'id="evidence">')
    places = [rng.randrange(len(head)) for _ in range(25)]
    places += [len(whole) - len(evidence) + rng.randrange(len(evidence)) for _ in range(25)]
    for place in places:
        changed = bytearray(whole)
        changed[place] ^= 1 << rng.randrange(7)
        answer = ask(bytes(changed))
        if answer.state == "ok":
            assert page_digest(bytes(changed).decode()) == page_digest(page), f"byte {place}"


CORPUS: dict[str, Any] = json.loads(
    (Path(__file__).resolve().parents[2] / "vectors" / "evidence_corpus.json").read_text(encoding="utf-8")
)


@pytest.mark.long
def test_evidence_is_decided_as_the_corpus_says(ask: Ask) -> None:
    """The vectors of ``affidavit check`` and ``docs/verify.py``. Their body is that of no page: it is left out."""
    wrong = []
    for row in CORPUS["rows"]:
        text = CORPUS["bases"][row["base"]]
        for old, new in row["edits"]:
            text = text.replace(old, new)
        answer = ask(harness(_without_page(text)))
        if (answer.state == "ok") != (row["verdict"] == "accept"):
            wrong.append((row["name"], answer.state, answer.text[:200]))
    assert not wrong


def test_reviews_are_decided_as_the_corpus_says(ask: Ask) -> None:
    for row in CORPUS["reviews"]:
        answer = ask(harness(CORPUS["bases"][row["base"]]))
        assert (answer.state == "ok") == (row["verdict"] == "accept"), (row["name"], answer.text[:200])


def test_what_is_missing_is_named(ask: Ask) -> None:
    answer = ask(harness(_without_page(CORPUS["bases"]["run"])))
    for words in (
        "gaps: entries 3 of the range are not in this file",
        "gaps: positions 1–1 of run/043 are not in this file",
        "after: entries 8–11 of the log are not here; what happened later is not told",
        "events: whether anchors and summaries say what is so; affidavit check tells",
    ):
        assert words in answer.text


def test_values_and_entries_are_decided_as_the_corpus_says(browser: Any, tmp_path: Path) -> None:
    """Both readers of the checker, handed out by a line that only this page has. Rows that are no text are left out."""
    script = checker().rstrip()
    assert script.endswith("})();")
    inside = "globalThis.readers = { grammar: (source) => parseJson(source, STRICT), entry: parseEntry };"
    path = tmp_path / "readers.html"
    page = f'<!DOCTYPE html><meta charset="utf-8"><script>{script.removesuffix("})();")}{inside}}})();</script>'
    path.write_text(page + '<div id="answer"></div><script id="evidence"></script>', encoding="utf-8")
    context = browser.new_context(offline=True)
    tab = context.new_page()
    tab.goto(path.as_uri(), wait_until="load")
    accepts = "([reader, text]) => { try { readers[reader](text); return true; } catch { return false; } }"
    corpus = json.loads((Path(__file__).resolve().parents[2] / "vectors" / "entry_corpus.json").read_text())
    wrong = [
        (reader, row["name"], row["verdict"])
        for reader in ("grammar", "entry")
        for row in corpus[reader]
        if "text" in row and tab.evaluate(accepts, [reader, row["text"]]) != (row["verdict"] == "accept")
    ]
    context.close()
    assert not wrong


def test_what_a_reader_brings_decides(ask: Ask) -> None:
    wrong = []
    for row in CORPUS["outside"]:
        brought = {"vkey": "".join(row["vkeys"]), "pinned": "".join(row["pinned"])}
        answer = ask(harness(_without_page(CORPUS["bases"][row["base"]])), **brought)
        if answer.state != row["verdict"]:
            wrong.append((row["name"], answer.state, answer.text[:200]))
    assert not wrong


def _without_page(evidence: str) -> str:
    return re.sub(r'"body":"[0-9a-f]{64}"\}', '"body":null}', evidence)
