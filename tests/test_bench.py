"""The measurements run and write what the page shows. No speed is asserted: that is not a test's business."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from affidavit.bench import report
from affidavit.bench.growth import per_tenfold, rungs
from affidavit.bench.postgres import newest_version
from affidavit.bench.windows import interleave, median_of, quantile_of

ROOT = Path(__file__).resolve().parents[1]
ROWS = [
    *("help", "append", "batch", "batch_sealed", "verify", "verify_memory", "verify_jobs", "receipt"),
    *("receipt_check", "export_tiles"),
    *("memory_1", "memory_2", "rebuild", "rebuild_jobs"),
    *("publish", "publish_batches"),
    *("tiles_hashes", "tiles_bundles", "mirror"),
    *("witness", "witness_http"),
    *(["pack"] if shutil.which("chromium") else []),
    *("overview", "overview_time", "overview_lists", "overview_memory"),
    *("pages", *(["first_paint"] if shutil.which("chromium") else []), "pages_growth"),
    *("recording", "replay"),
    *(["postgres_singles", "postgres_batches", "postgres_two_ledgers"] if newest_version() else []),
    *(["projections_lag_singles", "projections_lag_batches"] if newest_version() else []),
    *(f"growth_{what}" for what in ("singles", "receipts", "overviews", "batches", "memory")),
    *(
        (f"postgres_growth_{what}" for what in ("singles", "receipts", "overviews", "batches", "memory"))
        if newest_version()
        else ()
    ),
]


@pytest.mark.long
def test_a_quick_run_writes_every_row(tmp_path: Path) -> None:
    out = tmp_path / "results.json"
    command = [sys.executable, str(ROOT / "bench" / "run.py"), "--quick", "--folder", str(tmp_path), "--out", str(out)]
    subprocess.run(command, check=True, capture_output=True)
    results = json.loads(out.read_text())
    assert [row["name"] for row in results["rows"]] == ROWS
    assert all(row["measured"]["low"] <= row["measured"]["value"] <= row["measured"]["high"] for row in results["rows"])
    assert list(tmp_path.iterdir()) == [out]


def test_the_page_shows_the_figures_of_the_results() -> None:
    page = report.PAGE.read_text()
    assert report.with_figures(page, json.loads(report.RESULTS.read_text())) == page


@pytest.mark.parametrize(("n", "low", "high"), [(30, 10, 21), (40, 14, 27)])
def test_the_interval_is_that_of_the_sign_test(n: int, low: int, high: int) -> None:
    """Ranks from the table of the sign test at 95 %."""
    found = median_of([float(value) for value in range(n, 0, -1)])
    assert (found.low, found.high) == (low, high)
    assert found.coverage >= 0.95


def test_the_interval_of_another_quantile_is_binomial() -> None:
    values = [float(value) for value in range(200, 0, -1)]
    found = quantile_of(values, 0.95)
    assert found.value == 190
    assert found.coverage >= 0.95
    assert 180 <= found.low < 190 < found.high <= 200
    few = quantile_of(values[-10:], 0.95)
    assert (few.value, few.high) == (10, 10)
    assert few.coverage < 0.95


def test_the_trend_is_fitted_in_each_window() -> None:
    assert rungs(1000, 1_000_000) == [1000, 10_000, 100_000, 1_000_000]
    assert rungs(500, 10_000) == [500, 5000, 10_000]
    flat, doubling = {10: [1.0, 3.0], 100: [1.0, 3.0]}, {10: [1.0], 100: [2.0], 1000: [4.0]}
    assert per_tenfold(flat) == pytest.approx([1, 1])
    assert per_tenfold(doubling) == pytest.approx([2])


def test_another_side_begins_each_window() -> None:
    order: list[str] = []

    def side(name: str) -> float:
        order.append(name)
        return 1.0

    interleave({"a": lambda: side("a"), "b": lambda: side("b")}, 3)
    assert "".join(order) == "baabbaab"
