"""Logs that a test makes up, witness keys, and real witness servers in processes of their own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import httpx2
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from affidavit.ledger.tlog.checkpoint import Checkpoint, sign_checkpoint
from affidavit.ledger.tlog.hashing import leaf_hash
from affidavit.ledger.tlog.note import ED25519, ED25519_COSIGNATURE, VerifierKey
from affidavit.ledger.tlog.private_key import NotePrivateKey, write_private_key
from affidavit.ledger.tlog.tree import prove_consistency
from affidavit.ledger.tlog.witness import AddCheckpoint, print_add_checkpoint
from affidavit.tests.trees import root_of


@dataclass
class SmallLog:
    """One history of a log; two of them with one name and key are a fork. ``branch`` is where they part."""

    name: str = "log.example/1"
    history: str = "true"
    branch: int = 0
    private: Ed25519PrivateKey = field(init=False)
    key: VerifierKey = field(init=False)

    def __post_init__(self) -> None:
        self.private = Ed25519PrivateKey.from_private_bytes(sha256(self.name.encode()).digest())
        self.key = VerifierKey(self.name, ED25519, self.private.public_key().public_bytes_raw())

    def leaves(self, start: int, stop: int) -> list[bytes]:
        return [leaf_hash(f"{'true' if n < self.branch else self.history} {n}".encode()) for n in range(start, stop)]

    def head(self, size: int) -> Checkpoint:
        return Checkpoint(self.name, size, root_of(self.leaves(0, size)))

    def note(self, size: int) -> bytes:
        return sign_checkpoint(self.head(size), self.private)

    def prove(self, old: int, size: int) -> list[bytes]:
        def node(level: int, index: int) -> bytes:
            return root_of(self.leaves(index << level, (index + 1) << level))

        return prove_consistency(old, size, node)

    def body(self, old: int, size: int) -> bytes:
        return print_add_checkpoint(AddCheckpoint(old, tuple(self.prove(old, size)), self.note(size)))


def witness_key(name: str, algorithm: int = ED25519_COSIGNATURE) -> NotePrivateKey:
    return NotePrivateKey(name, algorithm, sha256(name.encode()).digest())


@dataclass
class RunningWitness:
    """A witness in a process of its own."""

    url: str
    key: NotePrivateKey
    process: subprocess.Popen[str]
    said: list[str]
    """What it printed before it served."""

    def add(self, body: bytes) -> httpx2.Response:
        return httpx2.post(f"{self.url}/add-checkpoint", content=body, trust_env=False, timeout=30)


Start = Callable[..., RunningWitness]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts witnesses: ``start(name, vkeys)``. One name has one key and one state file.

    ``options`` are more of the command's, ``program`` is run instead of the command.
    """
    with ExitStack() as opened:

        def run(
            name: str, logs: Sequence[str], program: str | None = None, options: Sequence[str] = ()
        ) -> RunningWitness:
            given = [*(word for vkey in logs for word in ("--log", vkey)), *options]
            return opened.enter_context(_running(tmp_path, witness_key(name), given, program))

        yield run


@contextmanager
def _running(
    folder: Path, key: NotePrivateKey, options: Sequence[str], program: str | None
) -> Iterator[RunningWitness]:
    stem = key.name.replace("/", "_")
    key_file = folder / f"{stem}.key"
    if not key_file.exists():
        write_private_key(key_file, key)
    command = [sys.executable, *(["-m", "affidavit.api.cli"] if program is None else ["-c", program]), "witness"]
    command += ["serve", "--listen", "127.0.0.1:0", "--state", str(folder / f"{stem}.db"), "--key", str(key_file)]
    with subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True) as process:
        try:
            said: list[str] = []
            while not (said and said[-1].startswith("witness ")):
                assert process.stdout is not None
                said.append(process.stdout.readline())
                assert said[-1], f"the witness ended with {process.wait()}"
            yield RunningWitness(said[-1].split()[1], key, process, said)
        finally:
            process.terminate()
