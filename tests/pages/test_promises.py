"""docs/pages.md keeps its word: the seeds' lines are all there, its tests exist, and so do its pictures. No browser."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "pages.md").read_text(encoding="utf-8")
SEEDS = {
    "### Explainability and auditability": (
        "Flow graph — each iteration as a node",
        "Iteration detail — click any node",
        "Phase breakdown (auto strategy)",
        "Token summary — total eval and reasoning token costs",
        "Duration — total wall time per iteration and for the full run",
    ),
    "### Measuring impact": (
        "The Evaluation page defaults to an all-source view",
        "Use the source filter at the top of the page",
        "The Source-set comparison card still lets you build labeled cohorts",
        "success rate and success trend buckets",
        "average corrections per session",
        "average turns to resolution",
        "escalation rate",
        "corrections distribution",
        "rule attribution for sessions in that set",
        "imported scorer tiles when external scores can be matched by session_id",
        "Without random assignment, lift is observational",
        "The dashboard surfaces the sampled n per point",
        "If you click into a session that wasn't in the sampled set",
        "A Per-turn comparison tile with the headline win rate",
        "A View recent comparisons drawer",
        "A Top disagreements widget",
        "the dashboard filters to your currently pinned version",
    ),
}
"""How each line begins of what the two seed pages say that their dashboards show."""

_ROW = re.compile(
    r"^\| (?P<line>.+?) \| (?P<where>.+?) \| `(?P<file>[a-z_]+\.py)::(?P<test>[a-z_]+)` \|$", re.MULTILINE
)
_TEST = re.compile(r"`([a-z_]+\.py)::([a-z_]+)`")


def test_every_line_of_the_seeds_is_ticked() -> None:
    for heading, lines in SEEDS.items():
        section = PAGE.partition(f"\n{heading}\n")[2].partition("\n## ")[0].partition("\n### ")[0]
        rows = list(_ROW.finditer(section))
        assert len(rows) == len(lines), heading
        for row, line in zip(rows, lines, strict=True):
            assert row["line"].startswith(line)
            assert row["where"].startswith("✓ ")


def test_every_test_that_is_named_is_there() -> None:
    named = set(_TEST.findall(PAGE))
    assert len(named) > 20
    for file, test in named:
        tree = ast.parse((ROOT / "tests" / "pages" / file).read_text(encoding="utf-8"))
        assert test in {found.name for found in tree.body if isinstance(found, ast.FunctionDef)}, (file, test)


def test_every_picture_is_shown_and_every_shown_one_is_there() -> None:
    shown = set(re.findall(r"\]\(images/([a-z-]+\.png)\)", PAGE))
    there = {path.name for path in (ROOT / "docs" / "images").glob("*.png")}
    assert shown <= there
    text = PAGE + (ROOT / "README.md").read_text(encoding="utf-8")
    assert {name for name in there if f"images/{name}" not in text} == set()
