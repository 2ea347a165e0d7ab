"""A recorded ledger with everything that a page may have to show; tests of pages read it.

``record_world(service, later)`` records it on any service; ``open_world(folder)`` makes a ledger in ``folder``, records
it and gives the service, its judges simulated and its clock at ``NOW``. Recording takes some ten seconds, so tests take
the fixtures of conftest.py, which record once for a test session: ``world`` (a service to read from), ``visitor`` (a
client without a key on this machine), and for tests that record something ``own_world`` and ``own_visitor`` (a copy).

What is in it is named here, in ``world_runs`` and in ``world_sessions``; seqs and aliases are random or move with the
code, and are asked for: ``session_alias(service, SESSION)``, ``seq_of(service, stream)``, ``last_job(service)``.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from hashlib import sha256
from pathlib import Path

from affidavit.api.anchoring import Authority, anchor_now
from affidavit.api.erasing import erase_scopes, plan_run, plan_subject
from affidavit.api.http.app import open_service
from affidavit.api.http.service import Service, Settings
from affidavit.api.moment import LiveLedger
from affidavit.api.record import RecordingLedger
from affidavit.api.reviews import record_review
from affidavit.domain.event import Meta
from affidavit.ledger.application import Edge, Ledger
from affidavit.ledger.entries.review import Opinion, Statement, Subject, sign_statement
from affidavit.ledger.files import lock_file
from affidavit.ledger.store.place import Place
from affidavit.ledger.tlog.checkpoint import Checkpoint
from affidavit.ledger.tlog.cosignature import cosign
from affidavit.ledger.tlog.note import ED25519, ED25519_COSIGNATURE, print_vkey
from affidavit.ledger.tlog.policy import Policy, parse_policy
from affidavit.ledger.tlog.private_key import NotePrivateKey
from affidavit.ledger.tlog.witness import Collected
from affidavit.projections.registry import REGISTRY
from affidavit.tests.authority import Authority as Stamping
from affidavit.tests.authority import serving

from .hostile import ALL
from .world_runs import BETTER, ERASED_RUN, EVEN, HOSTILE_RUN, Later, record_runs
from .world_sessions import ERASED_USER, judging, record_sessions

START = 1_790_000_000_000_000
"""Where the clock of ``open_world`` begins: 2026-09-21T14:13:20Z, in microseconds since 1970. Runs are recorded two
months later, on the last day."""
NAME = "world"
ACTOR = "optimiser@example.org"
ADA = NotePrivateKey("ada@example.org", ED25519, bytes(range(32)))
"""A reviewer: approves ``BETTER`` and its iteration 2, and a range of entries."""
BOB = NotePrivateKey("bob@example.org", ED25519, bytes(range(1, 33)))
"""A reviewer: rejects ``EVEN`` and ``HOSTILE_RUN``, the latter in hostile words."""
WITNESSES = ("w1", "w2")
"""The second was asked for every checkpoint and has answered some only."""


class Clock:
    """Microseconds since 1970, one more at each look."""

    def __init__(self, start: int = START) -> None:
        self.now = start

    def __call__(self) -> int:
        self.now += 1
        return self.now

    def later(self, seconds: float) -> None:
        self.now += int(seconds * 1_000_000)


class _Witnesses:
    """Two witnesses in this process; the second one is away every third time that it is asked."""

    required = False

    def __init__(self, log_vkey: str, clock: Callable[[], int]) -> None:
        self._keys = [
            NotePrivateKey(f"witness.example/{name}", ED25519_COSIGNATURE, sha256(name.encode()).digest())
            for name in WITNESSES
        ]
        self._clock = clock
        self._asked = 0
        named = zip(WITNESSES, self._keys, strict=True)
        lines = [f"witness {name} {print_vkey(key.verifier_key)}" for name, key in named]
        text = [f"log {log_vkey}", *lines, f"group both any {' '.join(WITNESSES)}", "quorum both", ""]
        self.policy: Policy = parse_policy("\n".join(text))

    def collect(self, note: bytes, checkpoint: Checkpoint, prove: Callable[[int], Sequence[bytes]]) -> Collected:
        self._asked += 1
        there = self._keys[: 1 if self._asked % 3 == 0 else 2]
        lines = tuple(cosign(checkpoint, key, self._clock() // 1_000_000) for key in there)
        return Collected(lines, {} if len(there) == 2 else {WITNESSES[1]: "no answer within 5 s"})


def record_world(service: Service, later: Later = lambda _: None) -> None:
    """Record everything, in an order that is always the same. ``later`` moves the service's clock on by seconds."""
    ledger = service.ledger
    recording = RecordingLedger(ledger, ACTOR)
    record_sessions(service, later)
    record_runs(recording, later)
    recording.seal()
    _review(ledger, Subject(run=BETTER), "approve", "I read the diffs and every sample that became worse.", ADA)
    _review(ledger, Subject(run=BETTER, iteration=2), "question", "Which samples became worse?", ADA)
    _review(ledger, Subject(run=EVEN), "reject", "Nothing was gained.", BOB)
    _review(ledger, Subject(run=HOSTILE_RUN), "reject", ALL.strip().translate(_NO_CONTROL), BOB)
    _review(ledger, Subject(run=ERASED_RUN), "approve", "Fine with me.", BOB)
    _review(ledger, Subject(first=100, last=199), "approve", "The first weeks are complete.", ADA)
    later(600)
    ledger.rotate_key(overlap=5, meta=Meta(actor=ledger.alias("actor", "admin@example.org")))
    stamping = Stamping(service.clock)
    with serving(stamping.reply) as url:
        anchor_now(ledger, Authority(url, (stamping.root_pem,)))
    later(600)
    for plan in (plan_run(ledger, ERASED_RUN), plan_subject(service.live, ERASED_USER)):
        for _ in erase_scopes(ledger, plan.scopes, "data_subject_request", "asked for by letter"):
            later(1)
    ledger.sign()
    later(60)


