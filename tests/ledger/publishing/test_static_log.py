"""The static log: what a folder or a server shows is what the checkpoint signs, and any tlog client can read it."""

from __future__ import annotations

import errno
import os
import random
import shutil
import sqlite3
from collections.abc import Callable, Collection, Iterator
from contextlib import closing, suppress
from hashlib import sha256
from itertools import pairwise
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from affidavit.domain.event import Meta, NewEvent
from affidavit.ledger.application import Edge, Ledger
from affidavit.ledger.entries.entry import NO_ENTRY, StoredEntry, format_at, print_content, print_entry
from affidavit.ledger.errors import LedgerError, Malformed, Unavailable, VerificationError
from affidavit.ledger.events import LedgerOpened, ProjectionSealed
from affidavit.ledger.publishing.static_log import ExportedLog, check_export, read_resource
from affidavit.ledger.publishing.tlog_directory import export_log
from affidavit.ledger.store.reader import LedgerReader
from affidavit.ledger.store.sqlite.reader import SqliteReader, open_snapshot
from affidavit.ledger.tlog.checkpoint import Checkpoint, open_checkpoint, sign_checkpoint
from affidavit.ledger.tlog.hashing import leaf_hash
from affidavit.ledger.tlog.note import ED25519, VerifierKey, parse_vkey, print_vkey
from affidavit.ledger.tlog.proof import verify_consistency, verify_inclusion
from affidavit.ledger.tlog.tiles import parse_tile_path, tile_nodes
from affidavit.ledger.tlog.tree import prove_consistency, prove_inclusion
from affidavit.projections.registry import REGISTRY
from affidavit.tests.folders import folder_of
from affidavit.tests.trees import root_of

OTHER_KEY = "ledger.example/acme/prod+f41694c7+AWLmv9A5WsV4c73UvAzGUAMzcNwNv2BabSyDkQ8zEf3C"
LONG = 256 * 256 + 256 + 44


def fill(ledger: Ledger, size: int, stream: str = "test/1") -> Checkpoint:
    """Record until the log has ``size`` entries, and sign."""
    with ledger.recorder.reading() as reader:
        there, start = reader.head().size, reader.next_pos(stream)
    events = [
        NewEvent(stream, start + n, ProjectionSealed(name="n", version=1, upto=n, digest="0" * 64), Meta())
        for n in range(size - there)
    ]
    for at in range(0, len(events), 1000):
        ledger.record(*events[at : at + 1000])
    return ledger.sign()


def export(ledger: Ledger, folder: Path) -> Checkpoint:
    with ledger.recorder.reading() as reader:
        return export_log(reader, folder)


def raws_of(ledger: Ledger) -> list[bytes]:
    with ledger.recorder.reading() as reader:
        return [row.raw for row in reader.entries()]


def files_of(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }


@pytest.fixture
def exported(ledger: Ledger, tmp_path: Path) -> Path:
    """A log of 300 entries, exported."""
    fill(ledger, 300)
    export(ledger, tmp_path / "log")
    return tmp_path / "log"


class LongLog(SqliteReader):
    """A log that fills a tile of level 1, and so has one of level 2; it lies in no database."""

    def __init__(self, size: int) -> None:
        private = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
        self.key = VerifierKey("example.org/long/0123456789abcdef", ED25519, private.public_key().public_bytes_raw())
        opened = {"format": 1, "origin": self.key.name, "vkey": print_vkey(self.key)}
        name = LedgerOpened.type_name
        first = print_entry(0, NO_ENTRY, format_at(0), "ledger", 0, name, print_content({}, opened, {}))
        self._raws = [first, *(b"%d" % seq for seq in range(1, size))]
        checkpoint = Checkpoint(self.key.name, size, root_of(map(leaf_hash, self._raws)))
        self._latest = (size, sign_checkpoint(checkpoint, private))

    def latest_checkpoint(self) -> tuple[int, bytes]:
        return self._latest

    def raws(self, start: int, stop: int) -> list[bytes]:
        return self._raws[start:stop]

    def stream(
        self, stream: str, before: int | None = None, start: int = 0, *, without: Collection[str] = ()
    ) -> Iterator[StoredEntry]:
        yield StoredEntry(0, stream, 0, LedgerOpened.type_name, self._raws[0], leaf_hash(self._raws[0]))


