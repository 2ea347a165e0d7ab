"""What the button of the badge finds in a real browser, when somebody between it and the server changes something."""

from __future__ import annotations

import random
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from affidavit.api.http.app import open_service
from affidavit.api.record import RecordingLedger
from affidavit.ledger.application import Edge, Ledger
from affidavit.ledger.tlog.checkpoint import claimed_checkpoint, sign_checkpoint
from affidavit.ledger.tlog.note import ED25519, VerifierKey, print_vkey
from affidavit.projections.registry import REGISTRY

from .serving import Site, served

Change = Callable[[bytes], bytes]

GOOD = ("ok", "unpinned")

STRANGER = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))


@dataclass(frozen=True, slots=True)
class Found:
    state: str | None
    text: str


class Reader:
    """A tab of a browser that keeps what it has seen, and somebody between it and the server."""

    def __init__(self, context: Any, url: str) -> None:
        self.page = context.new_page()
        self.url = url
        self._served_by = url
        self._changes: list[tuple[re.Pattern[str], Change]] = []
        self.page.route("**/*", self._pass_on)

    def change(self, path: str, by: Change) -> None:
        """From now on what comes from a path that matches arrives changed."""
        self._changes.append((re.compile(path), by))

    def serve_from(self, site: Site) -> None:
        """From now on another server answers at this address."""
        self._served_by = site.url

    def restore(self) -> None:
        self._changes.clear()
        self._served_by = self.url

    def verify(self, path: str = "/reviews") -> Found:
        """Open a page and press the button."""
        self.page.goto(self.url + path)
        return self.press()

    def press(self) -> Found:
        self.page.click("[data-verify]")
        return self.told()

    def told(self) -> Found:
        self.page.wait_for_selector("[data-verifier][data-state]", timeout=30_000)
        verifier = self.page.locator("[data-verifier]")
        return Found(verifier.get_attribute("data-state"), verifier.inner_text())

    def pin(self, vkey: str) -> Found:
        """Open the form, pin a key, and wait for what the check then says."""
        if self.page.locator("[data-key][open]").count() == 0:
            self.page.click("[data-key] summary")
        self.page.fill("#pin-vkey", vkey)
        self.page.evaluate("delete document.querySelector('[data-verifier]').dataset.state")
        self.page.click("[data-key] form button")
        return self.told()

    def _pass_on(self, route: Any) -> None:
        path = route.request.url.removeprefix(self.url)
        response = route.fetch(url=self._served_by + path)
        body = response.body()
        for pattern, by in self._changes:
            if pattern.match(path):
                body = by(body)
        route.fulfill(response=response, body=body)


@pytest.fixture
def twin(ledger: Ledger, tmp_path: Path) -> Iterator[Ledger]:
    """A copy of the ledger, its keys too, as somebody makes who wants to tell two stories."""
    record(ledger, "common")
    ledger.sign()
    for name in ("ledger", "keys"):
        shutil.copytree(tmp_path / name, tmp_path / "twin" / name)
    edge = Edge(lambda: 1_795_341_900_000_000, random.Random(2).randbytes)
    folder = tmp_path / "twin"
    with Ledger(folder / "ledger", folder / "keys", REGISTRY, edge=edge, sign_in_background=False) as opened:
        yield opened


@pytest.fixture
def serve() -> Iterator[Callable[[Ledger], Site]]:
    with ExitStack() as opened:

        def serving(ledger: Ledger) -> Site:
            service = opened.enter_context(open_service(ledger, clock=lambda: 1_795_341_900_000_000))
            return opened.enter_context(served(service))

        yield serving


@pytest.fixture
def log(ledger: Ledger, browser: Any, serve: Callable[[Ledger], Site]) -> Site:
    """A small log, signed and served."""
    record(ledger, "first")
    ledger.sign()
    return serve(ledger)


@pytest.fixture
def visit(browser: Any) -> Iterator[Callable[[Site], Reader]]:
    """A reader in a browser of their own."""
    opened = []

    def visiting(site: Site) -> Reader:
        opened.append(browser.new_context())
        return Reader(opened[-1], site.url)

    yield visiting
    for context in opened:
        context.close()


Visit = Callable[[Site], Reader]


def record(ledger: Ledger, prompt: str) -> None:
    """Some ten entries."""
    run = RecordingLedger(ledger, "a@example.org").start_run(strategy="iterative", prompt=prompt, config={})
    run.record_baseline(score=0.25)
    evaluated = run.record_evaluation(prompt, score=0.5)
    run.record_iteration(evaluated)
    run.complete(reason="finished", best=prompt)


