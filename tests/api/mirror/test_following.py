"""A mirror holds what was signed, and only what extends what it held; whoever serves the log may do what they like."""

from __future__ import annotations

import errno
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from affidavit.api.checking import check
from affidavit.api.mirror.following import MOST_ENTRIES, PENDING, STALE_SECONDS, Contradiction, follow_log
from affidavit.ledger.application import Ledger
from affidavit.ledger.audit.fork import parse_fork
from affidavit.ledger.audit.head import Outside
from affidavit.ledger.errors import LedgerError, Malformed, Unavailable, VerificationError
from affidavit.ledger.publishing.static_log import MOST_NOTE, ExportedLog, check_export, read_resource
from affidavit.ledger.publishing.tlog_directory import export_log
from affidavit.ledger.tlog.checkpoint import Checkpoint
from affidavit.ledger.tlog.note import NoteSignature, print_signature
from affidavit.tests.ledger.publishing.test_static_log import fill

from .conftest import MadeUpLog, files_of

LONG = 256 * 256 + 256 + 44


def follow(log: MadeUpLog, folder: Path) -> int:
    return follow_log(log, folder, log.keys_of, wait=lambda seconds: None).checkpoint.size


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
        assert all(true[name] == content for name, content in kept.items() if name not in (".new", PENDING))


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
    with pytest.raises(VerificationError, match=r"no key of yours has signed 'log.example/2'"):
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


def with_line(note: bytes, name: str, signature: bytes = bytes(68)) -> bytes:
    return note + print_signature(NoteSignature(name, b"key!", signature)).encode()


def always(note: bytes) -> Callable[[bytes], bytes | None]:
    return lambda content: note


def test_a_signature_that_is_held_is_not_lost_where_it_is_served_no_more(tmp_path: Path) -> None:
    log = MadeUpLog(30)
    note = log.note()
    for served, kept in (
        (with_line(note, "w1"), with_line(note, "w1")),
        (note, with_line(note, "w1")),
        (with_line(note, "w2"), with_line(with_line(note, "w2"), "w1")),
        (with_line(note, "w1", bytes(70)), with_line(with_line(note, "w1", bytes(70)), "w2")),
    ):
        log.altered = {"checkpoint": always(served)}
        follow(log, tmp_path)
        assert (tmp_path / "checkpoint").read_bytes() == kept
    log.size, log.altered = 31, {}
    follow(log, tmp_path)
    assert (tmp_path / "checkpoint").read_bytes() == log.note()


