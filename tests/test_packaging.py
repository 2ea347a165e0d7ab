"""The repository's own promises: the wheel is the tree, and imports go one way."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("domain", "ledger", "projections", "api")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy of what git tracks, so that nothing untracked slips in."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    tracked = _tracked()
    for name in tracked:
        target = source / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((ROOT / name).read_bytes())
    script = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"
    subprocess.run([sys.executable, "-c", script, str(out)], cwd=source, check=True, capture_output=True)
    return next(out.glob("*.whl"))


def _tracked() -> list[str]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode != 0:
        pytest.skip("not a git checkout: what belongs to the tree cannot be told")
    return [name for name in listed.stdout.splitlines() if (ROOT / name).is_file() and not (ROOT / name).is_symlink()]


def test_the_wheel_holds_exactly_our_four_folders(wheel: Path) -> None:
    shipped = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("affidavit/")}
    expected = {
        f"affidavit/{name}"
        for name in _tracked()
        if name in ("__init__.py", "py.typed")
        or (name.split("/")[0] in FOLDERS and name.endswith(".py"))
        or name.startswith(("api/demo/", "api/pack/assets/", "api/pages/assets/", "api/pages/templates/"))
    }
    assert shipped == expected


def test_every_package_folder_is_listed() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    listed = set(settings["tool"]["setuptools"]["packages"])
    found = {
        ".".join(["affidavit", *path.parent.relative_to(ROOT).parts])
        for folder in FOLDERS
        for path in (ROOT / folder).rglob("__init__.py")
    }
    assert listed == found | {"affidavit"}


def test_the_root_holds_no_python_file_but_its_docstring() -> None:
    assert [path.name for path in ROOT.glob("*.py")] == ["__init__.py"]
    assert "import" not in (ROOT / "__init__.py").read_text().partition('"""')[2].partition('"""')[2]


def test_proof_checking_can_be_copied_alone() -> None:
    """ledger/tlog/proof.py imports only the hashes and the errors."""
    source = (ROOT / "ledger" / "tlog" / "proof.py").read_text()
    ours = re.findall(r"^from (\.[\w.]*) import", source, re.MULTILINE)
    assert set(ours) <= {".hashing", "..errors"}


def test_evidence_is_checked_without_storage_or_a_key() -> None:
    script = "import sys, affidavit.ledger.evidence.check; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout.split()
    assert "affidavit.ledger.evidence.check" in loaded
    ours = [name for name in loaded if name.startswith(("affidavit.ledger.store", "affidavit.ledger.signing"))]
    assert ours == []
    assert not {"sqlite3", "sqlalchemy"} & set(loaded)