def flip(at: int = 40) -> Change:
    """Changes one bit, so that JSON stays JSON: a digit or a letter becomes its neighbour."""

    def changed(body: bytes) -> bytes:
        return body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :]

    return changed


def replace(old: str, new: str) -> Change:
    def changed(body: bytes) -> bytes:
        assert old.encode() in body
        return body.replace(old.encode(), new.encode(), 1)

    return changed


def vkey_of(ledger: Ledger) -> str:
    return print_vkey(ledger.verifier_key())


def test_a_whole_page_says_what_was_checked_and_what_was_not(log: Site, visit: Visit, ledger: Ledger) -> None:
    found = visit(log).verify("/ledger/entries/3")
    assert found.state == "unpinned", found.text
    for words in (
        "Consistent, under a key that this server named",
        "is signed by the key that the log names",
        "page: its root is the one that was signed",
        "entry 3 stands in the signed tree",
        "the bytes of entry 3 on this page are those that were signed",
        "key: it came from this server",
        "this browser had kept no checkpoint of this log",
        "this page and this checker came from the server",
        "witnesses tell",
    ):
        assert words in found.text
    assert ledger.origin in found.text


def test_the_reader_s_key_and_the_kept_checkpoint_count(log: Site, visit: Visit, ledger: Ledger) -> None:
    reader = visit(log)
    reader.verify()
    found = reader.pin(vkey_of(ledger))
    assert found.state == "ok", found.text
    assert "is signed by the key that you pinned" in found.text
    assert "key: it came from this server" not in found.text
    size = ledger.sign().size
    assert f"earlier: the checkpoint of {size} entries that this browser kept is of this history" in found.text

    record(ledger, "second")
    grown = ledger.sign().size
    found = reader.verify()
    assert found.state in GOOD, found.text
    assert f"the checkpoint of {size} entries that this browser kept" in found.text
    assert f"the checkpoint of {grown} entries is signed by the key that you pinned" in found.text


def test_an_earlier_page_is_proven_against_the_newest_checkpoint(log: Site, visit: Visit, ledger: Ledger) -> None:
    size = ledger.sign().size
    found = visit(log).verify("/reviews?as_of=4")
    assert found.state in GOOD, found.text
    assert "page: its 5 entries are the beginning of what was signed" in found.text
    assert f"the checkpoint of {size} entries is signed" in found.text


def test_a_page_that_stayed_open_while_the_log_grew(log: Site, visit: Visit, ledger: Ledger) -> None:
    reader = visit(log)
    size = ledger.sign().size
    reader.page.goto(f"{log.url}/reviews")
    record(ledger, "second")
    ledger.rotate_key(overlap=0)
    record(ledger, "third")
    ledger.sign()
    found = reader.press()
    assert found.state in GOOD, found.text
    assert f"page: its {size} entries are the beginning of what was signed" in found.text


def test_what_is_not_signed_is_not_proven(log: Site, visit: Visit, ledger: Ledger) -> None:
    size = ledger.sign().size
    RecordingLedger(ledger, "a@example.org").start_run(strategy="iterative", prompt="second", config={})
    with ledger.recorder.reading() as reading:
        grown = reading.head().size
    reader = visit(log)
    reader.change("/reviews", replace('id="badge"', f'id="badge" data-entries="2,{grown - 1}"'))
    found = reader.verify()
    assert found.state == "not_proven", found.text
    assert f"the page is computed from {grown} entries, and only {size} entries are signed" in found.text
    assert "entries: entry 2 stands in the signed tree" in found.text
    found = reader.verify("/reviews?as_of=4")
    assert (found.state, "1 entry that this page is about is not signed" in found.text) == ("not_proven", True)


def test_a_forged_entry_that_claims_to_be_unsigned_is_not_proven(log: Site, visit: Visit, ledger: Ledger) -> None:
    reader = visit(log)
    reader.verify()
    reader.pin(vkey_of(ledger))
    reader.change(PAGE, replace('data-entries="3"', 'data-entries="8999999"'))
    reader.change(PAGE, replace("&#34;seq&#34;:3,", "&#34;seq&#34;:8999999,"))
    assert reader.verify("/ledger/entries/3").state == "not_proven"


@pytest.mark.parametrize(
    "change",
    [
        lambda body: re.sub(rb'data-size="\d+"', b'data-size="0"', body),
        lambda body: re.sub(rb'data-root="[^"]+"', b'data-root="QUFB"', body),
        lambda body: re.sub(rb"the first \d+, up", b"the first 999, up", body),
        lambda body: re.sub(rb'data-says="origin">', b'data-says="origin">other.', body),
    ],
)
def test_a_badge_that_states_or_prints_nonsense(log: Site, visit: Visit, change: Change) -> None:
    reader = visit(log)
    reader.change("/reviews", change)
    assert reader.verify().state == "damaged"