def test_signatures_that_leave_no_room_push_nothing_out(tmp_path: Path) -> None:
    log = MadeUpLog(30)
    note = with_line(log.note(), "w1")
    log.altered = {"checkpoint": lambda content: note}
    follow(log, tmp_path)
    many = log.note()
    for n in range(99):
        many = with_line(many, f"junk/{n}")
    room = MOST_NOTE // 2 - len(log.note()) - 20
    for served in (many, with_line(log.note(), "junk", bytes(room // 4 * 3 - 4))):
        log.altered = {"checkpoint": always(served)}
        follow(log, tmp_path)
        assert (tmp_path / "checkpoint").read_bytes() == note


def test_what_a_cache_shows_late_is_no_rollback(tmp_path: Path) -> None:
    log = MadeUpLog(600)
    follow(log, tmp_path)
    shown = [MadeUpLog(700).note(), MadeUpLog(300).note()]
    log.size, log.altered = 700, {"checkpoint": lambda content: shown.pop()}
    waited: list[float] = []
    assert follow_log(log, tmp_path, log.keys_of, wait=waited.append).checkpoint.size == 700
    assert waited == [STALE_SECONDS]
    assert not (tmp_path / "contradictions").exists()


def gone(content: bytes) -> bytes | None:
    return None


@pytest.mark.parametrize("held", [0, 300])
def test_what_was_signed_and_not_taken_is_remembered(tmp_path: Path, held: int) -> None:
    """A log that shows one head, serves nothing of it, and then shows another has contradicted itself."""
    log = MadeUpLog(held)
    if held:
        follow(log, tmp_path)
    log.size, log.altered = 700, {"tile/entries/001": gone}
    with pytest.raises(Unavailable):
        follow(log, tmp_path)
    for size in (650, 700, 900):
        with pytest.raises(Contradiction) as found:
            follow(MadeUpLog(size, history="other", branch=400), tmp_path)
        assert found.value.kind == ("rollback" if size < 700 else "fork")
        assert found.value.kept[0].read_bytes() == MadeUpLog(700).note()
        for evidence in found.value.kept[2:]:
            assert check(evidence, Outside(log_keys=(log.key,)), None, lambda origin: []).verdict.exit_code == 4
    log.size, log.altered = 900, {}
    assert follow(log, tmp_path) == 900
    assert not (tmp_path / PENDING).exists()
    assert check_export(tmp_path, [log.key]) == log.checkpoint()


def test_a_size_that_nobody_can_hold_is_not_begun(tmp_path: Path) -> None:
    log = MadeUpLog(3)
    log.altered = {"checkpoint": lambda content: log.sign(Checkpoint(log.name, MOST_ENTRIES + 1, bytes(32)))}
    with pytest.raises(Unavailable, match=f"at most {MOST_ENTRIES}"):
        follow(log, tmp_path)
    assert (log.asked, files_of(tmp_path)) == (["checkpoint"], {})


def test_who_is_interrupted_does_not_wait_for_who_serves(tmp_path: Path) -> None:
    log, go_on, answered = MadeUpLog(256 * 4), threading.Event(), threading.Event()

    class Silent:
        def get(self, name: str, most: int) -> bytes | None:
            if name == "tile/entries/003":
                go_on.wait(60)
                answered.set()
            return log.get(name, most)

    def interrupt(done: int, size: int) -> None:
        raise KeyboardInterrupt

    try:
        with pytest.raises(KeyboardInterrupt):
            follow_log(Silent(), tmp_path, log.keys_of, on_progress=interrupt)
        assert not answered.is_set()
    finally:
        go_on.set()


class Stopped(BaseException):
    """The machine stops."""


class Disk:
    """Stops at the write number ``fails_at``; remembers what a power cut would take away."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        self.fails_at = 10**9
        self.error: BaseException = Stopped()
        self.seen = 0
        self._folder = folder
        self._synced: set[int] = set()
        self._replace, self._fsync = Path.replace, os.fsync
        write_bytes, unlink = Path.write_bytes, Path.unlink
        mutex = threading.Lock()

        def count() -> None:
            with mutex:
                self.seen += 1
                if self.seen >= self.fails_at:
                    raise self.error

        def replace(path: Path, target: Path) -> Path:
            count()
            if target.name == "checkpoint":
                assert not self.volatile(), "a checkpoint was published before what it covers was durable"
            return self._replace(path, target)

        def fsync(descriptor: int) -> None:
            count()
            self._synced.add(os.fstat(descriptor).st_ino)

        def write(path: Path, content: bytes) -> int:
            count()
            written = write_bytes(path, content)
            self._synced.discard(path.stat().st_ino)
            return written

        def remove(path: Path, missing_ok: bool = False) -> None:
            count()
            unlink(path, missing_ok)

        monkeypatch.setattr(Path, "replace", replace)
        monkeypatch.setattr(Path, "write_bytes", write)
        monkeypatch.setattr(Path, "unlink", remove)
        monkeypatch.setattr(os, "fsync", fsync)

    def volatile(self) -> list[Path]:
        tiles = (self._folder / "tile").rglob("*")
        return [path for path in tiles if path.is_file() and path.stat().st_ino not in self._synced]

    def lose_power(self) -> None:
        """A file system may have the name of a file and nothing of what was written to it."""
        for path in self.volatile():
            with path.open("wb"):
                pass


@pytest.mark.parametrize("power", ["stays", "goes", "disk is full"])
def test_a_stop_at_any_write_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, power: str) -> None:
    log, grown = MadeUpLog(300), MadeUpLog(256 * 3 + 9)
    follow(grown, tmp_path / "whole")
    whole = files_of(tmp_path / "whole")
    disk = Disk(monkeypatch, tmp_path / "m")
    told: set[str] = set()
    for fails_at in range(1, 200):
        disk.fails_at = 10**9
        shutil.rmtree(tmp_path / "m", ignore_errors=True)
        follow(log, tmp_path / "m")
        disk.seen, disk.fails_at = 0, fails_at
        disk.error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) if power == "disk is full" else Stopped()
        try:
            follow(grown, tmp_path / "m")
        except Stopped:
            pass
        except Unavailable as error:
            told.add(str(error).rpartition(": ")[2])
        else:
            break
        if power == "goes":
            disk.lose_power()
        disk.fails_at = 10**9
        assert check_export(tmp_path / "m", [log.key]) in (log.checkpoint(), grown.checkpoint())
        follow(grown, tmp_path / "m")
        mirrored = files_of(tmp_path / "m")
        assert {name: mirrored[name] for name in whole} == whole
        assert check_export(tmp_path / "m", [log.key]) == grown.checkpoint()
    assert fails_at > 30
    assert told == ({os.strerror(errno.ENOSPC)} if power == "disk is full" else set())
