"""A real browser, the site that it visits, and a page that keeps account of everything that it must not do.

Without Chromium, or without playwright, these tests are skipped and say so.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from affidavit.api.http.limits import Limits
from affidavit.api.http.service import Service, Settings
from affidavit.tests.api.pages.world import copied_world

from .serving import Site, served
from .watching import Watched, watched

UNHURRIED = Settings(Limits(requests_per_minute=600_000))
"""One visitor who looks at every page within a minute."""

FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"),
    *("--disable-sync", "--no-first-run", "--disable-dev-shm-usage"),
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)
"""The last one keeps the browser from every other machine."""


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("chromium is not here: `apt-get install chromium` brings it")
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not here: `make test` installs it")
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium, args=list(FLAGS))
        yield opened
        opened.close()


@pytest.fixture(scope="session")
def site(browser: Any, made_world: tuple[Path, int], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The world, served for tests that only read."""
    with copied_world(*made_world, tmp_path_factory.mktemp("site"), UNHURRIED) as service, served(service) as site:
        yield site


@pytest.fixture
def own_site(browser: Any, made_world: tuple[Path, int], tmp_path: Path) -> Iterator[Site]:
    """A copy of the world, served for one test that records something."""
    with copied_world(*made_world, tmp_path / "own", UNHURRIED) as service, served(service) as site:
        yield site


@pytest.fixture
def world(site: Site) -> Service:
    return site.service


Open = Callable[..., Watched]


@pytest.fixture
def open_page(browser: Any) -> Iterator[Open]:
    """Opens a tab on a site: ``open_page(site, path, **options of the browser's context)``.

    At the end of the test no tab may have done what ``Watched`` counts as a problem.
    """
    opened: list[Watched] = []

    def opening(site: Site, path: str = "", **options: Any) -> Watched:
        tab = watched(browser, site, **options)
        opened.append(tab)
        if path:
            tab.go(path)
        return tab

    yield opening
    problems = [problem for tab in opened for problem in tab.problems]
    for tab in opened:
        tab.page.context.close()
    assert not problems, problems


@pytest.fixture(scope="session")
def kept_tabs(browser: Any, site: Site) -> tuple[Watched, Watched]:
    return watched(browser, site), watched(browser, site, java_script_enabled=False)


@pytest.fixture
def tabs(kept_tabs: tuple[Watched, Watched]) -> Iterator[tuple[Watched, Watched]]:
    """Two tabs on the world, the second without scripts. They stay open from test to test, for tests that only look."""
    yield kept_tabs
    problems = [problem for tab in kept_tabs for problem in tab.problems]
    for tab in kept_tabs:
        tab.problems.clear()
    assert not problems, problems


@pytest.fixture
def page(open_page: Open, site: Site) -> Watched:
    """A tab on the world that is only read."""
    return open_page(site)
