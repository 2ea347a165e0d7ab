"""The pages: how long the server takes for each on a large ledger, when a browser first paints, and that they do not
take longer because there is more.

Each page is asked for many times with parameters drawn at random, over one connection to a server in a process of its
own. A page's figure is the 95th percentile, with the interval that holds the true one.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from http.client import HTTPConnection
from itertools import islice
from pathlib import Path
from statistics import median

from affidavit.bench.packing import FLAGS
from affidavit.bench.publishing import serving
from affidavit.bench.rows import Bench, Row
from affidavit.bench.site import DAYS, END, ITERATIONS, RUN_LENGTH, record_site, run_name, session_name
from affidavit.bench.windows import Side, interleave, median_of, quantile_of, ratios, timed
from affidavit.ledger.application import Ledger
from affidavit.projections.registry import REGISTRY

P = 0.95
FEWER = 100
"""How many times smaller the ledger is that growth is measured against."""

_FIRST_PAINT = """() => new Promise(resolve => {
    const told = list => {
        const found = list.getEntriesByName('first-contentful-paint')[0];
        if (found) resolve(found.startTime);
    };
    new PerformanceObserver(told).observe({type: 'paint', buffered: true});
})"""

Draw = Callable[["Site", random.Random], str]


@dataclass(frozen=True)
class Site:
    """A recorded ledger with a server over it: what is in it, and where."""

    runs: int
    entries: int
    sessions: tuple[str, ...]
    checkpoints: tuple[int, ...]
    calls: tuple[tuple[str, int], ...]
    port: int


def _run(site: Site, rng: random.Random) -> str:
    return run_name(rng.randrange(site.runs))


def _days(rng: random.Random) -> str:
    last = END - rng.randrange(DAYS - 40) * 86_400
    first = last - rng.choice((7, 30)) * 86_400
    return "&".join(
        f"{name}={datetime.fromtimestamp(at, UTC):%Y-%m-%d}" for name, at in (("from", first), ("to", last))
    )


LISTS: Mapping[str, Draw] = {
    "runs": lambda site, rng: f"/runs?page={rng.randint(1, max(1, site.runs // 50))}",
    "runs_found": lambda site, rng: f"/runs?q={_run(site, rng)}&status=completed",
    "runs_sorted": lambda site, rng: f"/runs?sort=improvement&page={rng.randint(1, max(1, site.runs // 50))}",
    "comparisons": lambda site, rng: "/evaluation/comparisons",
    "disagreements": lambda site, rng: "/evaluation/disagreements",
    "undecided": lambda site, rng: "/evaluation/undecided",
    "sessions": lambda site, rng: "/evaluation/sessions",
    "jobs": lambda site, rng: "/evaluation/jobs",
    "ledger": lambda site, rng: f"/ledger?before={rng.randrange(100, site.entries)}",
    "ledger_of_type": lambda site, rng: "/ledger?type=run.completed.v1",
    "streams": lambda site, rng: "/ledger/streams",
    "stream": lambda site, rng: f"/ledger/streams/run/{_run(site, rng)}",
    "checkpoints": lambda site, rng: "/ledger/checkpoints",
    "reviews": lambda site, rng: "/reviews",
}
"""Pages that list, and the parameters that they are asked for with."""

PAGES: Mapping[str, Draw] = {
    **LISTS,
    "run": lambda site, rng: f"/runs/{_run(site, rng)}",
    "run_against": lambda site, rng: f"/runs/{_run(site, rng)}?against={_run(site, rng)}",
    "lineage": lambda site, rng: f"/runs/lineage/{_run(site, rng)}",
    "iteration": lambda site, rng: f"/runs/{_run(site, rng)}/iterations/{rng.randrange(ITERATIONS + 1)}",
    "calls": lambda site, rng: f"/runs/{_run(site, rng)}/calls",
    "call": lambda site, rng: "/runs/{}/calls/{}".format(*rng.choice(site.calls)),
    "evaluation": lambda site, rng: f"/evaluation?{_days(rng)}",
    "evaluation_sets": lambda site, rng: (
        f"/evaluation?{_days(rng)}&set=with:prod_with_reflexio&set=without:prod_without_reflexio"
    ),
    "session": lambda site, rng: f"/evaluation/sessions/{rng.choice(site.sessions)}",
    "judges": lambda site, rng: "/evaluation/judges",
    "entry": lambda site, rng: f"/ledger/entries/{rng.randrange(site.entries)}",
    "checkpoint": lambda site, rng: f"/ledger/checkpoints/{rng.choice(site.checkpoints)}",
    "witnesses": lambda site, rng: "/ledger/witnesses",
    "anchors": lambda site, rng: "/ledger/anchors",
    "erasures": lambda site, rng: "/ledger/erasures",
    "imports": lambda site, rng: "/ledger/imports",
    "verification": lambda site, rng: "/ledger/verification",
    "changes": lambda site, rng: f"/ledger/changes?since={rng.randrange(site.entries)}",
    "review": lambda site, rng: f"/reviews/new?run={_run(site, rng)}",
    "runs_past": lambda site, rng: f"/runs?as_of={rng.randrange(site.entries // 2, site.entries)}",
    "evaluation_past": lambda site, rng: f"/evaluation?as_of={rng.randrange(site.entries // 2, site.entries)}",
}
"""Every page, by a name."""


def measure_pages(bench: Bench) -> list[Row]:
    """The three rows; that of the browser only where there is one."""
    runs, events = bench.sizes.runs, bench.sizes.large
    rng = random.Random(8128)
    with _site(bench.folder / "site", runs, events) as site:
        rows = [_of_server(bench, site, rng), *_of_browser(bench, site, rng)]
        small_runs, small_events = max(10, runs // FEWER), max(1000, events // FEWER)
        with _site(bench.folder / "small-site", small_runs, small_events) as small:
            rows.append(_of_growth(bench, site, small))
    return rows


def _of_server(bench: Bench, site: Site, rng: random.Random) -> Row:
    """In rounds over all pages, so that a slow moment of the machine is not one page's; the first rounds warm up."""
    taken: dict[str, list[float]] = {name: [] for name in PAGES}
    with closing(_connected(site)) as client:
        warming = bench.sizes.warming
        for number in range(warming + bench.sizes.pages):
            for name, draw in PAGES.items():
                milliseconds = 1000 * timed(partial(_get, client, draw(site, rng)))
                if number >= warming:
                    taken[name].append(milliseconds)
    found = {name: quantile_of(each, P) for name, each in taken.items()}
    slowest = max(found, key=lambda name: found[name].value)
    what = f"95th percentile of the slowest page, {slowest}; {site.runs:,} runs and {site.entries:,} entries"
    beside = {name: each.value for name, each in found.items()}
    return Row("pages", what, "ms", found[slowest], 100, "at most", beside=beside)


