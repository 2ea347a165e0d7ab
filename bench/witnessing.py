"""A witness: checkpoints of 16 logs at once, each cosigned and durable, beside bare commits of the same machine."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from http.client import HTTPConnection
from itertools import count
from pathlib import Path
from statistics import median
from threading import Thread

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from affidavit.api.witness.store import WitnessStore
from affidavit.bench.recording import bare_table, commit_each
from affidavit.bench.rows import Bench, Row
from affidavit.bench.windows import Side, interleave, median_of, ratios, timed
from affidavit.ledger.tlog.checkpoint import Checkpoint, sign_checkpoint
from affidavit.ledger.tlog.hashing import leaf_hash, node_hash
from affidavit.ledger.tlog.note import ED25519, ED25519_COSIGNATURE, VerifierKey, print_vkey
from affidavit.ledger.tlog.private_key import make_private_key, write_private_key
from affidavit.ledger.tlog.tree import Frontier, prove_consistency
from affidavit.ledger.tlog.witness import AddCheckpoint, print_add_checkpoint, read_submission

LOGS = 16
_ENTRY = b"x" * 500

Add = Callable[[bytes], object]


class GrowingLog:
    """A log that gains one entry with each checkpoint."""

    def __init__(self, number: int) -> None:
        self._private = Ed25519PrivateKey.generate()
        self.key = VerifierKey(f"log.example/{number}", ED25519, self._private.public_key().public_bytes_raw())
        self._frontier = Frontier()
        self._levels: list[list[bytes]] = [[]]

    def body(self) -> bytes:
        """The request to cosign one entry more."""
        old = self._frontier.size
        self._append(leaf_hash(f"{self.key.name} {old}".encode()))
        proof = prove_consistency(old, old + 1, lambda level, index: self._levels[level][index])
        note = sign_checkpoint(Checkpoint(self.key.name, old + 1, self._frontier.root()), self._private)
        return print_add_checkpoint(AddCheckpoint(old, tuple(proof), note))

    def _append(self, leaf: bytes) -> None:
        self._frontier.append(leaf)
        node, level = leaf, 0
        self._levels[0].append(node)
        while len(self._levels[level]) % 2 == 0:
            node, level = node_hash(self._levels[level][-2], node), level + 1
            if level == len(self._levels):
                self._levels.append([])
            self._levels[level].append(node)


def measure_witness(bench: Bench) -> list[Row]:
    """Cosignatures a second, in the witness's process and over HTTP, as multiples of bare commits."""
    folder = bench.folder / "witness"
    folder.mkdir()
    inside, outside = [GrowingLog(n) for n in range(LOGS)], [GrowingLog(n) for n in range(LOGS)]
    known = {log.key.name: [log.key] for log in inside}
    number = bench.sizes.cosigned
    with ExitStack() as opened:
        key = make_private_key("witness.example/inside", ED25519_COSIGNATURE, os.urandom)
        store = opened.enter_context(closing(WitnessStore(folder / "inside.db", [key], time.time)))
        port = opened.enter_context(_serving(folder, [log.key for log in outside]))
        clients = [opened.enter_context(closing(HTTPConnection("127.0.0.1", port))) for _ in outside]
        bare = opened.enter_context(closing(bare_table(folder / "bare.db")))

        def add(body: bytes) -> object:
            return store.cosign(read_submission(body, lambda origin, size: known.get(origin)))

        seqs = count()
        seconds = interleave(
            {
                "inside": _cosigning(inside, [add] * LOGS, number),
                "http": _cosigning(outside, [_posting(client) for client in clients], number),
                "bare": lambda: timed(lambda: commit_each(bare, [_ENTRY] * 1000, seqs)),
            },
            bench.sizes.long_windows,
        )
    one = [taken / 1000 for taken in seconds["bare"]]
    rows = []
    for name, side, what in (
        ("witness", "inside", f"cosignatures of a witness, each durable, {LOGS} logs at once, without HTTP"),
        ("witness_http", "http", "the same over HTTP, callers on the same cores"),
    ):
        each = [taken / (LOGS * number) for taken in seconds[side]]
        beside = {"per_second": 1 / median(each), "bare_per_second": 1 / median(one)}
        target = 0.5 if side == "inside" else None
        rows.append(
            Row(name, f"{what}, against bare commits", "×", median_of(ratios(each, one)), target, beside=beside)
        )
    return rows


def _cosigning(logs: list[GrowingLog], adds: list[Add], number: int) -> Side:
    def cosign() -> float:
        work = [[log.body() for _ in range(number)] for log in logs]
        failed: list[Exception] = []
        threads = [Thread(target=_add_all, args=(add, bodies, failed)) for add, bodies in zip(adds, work, strict=True)]

        def run() -> None:
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

        taken = timed(run)
        if failed:
            raise failed[0]
        return taken

    return cosign


def _add_all(add: Add, bodies: list[bytes], failed: list[Exception]) -> None:
    try:
        for body in bodies:
            add(body)
    except Exception as error:
        failed.append(error)


def _posting(client: HTTPConnection) -> Add:
    def post(body: bytes) -> None:
        client.request("POST", "/add-checkpoint", body)
        answer = client.getresponse()
        text = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"the witness answered {answer.status}: {text[:200]!r}")

    return post


@contextmanager
def _serving(folder: Path, keys: list[VerifierKey]) -> Iterator[int]:
    write_private_key(folder / "key", make_private_key("witness.example/http", ED25519_COSIGNATURE, os.urandom))
    command = [sys.executable, "-m", "affidavit.api.cli", "witness", "serve", "--listen", "127.0.0.1:0"]
    command += ["--state", str(folder / "http.db"), "--key", str(folder / "key")]
    for key in keys:
        command += ["--log", print_vkey(key)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            yield _port(server)
        finally:
            server.terminate()


def _port(server: subprocess.Popen[str]) -> int:
    """The port that the server says it took, once it serves."""
    for line in server.stdout or ():
        if line.startswith("witness "):
            return int(line.rpartition(":")[2])
    raise RuntimeError("the witness did not start")
