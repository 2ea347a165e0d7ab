"""The documents keep their word: their code runs, their output is what is printed, their lists are whole.

On each page the Python and console blocks run in order, in one scratch folder that has a ``.reflex`` tree in
it. A command is a line ``$ affidavit …``; the lines under it must be found in what it prints, in order, with
``…`` for any text. An ``output`` block does the same for the Python block above it. A block that cannot run
here says so in a line ``<!-- not run: why -->`` above it, and is counted.
"""

from __future__ import annotations

import ast
import contextlib
import io
import os
import re
import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from affidavit.api.adapters.evaluation.importer import FINDINGS
from affidavit.api.adapters.otel.importer import FINDINGS as OTEL_FINDINGS
from affidavit.api.adapters.reflex.findings import KINDS
from affidavit.api.checking import NOT_CHECKED as NOT_CHECKED_OF_FILES
from affidavit.api.cli.menu.app import app, exports, imports
from affidavit.ledger.audit.verdict import EXIT_CODES, NOT_CHECKED
from affidavit.tests.forked import on_path

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
NOT_RUN = {
    "README.md": 3,
    "CONTRIBUTING.md": 1,
    "docs/recording-others.md": 2,
    "docs/mirroring.md": 2,
    "docs/moving.md": 1,
    "docs/witnessing.md": 1,
    "docs/observing.md": 1,
    "docs/postgresql.md": 2,
    "docs/failover.md": 1,
    "docs/sizing.md": 1,
}
"""How many blocks of a page do not run: setting up, and the make targets."""

SHOWN_ONLY = {"", "text", "json", "abnf", "output"}
_FENCE = re.compile(
    r"^(?P<mark><!-- not run: [^\n]+ -->\n+)?```(?P<language>[a-z]*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)
_COMMAND = re.compile(r"\$ (?:[A-Z_]+=\S+ )*affidavit ")
_LINK = re.compile(r"\]\((?!https?:)([^)#\s]+)[^)]*\)")
_CODE_PLACE = re.compile(r"`((?:api|domain|ledger|projections)/[a-z_/]+\.py)`((?:,? (?:and )?`[A-Za-z_.]+`)*)")
_OF_CHECK = "## What `affidavit check` adds"
_VERIFY_SOURCES = ("ledger/audit/*.py", "projections/seals.py", "api/run_folders.py", "api/cli/verify_commands.py")
_CHECK_SOURCES = ("ledger/evidence/check.py", "api/checking.py")

PAGES_DOC = ROOT / "docs" / "pages.md"
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


@dataclass(frozen=True)
class Block:
    language: str
    text: str
    line: int
    runs: bool


def blocks(page: Path) -> list[Block]:
    source = page.read_text(encoding="utf-8")
    return [
        Block(found["language"], found["text"], source.count("\n", 0, found.start("text")), not found["mark"])
        for found in _FENCE.finditer(source)
    ]


def page_name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@pytest.fixture(scope="module")
def program() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder, on_path(Path(folder)) as names:  # short: it holds a socket
        yield names


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: Path) -> Path:
    folder = tmp_path / "work"
    shutil.copytree(ROOT / "api" / "demo" / "reflex", folder / ".reflex")
    monkeypatch.setenv("AFFIDAVIT_KEYS", str(tmp_path / "keys"))
    monkeypatch.setenv("PATH", os.pathsep.join([str(program), os.environ["PATH"]]))
    monkeypatch.delenv("AFFIDAVIT_LEDGER", raising=False)
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_a_page_runs_from_top_to_bottom(page: Path, scratch: Path) -> None:
    names: dict[str, Any] = {"__name__": "__main__"}
    printed = ""
    for block in blocks(page):
        place = f"{page_name(page)}:{block.line}"
        if not block.runs:
            continue
        if block.language == "python":
            with contextlib.redirect_stdout(io.StringIO()) as output:
                exec(compile("\n" * block.line + block.text, page_name(page), "exec"), names)
            printed = output.getvalue()
        elif block.language == "output":
            require_lines(place, block.text.splitlines(), printed)
        elif block.language == "console":
            for command, expected in commands(place, block.text):
                require_lines(f"{place}: {command}", expected, run(place, command))


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_every_block_runs_or_is_counted(page: Path) -> None:
    found = blocks(page)
    unknown = {block.language for block in found} - SHOWN_ONLY - {"python", "console"}
    assert not unknown, "a block is python or console, which run, or one of those that are only shown"
    assert page.read_text(encoding="utf-8").count("\n```") == 2 * len(found), "a fence is not closed, or is indented"
    skipped = Counter(page_name(page) for block in found if not block.runs)
    assert skipped[page_name(page)] == NOT_RUN.get(page_name(page), 0)


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CHANGELOG.md"], ids=page_name)
def test_links_lead_somewhere(page: Path) -> None:
    missing = [link for link in _LINK.findall(page.read_text(encoding="utf-8")) if not (page.parent / link).exists()]
    assert not missing


