"""Every page, and each state of it: accessible, inert, readable small and large, with a badge, and without a script."""

from __future__ import annotations

import re
from base64 import b64decode
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpx2
import pytest

from affidavit.api.pages.assets import assets

from .serving import PAGES, REFUSED, UNSAID, Site
from .soundness import badge, unsound
from .watching import Watched, watched

NAMES = list(PAGES)


@pytest.mark.parametrize("name", NAMES)
def test_a_page_is_sound(tabs: tuple[Watched, Watched], name: str) -> None:
    """axe finds nothing in light and dark; no sideways scroll on a phone or at 200 %; hostile texts are inert;
    headings are in order; nothing is asked of another site, and the console is silent; without scripts it says the
    same."""
    page, bare = tabs
    service = page.site.service
    for tab in tabs:
        tab.go(PAGES[name](service), REFUSED.get(name, 200))
    wrong = list(unsound(page))
    assert not wrong, "\n".join(wrong)
    page.ask("document.querySelectorAll('[data-signer]').forEach((each) => each.remove())")  # needs WebCrypto
    assert len(bare.text()) > 40
    assert _plain(page.text()) == _plain(bare.text())
    shown = badge(page)
    if name in UNSAID:
        assert shown is None
        return
    assert shown is not None, "it has no badge"
    size = shown["size"]
    with service.ledger.recorder.reading() as reader:
        assert b64decode(shown["root"]) == reader.frontier_at(size).root()
        assert shown["origin"] == reader.origin()
        past = re.search(r"[?&]as_of=(\d+)", PAGES[name](service))
        assert size == (int(past[1]) + 1 if past else reader.head().size)


def test_what_a_tab_must_not_do_is_noted(browser: Any, site: Site) -> None:
    tab = watched(browser, site)
    tab.page.goto("data:text/html,<img src='http://203.0.113.7/seen.png'><script>alert(1); throw Error('x')</script>")
    told = "\n".join(tab.problems)
    tab.page.context.close()
    assert "a request to http://203.0.113.7/seen.png" in told
    assert "net::ERR_NAME_NOT_RESOLVED" in told, "nothing left this machine"
    assert "dialog: 1" in told
    assert "script: x" in told


def test_every_link_leads_somewhere(site: Site) -> None:
    """Of links that differ in a number or a hash only, two are followed."""
    found: dict[str, str] = {}
    with httpx2.Client(base_url=site.url, timeout=60) as client:
        for name, path in PAGES.items():
            here = path(site.service)
            for link, target in _links(client.get(here).text):
                url = urljoin(here, link)
                found.setdefault(url, f"{name}: {target}")
        wrong = []
        followed: dict[str, int] = {}
        for url, where in found.items():
            parts = urlsplit(url)
            assert not parts.scheme, f"{where} leads to another site: {url}"
            form = re.sub(r"[0-9a-f]{16,}|\d+", "#", parts.path + "?" + parts.query)
            followed[form] = followed.get(form, 0) + 1
            if followed[form] > 2:
                continue
            answer = client.get(url)
            if answer.status_code >= 400:
                wrong.append(f"{where} leads to {url}: {answer.status_code}")
            elif parts.fragment and f'id="{parts.fragment}"' not in answer.text:
                wrong.append(f"{where} leads to {url}, which has no such place")
    assert not wrong, "\n".join(wrong)
    assert len(followed) > 40


def test_what_a_page_is_sent_with(site: Site) -> None:
    """The policy that a browser enforces, and pages that name no other place."""
    with httpx2.Client(base_url=site.url, timeout=60) as client:
        for name, path in PAGES.items():
            answer = client.get(path(site.service))
            policy = answer.headers["content-security-policy"]
            assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'"), name
            assert "unsafe" not in policy
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["content-type"] == "text/html; charset=utf-8"


def test_a_visit_takes_less_than_sixty_kilobytes_of_scripts() -> None:
    scripts = {name: len(asset.packed) for name, asset in assets().items() if name.endswith(".js")}
    assert sum(scripts.values()) < 60_000, scripts


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        link = given.get("href") if tag in ("a", "link") else given.get("src")
        if link is not None and not link.startswith("#"):
            self.found.append((link, tag))


def _links(text: str) -> list[tuple[str, str]]:
    parser = _Links()
    parser.feed(text)
    return parser.found


def _plain(text: str) -> list[str]:
    """The lines of a page, without the blanks that a layout puts between words."""
    return [line for line in (" ".join(line.split()) for line in text.splitlines()) if line]