def _of_browser(bench: Bench, site: Site, rng: random.Random) -> Iterator[Row]:
    chromium = shutil.which("chromium")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        return
    if chromium is None:
        return
    pages = dict(islice(PAGES.items(), bench.sizes.painted_pages))
    painted: dict[str, list[float]] = {name: [] for name in pages}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=list(FLAGS))
        warming = min(1, bench.sizes.warming)
        for number in range(warming + bench.sizes.painted):
            for name, draw in pages.items():
                context = browser.new_context()  # with nothing in its cache
                tab = context.new_page()
                tab.goto(f"http://127.0.0.1:{site.port}{draw(site, rng)}", wait_until="load")
                first = float(tab.evaluate(_FIRST_PAINT))
                if number >= warming:  # the first round starts the browser's processes
                    painted[name].append(first)
                context.close()
        browser.close()
    found = {name: median(milliseconds) for name, milliseconds in painted.items()}
    every = [each for milliseconds in painted.values() for each in milliseconds]
    what = "95th percentile of the first paint of all pages in headless Chromium, nothing cached"
    beside = {"median": median(every), **found}
    yield Row("first_paint", what, "ms", quantile_of(every, P), 1000, "at most", beside=beside)


def _of_growth(bench: Bench, site: Site, small: Site) -> Row:
    """The pages that list, on both ledgers in turn: how much longer the same takes where there is more."""
    seconds = interleave({"large": _listing(site), "small": _listing(small)}, bench.sizes.long_windows)
    bytes_of = {name: [_largest(draw, where) for where in (site, small)] for name, draw in LISTS.items()}
    what = f"pages that list: time with {site.entries:,} entries against {small.entries:,}"
    beside = {
        "milliseconds": 1000 * median(seconds["large"]) / len(LISTS),
        "milliseconds_with_fewer": 1000 * median(seconds["small"]) / len(LISTS),
        "largest_kilobytes": max(sizes[0] for sizes in bytes_of.values()) / 1000,
        "largest_kilobytes_with_fewer": max(sizes[1] for sizes in bytes_of.values()) / 1000,
    }
    return Row("pages_growth", what, "×", median_of(ratios(seconds["small"], seconds["large"])), 2, "at most", beside)


def _listing(site: Site) -> Side:
    rng = random.Random(1)

    def ask() -> float:
        asked = [draw(site, rng) for draw in LISTS.values()]
        with closing(_connected(site)) as client:  # a new one: the server closes what says nothing for seconds
            client.connect()
            return timed(lambda: [_get(client, path) for path in asked])

    return ask


def _largest(draw: Draw, site: Site) -> int:
    with closing(_connected(site)) as client:
        return max(len(_get(client, draw(site, random.Random(n)))) for n in range(3))


@contextmanager
def _site(folder: Path, runs: int, events: int) -> Iterator[Site]:
    with Ledger.create(folder / "ledger", folder / "keys", REGISTRY, sign_in_background=False) as ledger:
        record_site(ledger, runs, events)
        rng = random.Random(3)
        count = (events - runs * RUN_LENGTH) // 4
        names = [session_name(rng.randrange(count)) for _ in range(200)]
        sessions = tuple(found[0][0] for name in names if (found := ledger.find_aliases("session", name)))
        with ledger.recorder.reading() as reader:
            entries = reader.head().size
            checkpoints = tuple(size for size, _ in reader.checkpoints())
            calls = tuple(
                (run, row.seq)
                for run in (run_name(rng.randrange(runs)) for _ in range(20))
                for row in reader.stream(f"run/{run}")
                if row.type_name == "model.requested.v1"
            )
    with serving(folder) as port:
        yield Site(runs, entries, sessions, checkpoints, calls, port)


def _connected(site: Site) -> HTTPConnection:
    return HTTPConnection("127.0.0.1", site.port, timeout=60)


def _get(client: HTTPConnection, path: str) -> bytes:
    client.request("GET", path)
    answer = client.getresponse()
    text = answer.read()
    if answer.status != 200:
        raise RuntimeError(f"{path}: {answer.status} {text[:500]!r}")
    return text