def test_a_stalled_answer_neither_unpins_nor_draws(log: Site, visit: Visit, ledger: Ledger) -> None:
    held: list[Any] = []
    reader = visit(log)
    reader.page.goto(f"{log.url}/reviews")
    reader.page.route("**/checkpoint", lambda route: held.append(route), times=1)
    with reader.page.expect_request("**/checkpoint"):
        reader.page.click("[data-verify]")
    stranger = print_vkey(VerifierKey(ledger.origin, ED25519, STRANGER.public_key().public_bytes_raw()))
    assert reader.pin(stranger).state == "not_proven"
    with reader.page.expect_response("**/checkpoint"):
        held[0].continue_()
    reader.page.evaluate("import('/assets/pagecheck.js').then((its) => its.checkPage(its.readPage(), null))")
    assert reader.told().state == "not_proven"
    assert stranger in reader.page.evaluate("localStorage.getItem('affidavit.log')")


def test_a_kept_checkpoint_and_a_pin_are_never_undone(log: Site, visit: Visit, ledger: Ledger) -> None:
    reader = visit(log)
    reader.verify()
    check = """async (change) => {
      const checked = (await import("/assets/pagecheck.js")).checkThisPage();
      const kept = JSON.parse(localStorage.getItem("affidavit.log"));
      localStorage.setItem("affidavit.log", JSON.stringify({ ...kept, ...change }));
      return [(await checked).state, JSON.parse(localStorage.getItem("affidavit.log"))];
    }"""
    state, kept = reader.page.evaluate(check, {"vkey": vkey_of(ledger)})
    assert (state, kept["vkey"]) == ("not_proven", vkey_of(ledger))
    reader.page.evaluate("localStorage.clear()")
    reader.verify()
    record(ledger, "second")
    ledger.sign()
    with ledger.recorder.reading() as reading:
        newer = reading.latest_checkpoint()
    assert newer is not None
    ahead = {"note": newer[1].decode()}
    assert reader.page.evaluate(check, ahead)[1]["note"] == ahead["note"]


def test_a_retired_key_with_a_list_cut_short(log: Site, visit: Visit, ledger: Ledger) -> None:
    reader = visit(log)
    reader.verify()
    found = reader.pin(vkey_of(ledger))
    assert "Whether its owner has replaced that key since, this server alone says" in found.text
    assert "keys: that no later entry names another key" in found.text
    reader.change("/ledger/signers.txt", lambda _: b"0\n3\n")
    found = reader.verify()
    assert (found.state, "lists an entry that names no key" in found.text) == ("damaged", True), found.text
    reader.restore()
    reader.change("/ledger/signers.txt", lambda _: b"0-600\n")
    assert reader.verify().state == "not_proven"


def test_a_page_that_changes_after_it_was_verified_is_verified_no_more(log: Site, visit: Visit) -> None:
    reader = visit(log)
    assert reader.verify().state == "unpinned"
    swapped = "document.body.dispatchEvent(new Event('htmx:after:swap', { bubbles: true }))"
    reader.page.evaluate(swapped)
    assert reader.told().state == "unpinned"
    reader.page.evaluate("document.getElementById('badge').dataset.size = '999999'")
    reader.page.evaluate(swapped)
    found = reader.told()
    assert (found.state, "The page has changed since: verify again" in found.text) == ("changed", True), found.text


def test_an_old_page_where_a_newer_one_was_seen(log: Site, visit: Visit, ledger: Ledger) -> None:
    reader = visit(log)
    old = reader.page.request.get(f"{log.url}/reviews").body()
    record(ledger, "second")
    size = ledger.sign().size
    reader.change("/reviews", lambda _: old)
    found = reader.verify()
    assert (found.state, "reload it for what is newer" in found.text) == ("unpinned", True), found.text
    found = reader.verify()
    assert (found.state, f"had seen {size} entries signed before it was opened" in found.text) == ("rollback", True)


BUNDLE, TILE, NOTE, PAGE = r"/tile/entries/", r"/tile/0/", r"/checkpoint$", r"/ledger/entries/"


