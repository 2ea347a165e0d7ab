"""The pictures of ``docs/images``, taken of the recorded world in Chromium: ``python tests/pages/screenshots.py``.

What is seen in them is made up: simulated models, sessions and people that never were.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import sync_playwright

from affidavit.tests.api.pages.world import open_world
from affidavit.tests.pages.conftest import FLAGS
from affidavit.tests.pages.serving import PAGES, served
from affidavit.tests.pages.watching import PHONE, WIDE, watched

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "images"


@dataclass(frozen=True)
class Picture:
    """One picture: of which page, how wide the window is, from which heading on, and after which button."""

    page: str
    dark: bool = False
    phone: bool = False
    anchor: str = ""
    press: str = ""
    height: int = 900


PICTURES = {
    "runs": Picture("runs"),
    "lineage": Picture("lineage"),
    "run": Picture("run", height=1300),
    "run-dark": Picture("run", dark=True),
    "run-phone": Picture("run", phone=True),
    "iteration": Picture("iteration-against", height=1300),
    "call": Picture("call"),
    "evaluation": Picture("evaluation", height=1500),
    "source-sets": Picture("evaluation-sets", anchor="sets"),
    "comparisons": Picture("comparisons"),
    "session": Picture("session", height=1200),
    "judges": Picture("judges"),
    "ledger": Picture("ledger"),
    "entry": Picture("entry", height=1300),
    "badge": Picture("entry", anchor="badge", press="[data-verify]", height=700),
    "verification": Picture("verification"),
    "review": Picture("review", height=1200),
    "past": Picture("evaluation-past", dark=True),
}


def take(names: list[str], folder: Path) -> None:
    """Take the pictures of these names."""
    folder.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as scratch,
        open_world(Path(scratch)) as service,
        served(service) as site,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=list(FLAGS))
        for name in names:
            picture = PICTURES[name]
            size = PHONE if picture.phone else {**WIDE, "height": picture.height}
            tab = watched(browser, site, viewport=size, color_scheme="dark" if picture.dark else "light")
            tab.go(PAGES[picture.page](service))
            if picture.press:
                tab.page.click(picture.press)
                tab.page.wait_for_selector("[data-verifier][data-state]")
            if picture.anchor:
                tab.ask("(id) => document.getElementById(id).scrollIntoView()", picture.anchor)
            path = folder / f"{name}.png"
            tab.page.screenshot(path=path)
            print(f"{path.name}: {path.stat().st_size // 1000} kB {tab.problems or ''}", flush=True)
            tab.page.context.close()
        browser.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which: {', '.join(PICTURES)}; without, all")
    parser.add_argument("--to", type=Path, default=FOLDER, metavar="DIR", help="where to [default: docs/images]")
    options = parser.parse_args()
    unknown = set(options.names) - set(PICTURES)
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    take(options.names or list(PICTURES), options.to)


if __name__ == "__main__":
    main()