def test_every_kind_of_damage_is_explained() -> None:
    """docs/trust.md has a row for each kind that ``verify`` and ``check`` can report, and for no other."""
    of_ledgers = set(damage_kinds(*_VERIFY_SOURCES))
    assert rows_of("docs/trust.md", "## What damage means") == of_ledgers
    assert rows_of("docs/trust.md", _OF_CHECK, "damage") == set(damage_kinds(*_CHECK_SOURCES)) - of_ledgers


def test_every_name_of_not_checked_is_explained() -> None:
    assert rows_of("docs/trust.md", "## What was not checked") == set(NOT_CHECKED)
    assert rows_of("docs/trust.md", _OF_CHECK, "not checked") == set(NOT_CHECKED_OF_FILES) - set(NOT_CHECKED)


def test_every_attack_names_its_tests() -> None:
    section = section_of("docs/trust.md", "## The attacks, and what catches each")
    named = [re.findall(r"`([^`]+)`", row) for row in re.findall(r"^\| \d+ \|.*\|([^|]+)\|$", section, re.MULTILINE)]
    there = {path.name for path in (ROOT / "tests").rglob("test_*.py")}
    assert len(named) == 28
    assert all(named)
    assert not [name for row in named for name in row if name not in there and not (ROOT / name).is_dir()]


def test_every_verdict_is_explained() -> None:
    assert rows_of("docs/trust.md", "## Verdicts and exit codes") == set(EXIT_CODES)


def test_every_finding_of_an_import_is_explained() -> None:
    assert rows_of("docs/import-reflex.md", "## Findings") == set(KINDS)


def test_every_finding_of_an_evaluation_import_is_explained() -> None:
    assert rows_of("docs/import-evaluation.md", "## Findings") == set(FINDINGS)
    assert rows_of("docs/opentelemetry.md", "## Findings") == set(OTEL_FINDINGS)


def test_every_refusal_of_a_run_is_explained() -> None:
    assert rows_of("docs/recording.md", "## What is refused") == set(refusals())


def test_every_command_is_in_the_readme() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    names = [command.name or command.callback.__name__ for command in app.registered_commands if command.callback]
    names += [f"import {command.name}" for command in imports.registered_commands]
    names += [f"export {command.name}" for command in exports.registered_commands]
    assert [name for name in names if f"`affidavit {name}" not in readme] == []


def test_named_code_is_where_a_page_says() -> None:
    """A page that names a file of the code, and what stands in it, names what is there."""
    for page in PAGES:
        for path, names in _CODE_PLACE.findall(page.read_text(encoding="utf-8")):
            source = (ROOT / path).read_text(encoding="utf-8")
            for name in re.findall(r"`([A-Za-z_.]+)`", names):
                last = name.rpartition(".")[2]
                assert re.search(rf"^\s*(def|class) {last}\b|^{last}\b", source, re.MULTILINE), (page.name, path, name)


def commands(place: str, text: str) -> Iterator[tuple[str, list[str]]]:
    """Each command of a console block with the output shown under it."""
    lines = text.splitlines()
    starts = [at for at, line in enumerate(lines) if line.startswith("$ ")]
    assert starts[:1] == [0], f"{place}: expected a command first"
    for at, end in zip(starts, [*starts[1:], len(lines)], strict=True):
        assert _COMMAND.match(lines[at]), f"{place}: only `affidavit` runs here, found {lines[at]!r}"
        yield lines[at][2:], lines[at + 1 : end]


def run(place: str, command: str) -> str:
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    # The doctor may find the place endangered where tests keep their files: memory, or a container's layer.
    expected = (0, 3) if command == "affidavit doctor" else (0,)
    assert done.returncode in expected, f"{place}: {command}: exit code {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout + done.stderr


