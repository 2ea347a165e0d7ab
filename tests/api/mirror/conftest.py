"""Logs that a test makes up, of any entries, as a server would show them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from affidavit.ledger.errors import Malformed, Unavailable
from affidavit.ledger.tlog.bundle import print_bundle
from affidavit.ledger.tlog.checkpoint import Checkpoint, sign_checkpoint
from affidavit.ledger.tlog.hashing import leaf_hash
from affidavit.ledger.tlog.note import ED25519, VerifierKey
from affidavit.ledger.tlog.tiles import frontier_at, parse_tile_path
from affidavit.tests.trees import root_of


@dataclass
class MadeUpLog:
    """A log of ``size`` entries; ``branch`` is where another ``history`` parts from the true one. It is a source.

    ``altered`` changes what is served under a name, ``stop_after`` how often it serves at all.
    """

    size: int
    history: str = "true"
    branch: int = 0
    name: str = "log.example/1"
    altered: dict[str, Callable[[bytes], bytes | None]] = field(default_factory=dict)
    stop_after: int = 10**9
    asked: list[str] = field(default_factory=list)
    key: VerifierKey = field(init=False)

    def __post_init__(self) -> None:
        self._private = Ed25519PrivateKey.from_private_bytes(sha256(self.name.encode()).digest())
        self.key = VerifierKey(self.name, ED25519, self._private.public_key().public_bytes_raw())
        self._levels: list[list[bytes]] = []

    def entry(self, n: int) -> bytes:
        return f"{'true' if n < self.branch else self.history} {n}".encode()

    def checkpoint(self) -> Checkpoint:
        frontier = frontier_at(self.size, lambda level, first, count: b"".join(self._hashes(level)[first:][:count]))
        return Checkpoint(self.name, self.size, frontier.root())

    def note(self) -> bytes:
        return self.sign(self.checkpoint())

    def sign(self, checkpoint: Checkpoint) -> bytes:
        return sign_checkpoint(checkpoint, self._private)

    def keys_of(self, origin: str, size: int) -> list[VerifierKey] | None:
        return [self.key] if origin == self.name else None

    def get(self, name: str, most: int) -> bytes | None:
        if len(self.asked) >= self.stop_after:
            raise Unavailable("the server is gone")
        self.asked.append(name)
        content = self.note() if name == "checkpoint" else self._tile(name)
        if content is not None and name in self.altered:
            content = self.altered[name](content)
        assert content is None or len(content) <= most
        return content

    def _tile(self, name: str) -> bytes | None:
        try:
            level, n, width = parse_tile_path(name)
        except Malformed:
            return None
        first = n * 256
        if level == "entries":
            return (
                print_bundle([self.entry(at) for at in range(first, first + width)])
                if first + width <= self.size
                else None
            )
        hashes = self._hashes(level)
        return b"".join(hashes[first : first + width]) if first + width <= len(hashes) else None

    def _hashes(self, level: int) -> list[bytes]:
        if not self._levels or len(self._levels[0]) != self.size:
            self._levels = [[leaf_hash(self.entry(n)) for n in range(self.size)]]
            while len(below := self._levels[-1]) >= 256:
                self._levels.append([root_of(below[at : at + 256]) for at in range(0, len(below) - 255, 256)])
        return self._levels[level] if level < len(self._levels) else []


def files_of(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }
