"""The command as reviewers' scripts call it: names, options, output, exit codes, and not one byte changed."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest

from affidavit.api.cli import main
from affidavit.ledger.store.sqlite.place import FolderPlace

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = ROOT / "api" / "demo" / "reflex"


class Shell:
    """Runs the command in a folder, with keys of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.keys = folder / "keys"

    def __call__(self, *arguments: str, code: int = 0, keys: Path | None = None) -> str:
        """Call the command in this process; what it printed, on standard error where it refused."""
        out, err = io.StringIO(), io.StringIO()
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
            patch.chdir(self.folder)
            patch.setenv("AFFIDAVIT_KEYS", str(keys or self.keys))
            patch.delenv("AFFIDAVIT_LEDGER", raising=False)
            patch.setattr(sys, "argv", ["affidavit", *arguments])
            with pytest.raises(SystemExit) as ended:
                main()
        assert (ended.value.code or 0) == code, f"{arguments}: {ended.value.code}\n{out.getvalue()}\n{err.getvalue()}"
        return err.getvalue() if code == 2 else out.getvalue()

    def process(self, *arguments: str) -> str:
        """Run the command as a process of its own."""
        environment = {**os.environ, "AFFIDAVIT_KEYS": str(self.keys)}
        command = [sys.executable, "-m", "affidavit.api.cli", *arguments]
        return subprocess.run(
            command, cwd=self.folder, env=environment, capture_output=True, text=True, check=True
        ).stdout

    def json(self, *arguments: str, code: int = 0, keys: Path | None = None) -> Any:
        return json.loads(self(*arguments, "--json", code=code, keys=keys))

    def digest(self) -> str:
        """Over the names, bytes and times of everything in the ledger's folder."""
        hashed = hashlib.sha256()
        for path in sorted((self.folder / ".affidavit").rglob("*")):
            stat = path.stat()
            hashed.update(f"{path} {stat.st_size} {stat.st_mtime_ns} {stat.st_mode}".encode())
            hashed.update(path.read_bytes() if path.is_file() else b"")
        return hashed.hexdigest()


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """A ledger with the sample tree, for commands that only read."""
    shell = Shell(tmp_path_factory.mktemp("imported"))
    shell("init", "--origin", "example.org/quality")
    shell("import", "reflex", str(SAMPLE))
    return shell


@pytest.fixture
def shell(imported: Shell, tmp_path: Path) -> Shell:
    """A copy of it that may be changed."""
    shutil.copytree(imported.folder, tmp_path / "own")
    return Shell(tmp_path / "own")


def test_init_says_where_everything_is(tmp_path: Path) -> None:
    told = Shell(tmp_path)("init", "--origin", "example.org/quality")
    assert "example.org/quality/" in told
    pem = next((tmp_path / "keys").rglob("signing.pem"))
    assert pem.read_text().startswith("-----BEGIN PRIVATE KEY-----")
    assert pem.stat().st_mode & 0o777 == 0o600
    assert not list((tmp_path / ".affidavit").rglob("*.pem"))


def test_init_twice_is_refused(imported: Shell) -> None:
    assert "expected nothing here" in imported("init", code=2)


def test_verify_answers_with_the_promised_keys(imported: Shell) -> None:
    verdict = imported.json("verify")
    assert verdict["verdict"] == "ok"
    assert verdict["origin"].startswith("example.org/quality/")
    assert verdict["damage"] == []
    assert set(verdict["not_checked"]) == {"key_pinned", "fork", "time"}
    assert verdict["size"] == imported.json("log")["size"]
    assert verdict["root"] == imported.json("log")["root"]


def test_verify_without_any_key_says_what_it_could_not_check(imported: Shell, tmp_path: Path) -> None:
    verdict = imported.json("verify", keys=tmp_path / "none")
    assert verdict["verdict"] == "ok"
    assert {"sealed", "rollback", "key_pinned"} <= set(verdict["not_checked"])


def test_the_seven_runs_are_listed(imported: Shell) -> None:
    runs = {run["run"]: run for run in imported.json("runs")["runs"]}
    assert sorted(runs) == ["001", "002", "003", "008", "011", "013", "014"]
    assert runs["003"]["status"] == "interrupted"
    assert (runs["014"]["parent_run"], runs["014"]["parent_iteration"]) == ("013", 2)
    assert runs["014"]["ancestors"] == ["013"]
    assert runs["001"]["final_score"] == 0.822647527910686


def test_runs_as_of_an_earlier_entry_know_nothing_later(imported: Shell) -> None:
    runs = {run["run"]: run for run in imported.json("runs")["runs"]}
    before = imported.json("runs", "--as-of", str(runs["002"]["seq"] - 1))["runs"]
    assert [run["run"] for run in before] == ["001"]
    assert imported.json("runs", "--as-of", "2001-01-01")["runs"] == []
    assert len(imported.json("runs", "--as-of", "2999-01-01T00:00:00Z")["runs"]) == 7


def test_the_history_puts_each_effect_beside_its_own_change(imported: Shell) -> None:
    line = next(line for line in imported("history", "001").splitlines() if "XML" in line and "Switched" in line)
    assert "Δ−0.3179" in line
    assert "✗ hurt" in line
    peer = imported("history", "001", "--profile", "reflex-0.2")
    assert "Iter 3 (score: 0.7074, Δ+0.2614 — ✓ helped): Switched to XML tag structure" in peer


def test_a_diff_shows_what_changed(imported: Shell) -> None:
    lines = imported("diff", "001", "3", "4").splitlines()
    assert any(line.startswith("+") and "XML tags" in line for line in lines)
    assert "{+" in imported("diff", "001", "3", "4", "--words")
    assert "no iteration 99" in imported("diff", "001", "1", "99", code=2)


@pytest.mark.parametrize("profile", ["native", "reflex-0.2"])
def test_a_rebuild_has_the_directories_of_the_source(imported: Shell, tmp_path: Path, profile: str) -> None:
    imported("rebuild", "--to", str(tmp_path / "out"), "--profile", profile)
    expected = sorted(path.name for path in (SAMPLE / "runs").iterdir())
    assert sorted(path.name for path in (tmp_path / "out" / "runs").iterdir()) == expected
    first = tmp_path / "out" / "runs" / expected[0] / "iterations"
    assert (first / ("iter_001.json" if profile == "native" else "001.json")).is_file()


def test_a_rebuild_never_writes_over_anything(imported: Shell, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("keep")
    assert "never writes over" in imported("rebuild", "--to", str(tmp_path / "out"), code=2)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine"]


def test_two_rebuilds_are_the_same_bytes(imported: Shell, tmp_path: Path) -> None:
    for name in ("one", "two"):
        imported("rebuild", "--to", str(tmp_path / name))
    one, two = (
        {path.relative_to(tmp_path / name): path.read_bytes() for path in (tmp_path / name).rglob("*.*")}
        for name in ("one", "two")
    )
    assert one == two


READING: list[Callable[[Shell, Path], object]] = [
    lambda shell, out: shell("verify"),
    lambda shell, out: shell("verify", "--json"),
    lambda shell, out: shell("log"),
    lambda shell, out: shell("log", "--stream", "run/001", "--json"),
    lambda shell, out: shell("runs"),
    lambda shell, out: shell("runs", "--json", "--as-of", "5"),
    lambda shell, out: shell("show", "001"),
    lambda shell, out: shell("show", "001", "--json"),
    lambda shell, out: shell("history", "001"),
    lambda shell, out: shell("history", "001", "--json", "--profile", "reflex-0.2"),
    lambda shell, out: shell("diff", "001"),
    lambda shell, out: shell("diff", "001", "1", "2", "--words", "--json"),
    lambda shell, out: shell("show", "001", "--as-of", "40"),
    lambda shell, out: shell("history", "001", "--as-of", "2999-01-01"),
    lambda shell, out: shell("checkpoint"),
    lambda shell, out: shell("receipt", "3"),
    lambda shell, out: shell("receipt", "3", "-o", str(out)),
    lambda shell, out: shell("export", "tiles", str(out)),
    lambda shell, out: shell("export", "jsonl", str(out)),
    lambda shell, out: shell("rebuild", "--to", str(out), "--profile", "reflex-0.2", "--run", "001", "--as-of", "100"),
    lambda shell, out: shell("rebuild", "--to", str(out)),
]


@pytest.mark.parametrize("read", READING)
def test_reading_changes_no_byte(imported: Shell, tmp_path: Path, read: Callable[[Shell, Path], object]) -> None:
    before = imported.digest()
    read(imported, tmp_path / "out")
    assert imported.digest() == before


def test_reading_changes_no_byte_of_a_ledger_whose_writer_was_killed(shell: Shell, tmp_path: Path) -> None:
    """A write-ahead log beside the database, as a kill leaves it, stays as it is."""
    database = shell.folder / ".affidavit" / "ledger.db"
    script = (
        "import os, signal, sys; from affidavit.api.record import open_ledger\n"
        "ledger = open_ledger(sys.argv[1], keys=sys.argv[2])\n"
        "ledger.start_run(strategy='iterative', prompt='x', config={})\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", script, str(database.parent), str(shell.keys)], check=False)
    assert database.with_name("ledger.db-wal").stat().st_size > 0
    before = shell.digest()
    assert shell.json("verify")["verdict"] == "ok"
    assert "015" in {run["run"] for run in shell.json("runs")["runs"]}
    shell("rebuild", "--to", str(tmp_path / "out"))
    assert shell.digest() == before
    assert shell.json("seal")["size"] > 0  # and it can go on