@pytest.mark.parametrize(
    ("path", "change", "told"),
    [
        (BUNDLE, flip(), "the bytes that the server gives out are not those that were signed"),
        (BUNDLE, flip(3), "the bytes that the server gives out are not those that were signed"),
        (TILE, flip(5), "not those that were signed"),
        (NOTE, replace("\n\n— ", "\n\n— x"), "not signed by the keys of its size"),
        (PAGE, replace("&#34;seq&#34;:3,", "&#34;seq&#34;:2,"), "entry 3: the page shows other bytes than those"),
        (PAGE, lambda body: re.sub(rb'data-leaf="(.)', b'data-leaf="x', body, count=1), "shows another hash"),
    ],
)
def test_one_bit_is_found(log: Site, visit: Visit, path: str, change: Change, told: str) -> None:
    reader = visit(log)
    reader.change(path, change)
    found = reader.verify("/ledger/entries/3")
    assert (found.state, told in found.text) == ("damaged", True), found.text
    reader.restore()
    assert reader.verify("/ledger/entries/3").state in GOOD


def test_another_root_in_the_badge_is_found(log: Site, visit: Visit, ledger: Ledger) -> None:
    reader = visit(log)
    reader.page.goto(f"{log.url}/reviews")
    root = reader.page.get_attribute("#badge", "data-root")
    assert root is not None
    forged = ("A" if root[0] != "A" else "B") + root[1:]

    reader.change("/reviews", lambda body: body.replace(root.encode(), forged.encode()))
    found = reader.verify()
    assert (found.state, "the root that this page names is not that of the first" in found.text) == ("damaged", True)
    reader.restore()
    reader.change(
        "/reviews", replace(f'<dd class="hash" data-says="root">{root}', f'<dd class="hash" data-says="root">{forged}')
    )
    found = reader.verify()
    assert (found.state, "not the one that it states" in found.text) == ("damaged", True), found.text


def test_another_size_in_the_badge_is_found(log: Site, visit: Visit, ledger: Ledger) -> None:
    size = ledger.sign().size
    reader = visit(log)
    reader.change("/reviews", replace(f'data-size="{size}"', f'data-size="{size - 1}"'))
    assert reader.verify().state == "damaged"


def test_another_origin_in_the_badge_is_found(log: Site, visit: Visit, ledger: Ledger) -> None:
    reader = visit(log)
    reader.change("/reviews", replace(f'data-origin="{ledger.origin}"', 'data-origin="other.example/0123456789abcdef"'))
    found = reader.verify()
    assert (found.state, "the page says that it is of the log other.example" in found.text) == ("damaged", True)


def resigned(body: bytes) -> bytes:
    """The same checkpoint, under a stranger's key of the same name."""
    return sign_checkpoint(claimed_checkpoint(body), STRANGER)


def test_a_checkpoint_under_another_key_is_refused(log: Site, visit: Visit, ledger: Ledger) -> None:
    reader = visit(log)
    reader.change(NOTE, resigned)
    found = reader.verify()
    assert (found.state, "is not signed by the keys of its size" in found.text) == ("damaged", True), found.text
    found = reader.pin(vkey_of(ledger))
    assert (found.state, "the key that you pinned did not sign" in found.text) == ("not_proven", True), found.text


def test_a_key_that_did_not_sign_is_no_key_of_this_log(log: Site, visit: Visit, ledger: Ledger) -> None:
    reader = visit(log)
    reader.verify()
    stranger = VerifierKey(ledger.origin, ED25519, STRANGER.public_key().public_bytes_raw())
    found = reader.pin(print_vkey(stranger))
    assert (found.state, "the key that you pinned did not sign" in found.text) == ("not_proven", True), found.text
    reader.page.fill("#pin-vkey", "nonsense")
    reader.page.click("[data-key] form button")
    assert "expected <name>+<key ID>+<key>" in reader.page.inner_text("[data-key] [role=alert]")


def test_a_signature_line_of_the_log_s_own_key_that_is_wrong(log: Site, visit: Visit, ledger: Ledger) -> None:
    def spoiled(body: bytes) -> bytes:
        return body[:-6] + (b"A" if body[-6:-5] != b"A" else b"B") + body[-5:]

    reader = visit(log)
    reader.change(NOTE, spoiled)
    found = reader.verify()
    assert (found.state, "the signature of" in found.text) == ("damaged", True), found.text


def test_after_a_rotation_the_old_key_proves_nothing(log: Site, visit: Visit, ledger: Ledger) -> None:
    reader, old = visit(log), vkey_of(ledger)
    reader.verify()
    assert reader.pin(old).state in GOOD
    ledger.rotate_key(overlap=1)
    found = reader.verify()
    assert found.state in GOOD, found.text  # both keys sign
    for prompt in ("second", "third"):
        record(ledger, prompt)
    ledger.sign()
    found = reader.verify()
    assert (found.state, "pin that; else this is not their log" in found.text) == ("not_proven", True), found.text
    found = reader.pin(vkey_of(ledger))
    assert found.state == "ok", found.text
    assert "that this browser kept is of this history" in found.text


