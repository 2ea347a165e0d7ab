"""A tab of a browser that has one site to visit, and that notes whatever goes wrong in it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from .serving import Site

PATIENCE = 20_000
"""Milliseconds after which what does not come is not coming."""

WIDE = {"width": 1280, "height": 900}
PHONE = {"width": 360, "height": 740}
ZOOMED = {"width": 640, "height": 450}
"""What a window of 1280 by 900 has room for at 200 %."""

_REPORT_VIOLATIONS = """
addEventListener("securitypolicyviolation", (event) =>
  console.error(`content security policy: ${event.violatedDirective} ${event.blockedURI} ${event.sample}`));
"""


@dataclass
class Watched:
    """A tab. ``problems`` are errors in its console, scripts that failed, dialogs, and requests to elsewhere.

    An answer that is no success is an error in the console, too; ``expected`` are the addresses of which it is wanted.
    """

    page: Any
    site: Site
    problems: list[str] = field(default_factory=list)
    expected: set[str] = field(default_factory=set)

    def go(self, path: str, status: int = 200) -> None:
        """Go to a path of the site and wait until everything is loaded."""
        url = self.site.url + path
        if status != 200:
            self.expected.add(url)
        answer = self.page.goto(url, wait_until="load")
        assert answer is not None
        assert answer.status == status, f"{path}: {answer.status}\n{self.page.inner_text('body')[:2000]}"

    def text(self, selector: str = "main") -> str:
        """The words that a reader sees in an element."""
        found: str = self.page.inner_text(selector)
        return found

    def ask(self, script: str, *arguments: Any) -> Any:
        """What a script answers that runs beside the page's own."""
        return self.page.evaluate(script, *arguments)


def watched(browser: Any, site: Site, **options: Any) -> Watched:
    """A tab in a context of its own, with its own storage."""
    context = browser.new_context(**{"viewport": WIDE, "reduced_motion": "reduce", **options})
    context.add_init_script(_REPORT_VIOLATIONS)
    context.set_default_timeout(PATIENCE)
    tab = Watched(context.new_page(), site)

    def asked(request: Any) -> None:
        if not request.url.startswith((site.url + "/", "data:", "blob:")):
            tab.problems.append(f"a request to {request.url}")

    def say(message: Any) -> None:
        if message.type == "error" and message.location.get("url") not in tab.expected:
            tab.problems.append(f"{tab.page.url}: console: {message.text}")

    def ask(dialog: Any) -> None:
        tab.problems.append(f"{tab.page.url}: dialog: {dialog.message}")
        dialog.dismiss()

    context.on("request", asked)  # not routed, which would keep a browser from caching; FLAGS lets nothing out
    tab.page.on("console", say)
    tab.page.on("pageerror", lambda error: tab.problems.append(f"{tab.page.url}: script: {error}"))
    tab.page.on("dialog", ask)
    return tab