class Stranger:
    """Another project's client, as far as the paths of C2SP tlog-tiles and RFC 6962 tell how to write one."""

    def __init__(self, read: Callable[[str], bytes | None], size: int) -> None:
        self._read = read
        self.size = size

    def path(self, kind: object, n: int, hashes: int) -> str:
        digits = f"{n:03}"
        digits = digits.zfill(-(-len(digits) // 3) * 3)
        groups = [digits[at : at + 3] for at in range(0, len(digits), 3)]
        name = f"tile/{kind}/" + "/".join([*(f"x{group}" for group in groups[:-1]), groups[-1]])
        return name if (n + 1) * 256 <= hashes else f"{name}.p/{hashes % 256}"

    def tile(self, kind: object, n: int, hashes: int) -> bytes:
        found = self._read(self.path(kind, n, hashes))
        if found is None:
            found = self._read(self.path(kind, n, (n + 1) * 256))  # a partial one that is gone: the full one
        assert found is not None
        return found

    def hashes(self, level: int, first: int, count: int) -> bytes:
        tile = self.tile(level, first // 256, self.size // 256**level)
        return tile[first % 256 * 32 : (first % 256 + count) * 32]

    def entries(self) -> list[bytes]:
        found = []
        for n in range(-(-self.size // 256)):
            bundle = self.tile("entries", n, self.size)
            while bundle:
                length = int.from_bytes(bundle[:2], "big")
                found.append(bundle[2 : 2 + length])
                bundle = bundle[2 + length :]
        return found[: self.size]

    def root(self) -> bytes:
        """The root from the highest tiles down, each node of a perfect subtree read from its own level."""
        return self._root(0, self.size)

    def _root(self, start: int, end: int) -> bytes:
        width = end - start
        for level in range(8):
            if width == 256**level:
                return self.hashes(level, start // width, 1)
        split = 1 << (width - 1).bit_length() - 1
        return sha256(b"\x01" + self._root(start, start + split) + self._root(start + split, end)).digest()


def in_folder(folder: Path) -> Callable[[str], bytes | None]:
    return lambda name: (folder / name).read_bytes() if (folder / name).is_file() else None


@pytest.mark.parametrize("size", [1, 2, 255, 256, 257, 300, 512])
def test_a_stranger_s_client_reads_an_export_by_its_paths_alone(ledger: Ledger, tmp_path: Path, size: int) -> None:
    checkpoint = fill(ledger, size)
    assert export(ledger, tmp_path / "log") == checkpoint

    read = in_folder(tmp_path / "log")
    stranger = Stranger(read, checkpoint.size)
    note = read("checkpoint")

    assert note is not None
    assert open_checkpoint(note, [ledger.verifier_key()], ledger.origin) == checkpoint
    assert stranger.entries() == raws_of(ledger)
    assert stranger.root() == checkpoint.root
    leaves = b"".join(leaf_hash(raw) for raw in raws_of(ledger))
    assert b"".join(stranger.hashes(0, seq, 1) for seq in range(size)) == leaves
    for seq in {0, size // 2, size - 1}:
        path = prove_inclusion(seq, size, tile_nodes(size, stranger.hashes))
        verify_inclusion(seq, size, leaf_hash(stranger.entries()[seq]), path, checkpoint.root)


def test_tiles_stand_on_three_levels(tmp_path: Path) -> None:
    folder, log = tmp_path / "log", LongLog(LONG)
    checkpoint = export_log(log, folder)
    assert check_export(folder, [log.key]) == checkpoint
    stranger = Stranger(in_folder(folder), LONG)

    assert checkpoint.size == LONG
    assert {name for name in files_of(folder) if not name.startswith(("tile/0/", "tile/entries/"))} == {
        "checkpoint",
        "tile/1/000",
        "tile/1/001.p/1",
        "tile/2/000.p/1",
    }
    assert stranger.root() == checkpoint.root
    for seq in (0, 65_535, 65_536, LONG - 1):
        leaf = stranger.hashes(0, seq, 1)
        verify_inclusion(
            seq, LONG, leaf, prove_inclusion(seq, LONG, tile_nodes(LONG, stranger.hashes)), checkpoint.root
        )


def test_an_export_has_the_layout_of_other_logs(ledger: Ledger, vectors: Path, tmp_path: Path) -> None:
    theirs = {name for name in files_of(vectors / "tessera_log") if name.startswith("tile/")}
    for size in range(1, 16):
        fill(ledger, size)
        export(ledger, tmp_path / "log")

    assert {name for name in files_of(tmp_path / "log") if name.startswith("tile/")} == theirs


def test_another_project_s_log_is_read_and_verified(vectors: Path, tmp_path: Path) -> None:
    key = parse_vkey((vectors / "tessera_log" / "VKEY.txt").read_text().strip())
    folder = tmp_path / "tessera"
    shutil.copytree(vectors / "tessera_log", folder)

    roots = {}
    for size in range(1, 16):
        shutil.copy(folder / f"checkpoint.{size}", folder / "checkpoint")
        checkpoint = check_export(folder, [key])
        log = ExportedLog(folder)
        roots[checkpoint.size] = checkpoint.root
        assert len(list(log.entries())) == size
    for older, newer in pairwise(roots):
        proof = prove_consistency(older, newer, tile_nodes(15, ExportedLog(folder).hashes))
        verify_consistency(older, newer, proof, roots[older], roots[newer])


def test_going_on_writes_what_was_added_and_keeps_the_rest(ledger: Ledger, exported: Path, tmp_path: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in exported.rglob("*") if path.is_file()}
    older = ExportedLog(exported).checkpoint
    newer = fill(ledger, 600)

    assert export(ledger, exported) == newer
    export(ledger, tmp_path / "fresh")

    assert check_export(exported, [ledger.verifier_key()]) == newer
    kept = {"tile/0/001.p/44", "tile/entries/001.p/44", "tile/1/000.p/1"}
    assert files_of(exported).keys() == files_of(tmp_path / "fresh").keys() | kept
    assert files_of(tmp_path / "fresh").items() <= files_of(exported).items()
    assert (exported / "tile/0/000").stat().st_mtime_ns == before[exported / "tile/0/000"]
    earlier = Stranger(in_folder(exported), older.size)
    assert earlier.root() == older.root
    for name in kept - {"tile/1/000.p/1"}:  # these are full now; a narrower one may only go when its tile is
        (exported / name).unlink()
    assert (earlier.root(), len(earlier.entries())) == (older.root, older.size)


def test_an_export_goes_on_under_the_next_key(ledger: Ledger, exported: Path) -> None:
    old = ledger.verifier_key()
    ledger.rotate_key(overlap=0)
    new = ledger.verifier_key()

    assert export(ledger, exported).size == 301
    for keys in ([old], [new], [new, old]):
        assert check_export(exported, keys).size == 301
    fill(ledger, 302)
    assert export(ledger, exported).size == 302
    assert check_export(exported, [new]).size == 302
    with pytest.raises(VerificationError, match="known key"):
        check_export(exported, [old])


def test_exporting_again_changes_nothing(ledger: Ledger, exported: Path) -> None:
    before = files_of(exported)

    assert export(ledger, exported).size == 300
    assert files_of(exported) == before


def test_a_read_only_ledger_is_exported_without_a_change(ledger: Ledger, exported: Path, tmp_path: Path) -> None:
    ledger.close()
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder_of(ledger).iterdir()}

    with open_snapshot(folder_of(ledger)) as reader:
        export_log(reader, tmp_path / "again")

    assert {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder_of(ledger).iterdir()} == before
    assert files_of(tmp_path / "again") == files_of(exported)


def test_nothing_else_is_written_over(ledger: Ledger, exported: Path, tmp_path: Path, edge: Edge) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("x")
    (tmp_path / "file").write_text("x")
    other = Ledger.create(tmp_path / "other", tmp_path / "keys", REGISTRY, edge=edge, sign_in_background=False)
    with other:
        fill(other, 400)
        export(other, tmp_path / "theirs")
    before = files_of(tmp_path)

    for place in ("mine", "file", "theirs"):
        with pytest.raises(Unavailable, match=place):
            export(ledger, tmp_path / place)
    assert files_of(tmp_path / "mine") == {"notes.txt": b"x"}
    assert files_of(tmp_path) == before


def test_an_older_copy_of_the_log_does_not_go_on_with_it(ledger: Ledger, exported: Path, tmp_path: Path) -> None:
    ledger.close()
    shutil.copytree(folder_of(ledger), tmp_path / "copy")
    with Ledger(folder_of(ledger), ledger.keys.path.parent, REGISTRY, sign_in_background=False) as newer:
        fill(newer, 301)
        export(newer, exported)

    with open_snapshot(tmp_path / "copy") as reader, pytest.raises(Unavailable, match="expected an export of 1 to 300"):
        export_log(reader, exported)


def test_without_a_checkpoint_there_is_nothing_to_export(ledger: Ledger, tmp_path: Path) -> None:
    damage(ledger, "DELETE FROM checkpoints")

    with pytest.raises(Unavailable, match="no checkpoint"):
        export(ledger, tmp_path / "log")
    with ledger.recorder.reading() as reader:
        assert read_resource(reader, "checkpoint") is None
        assert read_resource(reader, "tile/0/000.p/1") is None


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE entries SET entry=entry||' ' WHERE seq=70",
        "DELETE FROM entries WHERE seq=299",
        "UPDATE checkpoints SET note=replace(note, 'A', 'B') WHERE size=300",
        "UPDATE checkpoints SET size=299 WHERE size=300",
    ],
)
def test_a_damaged_ledger_is_not_exported(ledger: Ledger, tmp_path: Path, change: str) -> None:
    fill(ledger, 300)
    damage(ledger, change)

    with pytest.raises(LedgerError):
        export(ledger, tmp_path / "log")
    assert {path.name for path in tmp_path.iterdir()} == {"ledger", "keys"}
    close_refused(ledger)


def test_a_changed_byte_is_found_in_every_file(ledger: Ledger, exported: Path) -> None:
    fill(ledger, 600)
    export(ledger, exported)
    keys = [ledger.verifier_key()]
    check_export(exported, keys)
    chosen = random.Random(7)

    for name, content in files_of(exported).items():
        places = {0, len(content) - 1, *(chosen.randrange(len(content)) for _ in range(3))}
        for at in places:
            changed = bytearray(content)
            changed[at] ^= 1 << chosen.randrange(8)
            (exported / name).write_bytes(changed)
            with pytest.raises((VerificationError, Malformed)):
                check_export(exported, keys)
        for other in (content[:-1], content + b"\n", b""):
            (exported / name).write_bytes(other)
            with pytest.raises((VerificationError, Malformed)):
                check_export(exported, keys)
        (exported / name).write_bytes(content)
    check_export(exported, keys)


def test_the_file_that_is_wrong_is_named(ledger: Ledger, exported: Path) -> None:
    keys = [ledger.verifier_key()]
    tile = exported / "tile/0/000"
    whole = tile.read_bytes()
    tile.write_bytes(whole[: 5 * 32] + bytes(32) + whole[6 * 32 :])
    with pytest.raises(VerificationError, match=r"tile/0/000: leaf hash 5: expected .*, found 0{64}"):
        check_export(exported, keys)
    tile.unlink()
    with pytest.raises(VerificationError, match="expected tile/0/000, found none"):
        check_export(exported, keys)
    (exported / "checkpoint").unlink()
    with pytest.raises(VerificationError, match="expected a file 'checkpoint', found none"):
        check_export(exported, keys)


def test_only_the_log_s_own_key_vouches_for_an_export(ledger: Ledger, exported: Path) -> None:
    key = ledger.verifier_key()
    other = VerifierKey(key.name, key.algorithm, parse_vkey(OTHER_KEY).public_key)

    for keys in ([], [other], [VerifierKey("elsewhere", key.algorithm, key.public_key)]):
        with pytest.raises(VerificationError, match="known key"):
            check_export(exported, keys)


def test_a_failing_disk_leaves_the_earlier_export_whole(
    ledger: Ledger, exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(ledger, 301)
    keys = [ledger.verifier_key()]
    left = [0]

    def failing(call: Callable[..., object]) -> Callable[..., object]:
        def done(*arguments: object) -> object:
            left[0] -= 1
            if left[0] < 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return call(*arguments)

        return done

    monkeypatch.setattr(os, "fsync", failing(lambda _: None))
    monkeypatch.setattr(Path, "replace", failing(Path.replace))
    monkeypatch.setattr(Path, "write_bytes", failing(Path.write_bytes))
    finished = 0
    for allowed in range(40):
        left[0] = allowed
        shutil.rmtree(tmp_path / "going on", ignore_errors=True)
        shutil.copytree(exported, tmp_path / "going on")
        with suppress(Unavailable):
            finished += export(ledger, tmp_path / "going on").size == 301
        assert check_export(tmp_path / "going on", keys).size in (300, 301)
        left[0] = allowed
        with suppress(Unavailable):
            export(ledger, tmp_path / "new")
        assert not (tmp_path / "new").exists() or check_export(tmp_path / "new", keys).size == 301
        shutil.rmtree(tmp_path / "new", ignore_errors=True)
    assert 0 < finished < 40
    assert {path.name for path in tmp_path.iterdir()} == {"ledger", "keys", "log", "going on"}


@pytest.fixture
def reader(ledger: Ledger, exported: Path) -> Iterator[LedgerReader]:
    """Of a log of 300 signed entries and 50 after them."""
    ledger.record(
        *(
            NewEvent("test/2", n, ProjectionSealed(name="n", version=1, upto=n, digest="0" * 64), Meta())
            for n in range(50)
        )
    )
    with ledger.recorder.reading() as opened:
        yield opened


def test_a_resource_is_the_exported_file(reader: LedgerReader, exported: Path) -> None:
    for name, content in files_of(exported).items():
        assert read_resource(reader, name) == content


def test_a_stranger_s_client_reads_the_resources(reader: LedgerReader, exported: Path) -> None:
    checkpoint = ExportedLog(exported).checkpoint
    for size in (1, 44, 256, 257, checkpoint.size):
        stranger = Stranger(lambda name: read_resource(reader, name), size)
        assert stranger.root() == reader.frontier_at(size).root()
        assert len(stranger.entries()) == size


@pytest.mark.parametrize(
    "name",
    [
        "tile/0/001",
        "tile/0/001.p/45",
        "tile/0/002.p/1",
        "tile/1/000.p/2",
        "tile/1/000",
        "tile/2/000.p/1",
        "tile/63/000.p/1",
        "tile/entries/001",
        "tile/entries/001.p/45",
        "tile/0/x009/x223/x372/x036/x854/x775/807",
        "tile/0/000.p/0",
        "tile/0/000.p/256",
        "tile/0/0",
        "tile/00/000",
        "tile/0/000/",
        "tile/-1/000",
        "tile/data/000",
        "tile/0/000.p/٣",
        "tile/0/../0/000",
        "/checkpoint",
        "checkpoint\n",
        "",
    ],
)
def test_what_the_checkpoint_does_not_cover_is_not_there(reader: LedgerReader, name: str) -> None:
    assert read_resource(reader, name) is None


def test_every_partial_width_up_to_the_checkpoint_is_there(reader: LedgerReader) -> None:
    for tile, widest in (("tile/0/000", 255), ("tile/0/001", 44), ("tile/1/000", 1)):
        whole = read_resource(reader, tile) or read_resource(reader, f"{tile}.p/{widest}")
        assert whole is not None
        for width in range(1, widest + 1):
            path = f"{tile}.p/{width}"
            assert parse_tile_path(path).width == width
            assert read_resource(reader, path) == whole[: 32 * width]


def test_a_resource_that_the_database_lost_is_an_error(ledger: Ledger, exported: Path) -> None:
    damage(ledger, "DELETE FROM entries WHERE seq=299")

    with ledger.recorder.reading() as reader:
        for name in ("tile/0/001.p/44", "tile/entries/001.p/44"):
            with pytest.raises(VerificationError, match="44"):
                read_resource(reader, name)
    close_refused(ledger)


def close_refused(ledger: Ledger) -> None:
    """A ledger that was damaged may refuse to sign when it is closed."""
    with suppress(LedgerError):
        ledger.close()


def damage(ledger: Ledger, statement: str) -> None:
    """Change the database behind its triggers' back, as who can write the file can."""
    with closing(sqlite3.connect(folder_of(ledger) / "ledger.db", isolation_level=None)) as db:
        for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type='trigger'").fetchall():
            db.execute(f"DROP TRIGGER {name}")
        assert db.execute(statement).rowcount > 0