def require_lines(place: str, expected: Sequence[str], printed: str) -> None:
    """Every expected line stands in what was printed, in this order."""
    actual = iter(printed.splitlines())
    for line in filter(str.strip, expected):
        shape = re.compile(re.escape(line.strip()).replace("…", ".*"))
        if not any(shape.fullmatch(found.strip()) for found in actual):
            raise AssertionError(f"{place}: expected {line!r} in\n{printed}")


def section_of(page: str, heading: str) -> str:
    section = (ROOT / page).read_text(encoding="utf-8").partition(f"\n{heading}\n")[2]
    assert section, f"{page}: expected a heading {heading!r}"
    return section.partition("\n## ")[0]


def rows_of(page: str, heading: str, where: str = "") -> set[str]:
    """The words in backticks that begin the rows of the tables under a heading; with ``where`` in the second column."""
    second = f" {where} \\|" if where else ""
    return set(re.findall(rf"^\| `([a-z0-9_]+)` \|{second}", section_of(page, heading), re.MULTILINE))


def damage_kinds(*patterns: str) -> Iterator[str]:
    """The texts that stand as first argument of ``Damage`` or ``_damage``, or are assigned to a variable ``kind``."""
    for path in sorted(path for pattern in patterns for path in ROOT.glob(pattern)):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("Damage", "self._damage") and node.args:
                yield from texts(node.args[0])
            elif isinstance(node, ast.Assign):
                for target in node.targets:
                    yield from assigned_kinds(target, node.value)


def assigned_kinds(target: ast.expr, value: ast.expr) -> Iterator[str]:
    if ast.unparse(target) == "kind":
        yield from texts(value)
    elif isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
        for each, part in zip(target.elts, value.elts, strict=True):
            yield from assigned_kinds(each, part)


def refusals() -> Iterator[str]:
    """The rules that ``domain/optimization/run.py`` names."""
    for node in ast.walk(ast.parse((ROOT / "domain/optimization/run.py").read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
            continue
        if node.func.id == "_require":
            yield from texts(node.args[1])
        elif node.func.id == "_require_next":
            yield from (f"{what}_in_order" for what in texts(node.args[0]))
        elif node.func.id == "Refused":
            yield from texts(node.args[0])


def texts(value: ast.expr) -> Iterator[str]:
    """The constant texts that an expression may come to."""
    if isinstance(value, ast.Constant) and isinstance(value.value, str):
        yield value.value
    elif isinstance(value, ast.IfExp):
        yield from texts(value.body)
        yield from texts(value.orelse)


def test_the_readme_leads_to_every_page() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    pages = {f"docs/{page.name}" for page in (ROOT / "docs").glob("*.md")}
    assert pages <= set(re.findall(r"\]\((docs/[^)#]+)\)", text))


def test_every_line_of_the_seeds_is_ticked() -> None:
    page = PAGES_DOC.read_text(encoding="utf-8")
    for heading, lines in SEEDS.items():
        section = page.partition(f"\n{heading}\n")[2].partition("\n## ")[0].partition("\n### ")[0]
        rows = list(_ROW.finditer(section))
        assert len(rows) == len(lines), heading
        for row, line in zip(rows, lines, strict=True):
            assert row["line"].startswith(line)
            assert row["where"].startswith("✓ ")


def test_every_test_that_the_pages_name_is_there() -> None:
    named = set(_TEST.findall(PAGES_DOC.read_text(encoding="utf-8")))
    assert len(named) > 20
    for file, test in named:
        tree = ast.parse((ROOT / "tests" / "pages" / file).read_text(encoding="utf-8"))
        assert test in {found.name for found in tree.body if isinstance(found, ast.FunctionDef)}, (file, test)


def test_every_picture_is_shown_and_every_shown_one_is_there() -> None:
    page = PAGES_DOC.read_text(encoding="utf-8")
    shown = set(re.findall(r"\]\(images/([a-z-]+\.png)\)", page))
    there = {path.name for path in (ROOT / "docs" / "images").glob("*.png")}
    assert shown <= there
    text = page + (ROOT / "README.md").read_text(encoding="utf-8")
    assert {name for name in there if f"images/{name}" not in text} == set()