def test_verify_beside_a_writer_never_says_anything_but_ok(shell: Shell) -> None:
    """Appends, signatures, new keys and checkpoints of the database while an immutable snapshot is read."""
    script = (
        "import sys; from affidavit.api.record import open_ledger\n"
        "for _ in range(12):\n"
        "    with open_ledger(sys.argv[1], keys=sys.argv[2]) as ledger:\n"
        "        with ledger.start_run(strategy='iterative', prompt='x', config={}) as run:\n"
        "            run.record_evaluation('x', score=0.5)\n"
        "            run.complete(reason='done', best='x')\n"
    )
    command = [sys.executable, "-c", script, str(shell.folder / ".affidavit"), str(shell.keys)]
    with subprocess.Popen(command) as writer:
        verdicts = [shell.json("verify")["verdict"]]
        while writer.poll() is None:
            verdicts.append(shell.json("verify")["verdict"])
    assert writer.returncode == 0
    assert set(verdicts) == {"ok"}


def test_importing_twice_adds_nothing(shell: Shell) -> None:
    before = shell.json("log")
    report = shell.json("import", "reflex", str(SAMPLE))
    assert {run["outcome"] for run in report["runs"]} == {"unchanged"}
    assert report["events"] == 0
    assert shell.json("log") == before


def test_damage_is_found_and_named_with_its_entry(shell: Shell) -> None:
    _execute(shell, "DROP TRIGGER entries_no_UPDATE", "UPDATE entries SET entry=entry||' ' WHERE seq=7")
    verdict = shell.json("verify", code=1)
    assert (verdict["verdict"], verdict["damage"][0]["kind"], verdict["damage"][0]["seq"]) == (
        "damaged",
        "entry_modified",
        7,
    )
    assert "entry_modified at entry 7" in shell("verify", code=1)


def test_a_restored_backup_is_a_rollback_and_takes_no_more(shell: Shell, tmp_path: Path) -> None:
    shutil.copytree(shell.folder / ".affidavit", tmp_path / "backup")
    (tmp_path / "one.md").write_text("x")
    shell("import", "reflex", str(ROOT / "api" / "demo" / "reflex-real"), code=0)
    shutil.rmtree(shell.folder / ".affidavit")
    shutil.copytree(tmp_path / "backup", shell.folder / ".affidavit")
    assert shell.json("verify", code=4)["verdict"] == "rollback"
    shell("seal", code=4)


def test_a_checkpoint_kept_from_an_earlier_visit_is_compared(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "last.checkpoint").write_text(shell("checkpoint"))
    verdict = shell.json("verify", "--pinned", str(tmp_path / "last.checkpoint"))
    assert "pinned" in verdict["checked"]
    _execute(
        shell,
        *(f"DROP TRIGGER {table}_no_{verb}" for table in ("entries", "checkpoints") for verb in ("UPDATE", "DELETE")),
        "DELETE FROM checkpoints WHERE size > 1",
    )
    assert shell.json("verify", "--pinned", str(tmp_path / "last.checkpoint"))["verdict"] == "ok"
    assert "no such file" in shell("verify", "--pinned", str(tmp_path / "none"), code=2).lower()


