"""A mirror holds what was signed, and only what extends what it held; whoever serves the log may do what they like."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from affidavit.api.checking import check
from affidavit.api.mirror.following import Contradiction, follow_log
from affidavit.ledger.application import Ledger
from affidavit.ledger.audit.fork import parse_fork
from affidavit.ledger.audit.head import Outside
from affidavit.ledger.errors import LedgerError, Malformed, Unavailable, VerificationError
from affidavit.ledger.publishing.static_log import ExportedLog, check_export, read_resource
from affidavit.ledger.publishing.tlog_directory import export_log
from affidavit.tests.ledger.publishing.test_static_log import fill

from .conftest import MadeUpLog, files_of

LONG = 256 * 256 + 256 + 44


def follow(log: MadeUpLog, folder: Path) -> int:
    return follow_log(log, folder, log.keys_of).checkpoint.size


@pytest.mark.parametrize("size", [0, 1, 255, 256, 300, 512])
def test_a_mirror_is_the_log(tmp_path: Path, size: int) -> None:
    log = MadeUpLog(size)
    assert follow_log(log, tmp_path / "m", log.keys_of).checkpoint == log.checkpoint()
    assert check_export(tmp_path / "m", [log.key]) == log.checkpoint()
    assert list(ExportedLog(tmp_path / "m").entries()) == [log.entry(n) for n in range(size)]


def test_a_log_of_three_levels_is_followed_across_its_seams(tmp_path: Path) -> None:
    log = MadeUpLog(0)
    for size in (40, LONG, LONG + 256):
        log.size = size
        log.asked.clear()
        before = follow_log(log, tmp_path / "m", log.keys_of).before
        bundles = [name for name in log.asked if name.startswith("tile/entries/")]
        assert len(bundles) == -(-size // 256) - before // 256
        assert check_export(tmp_path / "m", [log.key]) == log.checkpoint()


def test_it_is_the_same_files_as_an_export(ledger: Ledger, tmp_path: Path) -> None:
    class Served:
        def get(self, name: str, most: int) -> bytes | None:
            with ledger.recorder.reading() as reader:
                return read_resource(reader, name)

    for size in (3, 300, 700):
        fill(ledger, size)
        follow_log(Served(), tmp_path / "m", lambda origin, size: [ledger.verifier_key()])
    with ledger.recorder.reading() as reader:
        export_log(reader, tmp_path / "export")

    mirrored, exported = files_of(tmp_path / "m"), files_of(tmp_path / "export")
    assert {name: mirrored[name] for name in exported} == exported
    assert (
        check(tmp_path / "m", Outside(log_keys=(ledger.verifier_key(),)), None, lambda origin: []).verdict.exit_code
        == 0
    )


def test_partial_tiles_go_once_the_full_one_is_there(tmp_path: Path) -> None:
    log = MadeUpLog(100)
    follow(log, tmp_path)
    log.size = 120
    follow(log, tmp_path)
    assert sorted(path.name for path in (tmp_path / "tile/0/000.p").iterdir()) == ["100", "120"]
    log.size = 300
    follow(log, tmp_path)
    assert not (tmp_path / "tile/0/000.p").exists()
    assert not (tmp_path / "tile/entries/000.p").exists()
    assert sorted(path.name for path in (tmp_path / "tile/entries/001.p").iterdir()) == ["44"]


def test_a_tile_that_is_full_by_now_stands_in_for_a_partial_one(tmp_path: Path) -> None:
    log = MadeUpLog(512)
    note = MadeUpLog(300).note()
    gone = dict.fromkeys(("tile/entries/001.p/44", "tile/0/001.p/44"), lambda content: None)
    log.altered = {"checkpoint": lambda content: note, **gone}
    assert follow(log, tmp_path) == 300
    assert check_export(tmp_path, [log.key]).size == 300


def test_whoever_is_stopped_goes_on_where_they_were(tmp_path: Path) -> None:
    log = MadeUpLog(300)
    follow(log, tmp_path)
    log.size = 256 * 9 + 5
    fetched: list[str] = []
    for stop in range(1, 40):
        log.asked.clear()
        log.stop_after = stop
        try:
            size = follow(log, tmp_path)
        except Unavailable:
            assert check_export(tmp_path, [log.key]).size == 300
        else:
            assert size == log.size
            break
        finally:
            fetched += [name for name in log.asked if name.startswith("tile/entries/")]
    assert check_export(tmp_path, [log.key]) == log.checkpoint()
    full = [name for name in fetched if ".p/" not in name]
    assert len(full) < 2 * len(set(full)), "what lay here was fetched again and again"


def flipped(content: bytes) -> bytes:
    return content[:-1] + bytes([content[-1] ^ 1])


@pytest.mark.parametrize("alter", [flipped, lambda content: content[:-1], lambda content: b"", lambda content: None])
def test_whatever_is_served_wrongly_is_not_kept(tmp_path: Path, alter: Callable[[bytes], bytes | None]) -> None:
    honest = MadeUpLog(256 * 2 + 7)
    follow(honest, tmp_path / "before")
    names = dict.fromkeys(honest.asked)
    assert len(names) == 6
    true = files_of(tmp_path / "before")
    for number, name in enumerate(names):
        folder = tmp_path / f"m{number}"
        with pytest.raises((VerificationError, Malformed, Unavailable)):
            follow(MadeUpLog(honest.size, altered={name: alter}), folder)
        kept = files_of(folder)
        assert "checkpoint" not in kept
        assert all(true[name] == content for name, content in kept.items() if name != ".new")


def test_a_level_1_tile_that_is_not_the_signed_one(tmp_path: Path) -> None:
    log = MadeUpLog(LONG, altered={"tile/1/000": flipped})
    with pytest.raises(VerificationError, match="tile/1/000"):
        follow(log, tmp_path)
    assert not (tmp_path / "tile").exists()


def kept_of(folder: Path) -> dict[str, bytes]:
    return files_of(folder / "contradictions")


@pytest.mark.parametrize("size", [299, 300, 301, 800, 20])
def test_a_fork_is_shown_and_changes_nothing(tmp_path: Path, size: int) -> None:
    log = MadeUpLog(300)
    follow(log, tmp_path)
    before = files_of(tmp_path)
    other = MadeUpLog(size, history="other", branch=10)
    for _ in range(2):
        with pytest.raises(Contradiction, match="fork") as found:
            follow(other, tmp_path)
    assert found.value.kind == "fork"
    kept = kept_of(tmp_path)
    assert {path.read_bytes() for path in found.value.kept} == set(kept.values())
    assert {log.note(), other.note()} < set(kept.values())
    assert {name: content for name, content in files_of(tmp_path).items() if "contra" not in name} == before
    (evidence,) = (path for path in found.value.kept if path.suffix == ".json")
    parse_fork(evidence.read_bytes())
    assert check(evidence, Outside(log_keys=(log.key,)), None, lambda origin: []).verdict.exit_code == 4
    log.size = 900
    assert follow(log, tmp_path) == 900


def test_an_older_head_is_a_rollback(tmp_path: Path) -> None:
    log = MadeUpLog(600)
    follow(log, tmp_path)
    with pytest.raises(Contradiction, match="showed size 600 before, and shows 300 now") as found:
        follow(MadeUpLog(300), tmp_path)
    assert found.value.kind == "rollback"
    assert set(kept_of(tmp_path).values()) == {log.note(), MadeUpLog(300).note()}
    assert check_export(tmp_path, [log.key]).size == 600


def test_tiles_that_prove_nothing_are_no_fork(tmp_path: Path) -> None:
    """A server can convict nobody by serving tiles that the log never signed."""
    follow(MadeUpLog(300), tmp_path)
    for name in ("tile/0/001", "tile/0/003.p/32"):
        with pytest.raises(VerificationError):
            follow(MadeUpLog(800, altered={name: flipped}), tmp_path)
    assert not (tmp_path / "contradictions").exists()


def test_only_a_known_key_is_believed(tmp_path: Path) -> None:
    log, stranger = MadeUpLog(3), MadeUpLog(3, name="log.example/2")
    with pytest.raises(VerificationError, match=r"no key of yours is of 'log.example/2'"):
        follow_log(stranger, tmp_path, log.keys_of)
    forged = log.note().replace(b"\n3\n", b"\n2\n")
    with pytest.raises(VerificationError, match="is wrong"):
        follow(MadeUpLog(3, altered={"checkpoint": lambda content: forged}), tmp_path)
    assert files_of(tmp_path) == {}


def test_another_logs_mirror_is_left_alone(tmp_path: Path) -> None:
    follow(MadeUpLog(3), tmp_path)
    other = MadeUpLog(9, name="log.example/2")
    both = {"log.example/1": [MadeUpLog(0).key], "log.example/2": [other.key]}
    with pytest.raises(Unavailable, match=r"expected a mirror of log.example/2, found one of log.example/1"):
        follow_log(other, tmp_path, lambda origin, size: both[origin])


def test_a_folder_with_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.doc").write_bytes(b"")
    with pytest.raises(Unavailable, match=r"thesis.doc"):
        follow(MadeUpLog(3), tmp_path)


def test_a_mirror_that_was_damaged_is_not_grown(tmp_path: Path) -> None:
    follow(MadeUpLog(700), tmp_path)
    path = tmp_path / "tile/1/000.p/2"
    path.write_bytes(flipped(path.read_bytes()))
    with pytest.raises(LedgerError, match="mirror the log into another folder"):
        follow(MadeUpLog(900), tmp_path)


def test_a_note_with_more_signatures_takes_its_place(tmp_path: Path) -> None:
    log = MadeUpLog(30)
    follow(log, tmp_path)
    longer = log.note() + "— witness.example/w ".encode() + b"AAAAAAAA\n"
    log.altered = {"checkpoint": lambda content: longer}
    follow(log, tmp_path)
    assert (tmp_path / "checkpoint").read_bytes() == longer
