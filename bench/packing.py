"""An evidence pack as its reader has it: opened in a browser, read and checked there."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from statistics import median

from affidavit.api.pack.collect import collect_evidence, select_run
from affidavit.api.pack.render import render_page
from affidavit.api.reading import open_for_reading
from affidavit.api.record import open_ledger
from affidavit.bench.rows import Bench, Row
from affidavit.bench.windows import median_of, timed
from affidavit.domain.optimization.events import Sample

SAMPLES = 14
_AT = "2026-11-22T10:00:00.000000Z"
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run")


def measure_pack(bench: Bench) -> list[Row]:
    """From the moment that the file is opened until the page has checked itself; no row where no browser is."""
    chromium = shutil.which("chromium")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        return []
    if chromium is None:
        return []
    iterations = bench.sizes.iterations
    page, entries, rendering = _page(bench.folder, iterations)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=list(FLAGS))
        tab = browser.new_context(offline=True).new_page()

        def opened() -> None:
            tab.goto(page.as_uri(), wait_until="commit")
            tab.wait_for_selector("#answer[data-state]")
            if tab.get_attribute("#answer", "data-state") != "ok":
                raise RuntimeError(f"the pack does not check itself: {tab.inner_text('#answer')}")

        opened()
        seconds, checking = _repeat(
            opened,
            lambda: float(tab.get_attribute("#answer", "data-milliseconds") or 0),
            bench.sizes.long_windows,
        )
        browser.close()
    size = page.stat().st_size
    page.unlink()
    return [
        Row(
            "pack",
            f"a pack of {iterations} iterations, {SAMPLES} samples each, opened and checked in headless Chromium",
            "s",
            median_of(seconds),
            2,
            "at most",
            beside={
                "checking_seconds": median(checking) / 1000,
                "entries": float(entries),
                "megabytes": size / 1_000_000,
                "rendered_in_seconds": rendering,
            },
        )
    ]


def _repeat(opened: Callable[[], None], checked: Callable[[], float], count: int) -> tuple[list[float], list[float]]:
    seconds, checking = [], []
    for _ in range(count):
        seconds.append(timed(opened))
        checking.append(checked())
    return seconds, checking


def _page(folder: Path, iterations: int) -> tuple[Path, int, float]:
    """The file of a pack, how many entries it carries, and how long its page took to make."""
    keys = folder / "pack-keys"
    with open_ledger(folder / "pack", create=True, keys=keys) as recording:
        prompt = "Answer."
        with recording.start_run(strategy="iterative", prompt=prompt, config={}, metrics=["rouge"]) as run:
            run.record_baseline(samples=_samples(0))
            for number in range(iterations):
                scored = run.record_evaluation(prompt, samples=_samples(number))
                run.record_iteration(scored)
                prompt = f"{prompt}\nRule {number}: name the source of what is said, and say what is not known."
                run.record_rewrite(scored, prompt, rationale=f"Change {number}. " * 40, change_summary=f"Rule {number}")
            final = run.record_evaluation(prompt, purpose="final", samples=_samples(iterations))
            run.complete(reason="max_iterations", best=prompt, final=final)
    with open_for_reading(folder / "pack", keys) as ledger:
        evidence = collect_evidence(
            ledger, select_run(ledger, "001", calls=False, content=True), "affidavit", _AT, None
        )
    made: list[str] = []
    rendering = timed(lambda: made.append(render_page(evidence)))
    page = folder / "pack.html"
    page.write_text(made[0], encoding="utf-8")
    for made_for_it in (folder / "pack", keys):
        shutil.rmtree(made_for_it)
    return page, len(evidence.entries), rendering


def _samples(number: int) -> list[Sample]:
    return [
        Sample(
            id=f"q{each}",
            input=f"Question {each}: " + "what happened, and why? " * 5,
            response=f"Answer {number}: " + "it happened because of this. " * 8,
            score=(each * 7 + number) % 20 / 20,
        )
        for each in range(SAMPLES)
    ]
