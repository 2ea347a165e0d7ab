"""Locks among processes; and writing files that are there whole or not at all, and durable."""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from .errors import Unavailable


@contextmanager
def lock_file(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on ``path`` among processes. The kernel queues waiters and frees it at a kill."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise Unavailable(f"lock file {path}: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def write_whole(path: Path, content: bytes, *, new: bool = False, private: bool = False) -> None:
    """Write a file as ``whole_file`` does."""
    with whole_file(path, new=new, private=private) as file:
        file.write(content)


@contextmanager
def whole_file(path: Path, *, new: bool = False, private: bool = False) -> Iterator[BinaryIO]:
    """A file to write what shall lie at ``path``: it is there, durable, when the block has ended, or as before.

    What lies there is replaced; with ``new`` that is ``FileExistsError``, for a link that leads nowhere too.
    ``private`` lets nobody else read it. What is no file, such as a pipe, is written to as it is.
    """
    if not new:
        if path.exists() and not path.is_file():
            with path.open("wb") as file:
                yield file
            return
        path = Path(os.path.realpath(path))
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600 if private else 0o666)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if new:
            _move_new(fresh, path)
        else:
            fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)
    sync_folder(path.absolute().parent)


def _move_new(fresh: Path, path: Path) -> None:
    try:
        os.link(fresh, path)  # unlike a rename, it fails where another has taken the place meanwhile
    except FileExistsError:
        raise
    except OSError:  # some file systems have no hard links
        if os.path.lexists(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from None
        fresh.replace(path)


def sync_folder(path: Path) -> None:
    """Make renames and new files in a folder durable."""
    _sync(path)


def sync_tree(path: Path) -> None:
    """Make a folder durable with everything below it."""
    for base, _, files in os.walk(path):
        for name in files:
            _sync(Path(base, name))
        _sync(Path(base))


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def hold_lock(path: Path, *, alone: bool = False) -> Iterator[None]:
    """Keep writers waiting, and ``alone`` readers too; make no file: without a lock file nobody can be writing."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        yield
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        yield
    finally:
        os.close(descriptor)