def test_a_changed_run_directory_is_named(imported: Shell, tmp_path: Path) -> None:
    out = tmp_path / "out"
    imported("rebuild", "--to", str(out))
    assert imported.json("verify", "--directory", str(out))["verdict"] == "ok"
    run = out / "runs" / "001_2026-11-22T00-35-49"
    (run / "best_prompt.md").write_text("Another prompt.")
    (run / "iterations" / "iter_002.json").rename(run / "iterations" / "iter_099.json")
    (run / "link").symlink_to("/etc/passwd")
    (out / "runs" / "999_made-up").mkdir()
    found = imported.json("verify", "--directory", str(out), code=1)["damage"]
    told = "\n".join(damage["detail"] for damage in found)
    assert {damage["kind"] for damage in found} == {"run_dir_changed"}
    for name in ("best_prompt.md: changed", "iter_002.json: removed", "iter_099.json: added", "link", "999_made-up"):
        assert name in told


def test_a_forged_view_is_found(shell: Shell) -> None:
    with sqlite3.connect(shell.folder / ".affidavit" / "views.db") as views:
        views.execute("UPDATE evaluations SET score='0.99' WHERE run='001' AND purpose='final'")
    views.close()
    verdict = shell.json("verify", code=1)
    assert verdict["damage"][0]["kind"] == "projection_mismatch"


@pytest.mark.parametrize(
    "forge",
    [
        "UPDATE tracking SET size=0",
        "UPDATE tracking SET digest=zeroblob(32)",
        "UPDATE tracking SET size=size+1000",
        "DELETE FROM iterations",
    ],
)
def test_no_row_of_a_view_decides_what_is_sealed(shell: Shell, forge: str) -> None:
    with sqlite3.connect(shell.folder / ".affidavit" / "views.db") as views:
        views.execute(forge)
    views.close()
    assert shell.json("verify", code=1)["damage"][0]["kind"] == "projection_mismatch"
    shell("import", "reflex", str(ROOT / "api" / "demo" / "reflex-real"))
    (shell.folder / ".affidavit" / "views.db").unlink()
    assert shell.json("verify")["verdict"] == "ok"


def test_a_run_directory_that_is_a_link_is_named(imported: Shell, tmp_path: Path) -> None:
    out, copy = tmp_path / "out", tmp_path / "copy"
    imported("rebuild", "--to", str(out))
    run = out / "runs" / "001_2026-11-22T00-35-49"
    run.rename(copy)
    run.symlink_to(copy)
    (out / "extra").write_text("x")
    (out / "runs" / "002_2026-11-22T00-35-52" / "empty").mkdir()
    shutil.rmtree(out / "runs" / "003_2026-11-22T00-36-17")
    verdict = imported.json("verify", "--directory", str(out), code=1)
    told = "\n".join(damage["detail"] for damage in verdict["damage"])
    assert "001_2026-11-22T00-35-49: not a directory" in told
    assert "extra: nothing of this ledger" in told
    assert "empty: an empty folder" in told
    assert "003_2026-11-22T00-36-17" in verdict["not_checked_because"]["run_directories"]


@pytest.mark.parametrize("name", ["a?b=1", "a#b", "a%20b", "ä ö"])
def test_a_ledger_lies_in_a_folder_of_any_name(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    shell = Shell(tmp_path / name)
    shell("init")
    shell("import", "reflex", str(ROOT / "api" / "demo" / "reflex-real"))
    assert shell.json("verify")["verdict"] == "ok"
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_views_database_of_garbage_does_not_stop_reading(shell: Shell) -> None:
    (shell.folder / ".affidavit" / "views.db").write_bytes(b"garbage" * 1000)
    assert len(shell.json("runs")["runs"]) == 7


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda folder: (folder / ".affidavit" / "ledger.db").unlink(), "no ledger in"),
        (lambda folder: _set_version(folder, 99), "ledger format 99"),
    ],
)
def test_what_is_no_ledger_is_one_clear_error(shell: Shell, spoil: Callable[[Path], None], said: str) -> None:
    spoil(shell.folder)
    assert said in shell("verify", code=2)
    assert said in shell("runs", code=2)


def test_a_database_that_does_not_read_is_damage(shell: Shell) -> None:
    database = shell.folder / ".affidavit" / "ledger.db"
    database.write_bytes(b"not a database at all" * 500)
    assert shell.json("verify", code=1)["damage"][0]["kind"] == "storage_damaged"


@pytest.mark.parametrize("place", range(40))
def test_a_flipped_bit_anywhere_in_the_file_never_crashes_verify(
    shell: Shell, place: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Evidence or free space: the answer is a verdict, and never an exception."""
    from affidavit.api.verifying import known_here
    from affidavit.ledger.audit.audit import Against, audit
    from affidavit.ledger.errors import LedgerError
    from affidavit.ledger.store.sqlite.reader import open_snapshot
    from affidavit.projections.registry import REGISTRY

    database = shell.folder / ".affidavit" / "ledger.db"
    content = bytearray(database.read_bytes())
    at = place * len(content) // 40 + (place * 37) % 97
    content[at] ^= 1 << place % 8
    database.write_bytes(content)
    monkeypatch.setenv("AFFIDAVIT_KEYS", str(shell.keys))
    try:
        with open_snapshot(database.parent) as reader:
            verdict = audit(reader, REGISTRY, known_here(FolderPlace(database.parent), shell.keys, reader, Against()))
    except (LedgerError, sqlite3.Error):
        return  # the command reports it as storage_damaged
    assert verdict.verdict in ("ok", "damaged", "rollback", "fork", "not_proven")


@pytest.mark.parametrize("name", ["signing.pem", "master.key", "signed"])
def test_a_missing_key_is_one_clear_error_that_names_the_file(shell: Shell, name: str) -> None:
    next(shell.keys.rglob(name)).unlink()
    assert name in shell("seal", code=2)
    assert shell.json("verify")["verdict"] == "ok"


@pytest.mark.parametrize("name", ["signing.pem", "master.key"])
def test_a_key_of_another_ledger_is_refused(shell: Shell, tmp_path: Path, name: str) -> None:
    (tmp_path / "other").mkdir()
    other = Shell(tmp_path / "other")
    other("init")
    shutil.copyfile(next(other.keys.rglob(name)), next(shell.keys.rglob(name)))
    before = shell.digest()
    shell("import", "reflex", str(ROOT / "api" / "demo" / "reflex-real"), code=2)
    assert shell.digest() == before


def test_a_receipt_is_printed_and_parses(imported: Shell, shell: Shell) -> None:
    from affidavit.ledger.tlog.receipt import parse_receipt

    assert parse_receipt(shell("receipt", "3").encode()).index == 3
    assert "no such entry" in shell("receipt", "99999", code=2)


def test_hostile_text_cannot_drive_the_terminal(shell: Shell) -> None:
    from affidavit.api.record import open_ledger

    with open_ledger(shell.folder / ".affidavit", keys=shell.keys) as recording:
        run = recording.start_run(strategy="iterative", prompt="\x1b[2Jgone\x07", config={})
        first = run.record_evaluation("\x1b[2Jgone\x07", score=0.1)
        run.record_iteration(first)
        run.record_rewrite(first, "new", rationale="r", change_summary="[red]\x1b]0;title\x07")
    for command in ("show", "history", "diff"):
        assert "\x1b" not in shell(command, run.run)


def test_help_names_every_command(imported: Shell) -> None:
    told = imported.process("--help")
    for command in ["init", "import", "verify", "seal", "log", "runs", "show", "history", "diff", "rebuild", "demo"]:
        assert f"\n  {command} " in told


@pytest.mark.long
def test_the_demo_runs_to_its_end(tmp_path: Path) -> None:
    told = Shell(tmp_path).process("demo")
    assert "DAMAGED" in told
    assert "expected exit code" not in told
    assert list(tmp_path.iterdir()) == []


def _execute(shell: Shell, *statements: str) -> None:
    with sqlite3.connect(shell.folder / ".affidavit" / "ledger.db") as db:
        for statement in statements:
            db.execute(statement)
    db.close()


def _set_version(folder: Path, version: int) -> None:
    with sqlite3.connect(folder / ".affidavit" / "ledger.db") as db:
        db.execute(f"PRAGMA user_version={version}")
    db.close()
