"""``verify`` of the ledger that is being served, in a process of its own; what it found last is kept in memory.

It reads one state of the log while others append, and gives way to whoever answers requests. What it finds is the
server's own word: whoever does not trust the server runs ``affidavit verify`` on a copy.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TypeVar

from ..ledger.audit.audit import Against, audit
from ..ledger.audit.verdict import Verdict
from ..ledger.errors import LedgerError, Malformed, Unavailable
from ..ledger.folds.anchors import ANCHOR_STREAM
from ..ledger.folds.erasures import Erasures
from ..ledger.signing.keys import KeyFolder
from ..ledger.store.folding import read_erasures, read_identity, read_moved
from ..ledger.store.place import Place
from ..ledger.store.reader import LedgerReader
from ..ledger.store.scopes import ScopeKeys
from ..ledger.tlog.checkpoint import claimed_checkpoint
from ..ledger.tlog.note import parse_vkey
from ..ledger.tlog.policy import parse_policy
from ..projections.registry import REGISTRY
from ..projections.runner import copied_views
from ..projections.seals import check_seals, check_views
from .reading import open_reader, open_scopes

T = TypeVar("T")

_NICENESS = 10
_END_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Brought:
    """What whoever asks has from elsewhere, as text; each may be empty.

    The log's ``vkey``, a signed checkpoint of an earlier visit (``pinned``), and a ``policy`` of witnesses.
    """

    vkey: str = ""
    pinned: str = ""
    policy: str = ""

    def against(self, now: int) -> Against:
        """What is to be met at ``now``, in seconds since 1970. ``Malformed`` says which of them does not read."""
        pinned = [_note(self.pinned)] if self.pinned else []
        for note in pinned:
            _named("the pinned checkpoint", partial(claimed_checkpoint, note))
        return Against(
            vkey=_named("the vkey", partial(parse_vkey, self.vkey)) if self.vkey else None,
            pinned=pinned,
            policy=_named("the policy", partial(parse_policy, _lines(self.policy))) if self.policy else None,
            now=now,
        )


@dataclass(frozen=True, slots=True)
class Running:
    """A verification under way: entries hashed so far, of how many; 0 of 0 before it has begun to."""

    brought: Brought
    started: int
    done: int = 0
    size: int = 0


@dataclass(frozen=True, slots=True)
class Verification:
    """A verification that is over. ``started`` and ``ended`` are seconds since 1970 by the server's clock.

    ``signing_state`` is the size of the newest checkpoint that the keys of this machine remember having signed.
    Without a verdict ``problem`` says why there is none.
    """

    brought: Brought
    started: int
    ended: int
    verdict: Verdict | None
    signing_state: int | None = None
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class _Found:
    verdict: Verdict
    signing_state: int | None


class Verifier:
    """Verifies the ledger at ``place``, one verification at a time. ``now`` gives seconds since 1970.

    ``tsa_roots`` are the certificates (PEM) of the timestamp authorities that the operator has set. Safe from threads.
    """

    def __init__(self, place: Place, keys_root: Path, now: Callable[[], int], tsa_roots: Sequence[bytes] = ()) -> None:
        self._given = place, keys_root, tuple(tsa_roots)
        self._now = now
        self._mutex = threading.Lock()
        self._running: Running | None = None
        self._last: Verification | None = None
        self._alone: Verification | None = None
        self._process: multiprocessing.process.BaseProcess | None = None
        self._follower: threading.Thread | None = None

    def start(self, brought: Brought) -> bool:
        """Begin to verify; False where a verification is under way already, which goes on.

        ``Malformed`` where what was brought does not read.
        """
        brought.against(self._now())
        with self._mutex:
            if self._running is not None:
                return False
            context = multiprocessing.get_context("spawn")
            told, telling = context.Pipe(duplex=False)
            process = context.Process(
                target=_work, args=(*self._given, brought, self._now(), telling), name="affidavit-verify", daemon=True
            )
            process.start()
            telling.close()  # ours, so that the pipe ends with the process
            self._running, self._process = Running(brought, self._now()), process
            self._follower = threading.Thread(target=self._follow, args=(told,), name="verification", daemon=True)
            self._follower.start()
            return True

    def look(self) -> tuple[Running | None, Verification | None]:
        """What is under way, and what was found last."""
        with self._mutex:
            return self._running, self._last

    def look_alone(self) -> Verification | None:
        """What was found last with nothing brought: it says the same to everybody."""
        with self._mutex:
            return self._alone

    def close(self) -> None:
        """Stop; a verification that is under way ends without a verdict."""
        with self._mutex:
            process, follower = self._process, self._follower
        if process is not None:
            process.terminate()
        if follower is not None:
            follower.join(_END_SECONDS)

    def _follow(self, told: Connection) -> None:
        found: object = "the process that verified was ended"
        with suppress(EOFError, OSError):
            while True:
                found = told.recv()
                if not isinstance(found, tuple):
                    break
                with self._mutex:
                    if self._running is not None:
                        self._running = replace(self._running, done=found[0], size=found[1])
        told.close()
        process = self._process
        if process is not None:
            process.join()
        with self._mutex:
            running = self._running
            if running is not None:
                over = Verification(running.brought, running.started, self._now(), None)
                if isinstance(found, _Found):
                    self._last = replace(over, verdict=found.verdict, signing_state=found.signing_state)
                else:
                    self._last = replace(over, problem=found if isinstance(found, str) else "it ended half-way")
                if running.brought == Brought():
                    self._alone = self._last
            self._running = self._process = None


def _work(
    place: Place, keys_root: Path, tsa_roots: Sequence[bytes], brought: Brought, now: int, telling: Connection
) -> None:
    """The process: tells (done, size) as it goes, and at the end what it found, or why nothing."""
    os.nice(_NICENESS)

    def verify() -> _Found:
        return _verify(place, keys_root, tsa_roots, brought, now, lambda done, size: telling.send((done, size)))

    try:
        found = verify()
        if any(damage.kind == "missing_without_erasure" for damage in found.verdict.damage):
            found = verify()  # somebody may have erased while it read
        telling.send(found)
    except BrokenPipeError:
        return  # nobody waits any more
    except LedgerError as error:
        telling.send(str(error))
    except Exception as error:  # whatever lies there, who waits is told
        telling.send(f"{type(error).__name__}: {error}")


def _verify(
    place: Place,
    keys_root: Path,
    tsa_roots: Sequence[bytes],
    brought: Brought,
    now: int,
    on_progress: Callable[[int, int], None],
) -> _Found:
    # The views are copied before the log is opened, so that they are not ahead of it.
    with place.beside() as reader:
        against = known_here(place, keys_root, reader, brought.against(now))
        if reader.next_pos(ANCHOR_STREAM):
            against = replace(against, tsa_roots=tsa_roots)
    try:
        with copied_views(place) as views, place.beside() as reader:
            verdict = audit(reader, REGISTRY, against, on_progress=on_progress)
            if not verdict.is_damaged and views is not None:
                verdict.damage += check_views(views, open_reader(place, reader, against.scopes).events)
                if not verdict.is_damaged:
                    verdict.checked.append("read_models")
    finally:
        if against.scopes is not None:
            against.scopes.close()
    return _Found(verdict, None if against.signed is None else against.signed.size)


def known_here(place: Place, keys_root: Path, reader: LedgerReader, asked: Against) -> Against:
    """What is asked, and what this machine has to check a ledger against: signing states, keys, tokens.

    Read it before the log that is verified: what was signed then is there now, whoever appends. Close its ``scopes``.
    """
    why_not = {}
    genesis = origin = reader.origin()
    ended = []
    with suppress(Exception):  # whatever lies there, the audit says what is wrong with it
        identity = read_identity(reader)
        origin = identity.origin
        for continuation in identity.continuations:
            with suppress(Unavailable, Malformed):
                ended.append(KeyFolder(keys_root, genesis, continuation.continues).signed())
    scopes, why_not["sealed"] = open_scopes(place, keys_root, genesis)
    try:
        signed = KeyFolder(keys_root, genesis, origin).signed()
    except (Unavailable, Malformed) as error:
        signed, why_not["rollback"] = None, f"no signing state to compare with: {error}"
    with suppress(Exception):
        moved = read_moved(reader)
        is_short = signed is not None and signed.size > reader.head().size
        if moved is not None and is_short and moved.destination != place.digest(genesis):
            signed, why_not["rollback"] = None, f"{moved}; what has been signed since lies there"
    return replace(
        asked,
        signed=signed,
        ended=ended,
        scopes=scopes,
        open_scopes=partial(_open_scopes_again, place, keys_root, genesis),
        erasures_now=partial(_erasures_now, place),
        check_projections=check_seals,
        why_not=why_not,
        tokens=place.token,
    )


def _erasures_now(place: Place) -> Erasures:
    with suppress(LedgerError), place.beside() as reader:
        return read_erasures(reader)
    return Erasures()


def _open_scopes_again(place: Place, keys_root: Path, origin: str) -> ScopeKeys | None:
    return open_scopes(place, keys_root, origin)[0]


def _note(text: str) -> bytes:
    """A signed note as a browser sends it: with other line ends, and perhaps without the last."""
    return (_lines(text).rstrip("\n") + "\n").encode()


def _lines(text: str) -> str:
    text = text.replace("\r\n", "\n")
    return text if text.endswith("\n") else text + "\n"


def _named(what: str, parse: Callable[[], T]) -> T:
    try:
        return parse()
    except Malformed as error:
        raise Malformed(f"{what}: {error}") from error
