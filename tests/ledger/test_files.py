"""Files that are there whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from affidavit.ledger.files import sync_tree, whole_file, write_whole


def test_what_lies_there_is_replaced_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_whole(path, b"first")
    write_whole(path, b"second")
    assert path.read_bytes() == b"second"
    assert os.listdir(tmp_path) == ["file"]


def test_a_private_file_is_nobody_elses(tmp_path: Path) -> None:
    write_whole(tmp_path / "key", b"secret", private=True)
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("new", [False, True])
def test_what_fails_on_the_way_changes_nothing(tmp_path: Path, new: bool) -> None:
    path = tmp_path / "file"
    if not new:
        path.write_bytes(b"before")

    def fail() -> None:
        with whole_file(path, new=new) as file:
            file.write(b"half")
            raise LookupError

    with pytest.raises(LookupError):
        fail()
    assert os.listdir(tmp_path) == ([] if new else ["file"])
    assert new or path.read_bytes() == b"before"


def test_the_bytes_are_durable_before_the_name_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, done = tmp_path / "file", []
    sync = os.fsync

    def fsync(descriptor: int) -> None:
        done.append((os.readlink(f"/proc/self/fd/{descriptor}"), path.exists()))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    write_whole(path, b"content")
    (file, early), (folder, late) = done
    assert (Path(file).parent, early, Path(folder), late) == (tmp_path, False, tmp_path, True)


@pytest.mark.parametrize("links", [True, False])
def test_a_new_file_is_never_written_over_something(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    if not links:

        def link(source: object, target: object) -> None:
            raise PermissionError(1, "no hard links here")

        monkeypatch.setattr(os, "link", link)
    write_whole(tmp_path / "new", b"content", new=True)
    assert (tmp_path / "new").read_bytes() == b"content"
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    for name in ("new", "dangling"):
        with pytest.raises(FileExistsError):
            write_whole(tmp_path / name, b"other", new=True)
    assert (tmp_path / "new").read_bytes() == b"content"
    assert sorted(os.listdir(tmp_path)) == ["dangling", "new"]


def test_a_link_stays_and_its_target_is_written(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("target")
    write_whole(tmp_path / "link", b"content")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_bytes() == b"content"


def test_what_is_no_file_is_written_to() -> None:
    reading, writing = os.pipe()
    write_whole(Path(f"/proc/self/fd/{writing}"), b"content")
    assert os.read(reading, 100) == b"content"
    os.close(reading)
    os.close(writing)


def test_a_tree_is_made_durable_file_by_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "file").write_bytes(b"content")
    done = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: done.append(os.readlink(f"/proc/self/fd/{descriptor}")))
    sync_tree(tmp_path)
    assert set(done) == {str(tmp_path / name) for name in (".", "a", "a/b", "a/b/file")}