_NO_CONTROL = {code: " " for code in [*range(32), 127, *range(0x80, 0xA0)] if code != 10}


def _review(ledger: Ledger, subject: Subject, verdict: Opinion, words: str, key: NotePrivateKey) -> None:
    with ledger.recorder.reading() as reader:
        head = reader.head()
        root = head.root()
    at = ledger.now()[:19] + "Z"
    note = sign_statement(Statement(ledger.origin, subject, head.size, root, verdict, at, words), key)
    record_review(ledger, note, print_vkey(key.verifier_key))


def make_world(folder: Path) -> int:
    """Record the world in ``folder``, which is made, and close it; where the clock then stands."""
    clock = Clock()
    stream = random.Random(8)
    edge = Edge(clock, stream.randbytes)
    with Ledger.create(
        folder / "ledger", folder / "keys", REGISTRY, name=NAME, edge=edge, sign_in_background=False
    ) as ledger:
        vkey = print_vkey(ledger.verifier_key())
    with ExitStack() as opened:
        witnesses = _Witnesses(vkey, clock)
        ledger = opened.enter_context(
            Ledger(
                folder / "ledger",
                folder / "keys",
                REGISTRY,
                edge=edge,
                sign_in_background=False,
                cosigners=witnesses,
            )
        )
        service = opened.enter_context(open_service(ledger, clock=clock))
        record_world(service, clock.later)
    return clock.now


@contextmanager
def reopen_world(
    folder: Path, now: int, settings: Settings | None = None, *, place: Place | None = None
) -> Iterator[Service]:
    """The service of a world that was made; it signs when it is told to, and its judges work when asked."""
    clock = Clock(now)
    edge = Edge(clock, random.Random(9).randbytes)
    with ExitStack() as opened:
        ledger = opened.enter_context(
            Ledger(place or folder / "ledger", folder / "keys", REGISTRY, edge=edge, sign_in_background=False)
        )
        live = opened.enter_context(closing(LiveLedger(ledger)))
        judges = opened.enter_context(judging(live, clock))
        yield opened.enter_context(open_service(ledger, settings, live=live, judges=judges, clock=clock))


def make_once(folder: Path) -> tuple[Path, int]:
    """Make the world below ``folder``, unless somebody has: its folder, and where its clock stands.

    Safe from the processes of one test session, which share what one of them has made.
    """
    made, stands = folder / "world", folder / "world.now"
    with lock_file(folder / "world.lock"):
        if not stands.exists():
            stands.write_text(str(make_world(made)))
    return made, int(stands.read_text())


@contextmanager
def open_world(folder: Path) -> Iterator[Service]:
    """Make the world in ``folder`` and open it."""
    with reopen_world(folder, make_world(folder)) as service:
        yield service


@contextmanager
def copied_world(made: Path, now: int, folder: Path, settings: Settings | None = None) -> Iterator[Service]:
    """A copy of the world in ``made``, to be changed by one test."""
    for name in ("ledger", "keys"):
        shutil.copytree(made / name, folder / name)
    with reopen_world(folder, now, settings) as service:
        yield service


def session_alias(service: Service, session: str) -> str:
    """The alias under which a session of the world stands in the log and in addresses."""
    return service.ledger.find_aliases("session", session)[0][0]


def seq_of(service: Service, stream: str, type_name: str | None = None) -> int:
    """The seq of the first entry of a stream, or of the first one of a type."""
    with service.ledger.recorder.reading() as reader:
        return next(row.seq for row in reader.stream(stream) if type_name in (None, row.type_name))


def last_job(service: Service) -> str:
    """The id of the job that began last: it is running, since nobody works on it."""
    with service.ledger.recorder.reading() as reader:
        found = {stream: next(iter(reader.stream(stream))).seq for stream in reader.streams("regeneration")}
    return max(found, key=lambda stream: found[stream]).removeprefix("regeneration/")