def test_another_history_is_a_fork_with_both_notes_to_keep(
    ledger: Ledger, twin: Ledger, browser: Any, serve: Callable[[Ledger], Site], visit: Visit
) -> None:
    record(ledger, "what one reader is shown")
    record(twin, "what another reader is shown")
    ledger.sign()
    twin.sign()
    one, other = serve(ledger), serve(twin)
    reader = visit(one)
    assert reader.verify().state in GOOD
    reader.serve_from(other)
    for _ in range(2):  # what was kept stays, however often it is looked at
        found = reader.verify()
        assert (found.state, "this browser was shown another history before" in found.text) == ("fork", True), (
            found.text
        )
    assert "Keep both checkpoints" in found.text
    notes = {}
    for name in ("shown", "kept"):
        with reader.page.expect_download() as download:
            reader.page.click(f"[download='{name}.checkpoint']")
        notes[name] = claimed_checkpoint(Path(download.value.path()).read_bytes())
    assert notes["kept"].root == ledger.sign().root
    assert notes["shown"].root == twin.sign().root

    record(twin, "and it goes on")
    twin.sign()
    assert reader.verify().state == "fork"
    reader.restore()
    assert reader.verify().state in GOOD


def test_a_log_that_became_shorter_is_taken_back(
    ledger: Ledger, twin: Ledger, browser: Any, serve: Callable[[Ledger], Site], visit: Visit
) -> None:
    record(ledger, "this is taken back")
    size = ledger.sign().size
    reader = visit(serve(ledger))
    assert reader.verify().state in GOOD
    reader.serve_from(serve(twin))
    found = reader.verify()
    assert (found.state, f"the log had {size} entries when this browser last looked" in found.text) == (
        "rollback",
        True,
    )


def test_an_old_checkpoint_of_the_same_log_is_a_rollback(log: Site, visit: Visit, ledger: Ledger) -> None:
    reader = visit(log)
    with ledger.recorder.reading() as reading:
        old = reading.latest_checkpoint()
    assert old is not None
    record(ledger, "second")
    ledger.sign()
    assert reader.verify().state in GOOD
    reader.change(NOTE, lambda _: old[1])
    assert reader.verify("/reviews?as_of=3").state == "rollback"


def test_another_log_at_the_same_address(
    log: Site, browser: Any, tmp_path: Path, serve: Callable[[Ledger], Site], visit: Visit
) -> None:
    folder = tmp_path / "other"
    edge = Edge(lambda: 1_795_341_900_000_000, random.Random(3).randbytes)
    with Ledger.create(
        folder / "ledger", folder / "keys", REGISTRY, name="other", edge=edge, sign_in_background=False
    ) as other:
        record(other, "another log")
        other.sign()
        reader = visit(log)
        assert reader.verify().state in GOOD
        reader.serve_from(serve(other))
        found = reader.verify()
        assert (found.state, f"now it shows {other.origin}" in found.text) == ("other_log", True), found.text
        if reader.page.locator("[data-key][open]").count() == 0:
            reader.page.click("[data-key] summary")
        reader.page.click("text=Forget this log")
        assert reader.verify().state in GOOD


def test_a_pinned_key_of_another_log_is_seen_before_anything_was_kept(log: Site, visit: Visit) -> None:
    reader = visit(log)
    reader.page.goto(f"{log.url}/reviews")
    found = reader.pin(
        print_vkey(VerifierKey("example.org/0123456789abcdef", ED25519, STRANGER.public_key().public_bytes_raw()))
    )
    assert (found.state, "example.org/0123456789abcdef" in found.text) == ("other_log", True), found.text


def test_a_server_that_hides_something_proves_nothing(log: Site, visit: Visit) -> None:
    reader = visit(log)
    for path in ("**/checkpoint", "**/ledger/signers.txt", "**/tile/**"):
        reader.page.goto(f"{log.url}/reviews")
        reader.page.route(path, lambda route: route.fulfill(status=404, body=""))
        found = reader.press()
        assert found.state == "not_proven", (path, found.text)
        reader.page.unroute(path)


def test_rotated_keys_of_a_whole_world(site: Site, visit: Visit) -> None:
    found = visit(site).verify("/reviews")
    assert found.state in GOOD, found.text
    assert "that this page is about stand in the signed tree" in found.text
