"""Reviews: what people signed about runs, iterations and ranges of entries; taken in, and verified when they are read.

The reviewer signs with a key that stays where they are; what comes in here is the signed note. Each review is sealed
under a scope of its own, where the reviewer's name has an alias, so that it can be erased with the run that it is
about or with the person who wrote it.
"""

from __future__ import annotations

import secrets
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

from ..domain.errors import Refused
from ..domain.event import Meta, NewEvent, Recorded, Withheld
from ..domain.optimization.events import IterationCompleted
from ..ledger.application import Acknowledged, Ledger
from ..ledger.entries.entry import read_entry
from ..ledger.entries.review import Opinion, Statement, Subject, verify_statement
from ..ledger.errors import Conflict, LedgerError
from ..ledger.events import ReviewSigned
from ..ledger.store.folding import read_identity
from ..ledger.store.opening import EventReader
from ..ledger.tlog.note import VerifierKey, encode_base64, parse_vkey, print_vkey
from .reading import OpenLedger
from .settings import recorder_name

REVIEWER = "reviewer"
"""The kind of alias of a reviewer's name, which is the name of their key."""

STREAM = "review"

_TRIES = 20


@dataclass(frozen=True, slots=True)
class Review:
    """One recorded review.

    What was sealed is None where it is not open, and ``withheld`` then says why. ``problem`` says, in words, in what
    it does not verify: signature, place in the log, or that the open fields are not those that were signed. A review
    without a problem shows that this key signed these words; whose key it is, its reader must know.
    """

    seq: int
    at: str
    subject: Subject
    verdict: Opinion
    size: int
    root: bytes
    reviewer: str | None
    vkey: str | None
    signed_at: str | None
    words: str | None
    note: str | None
    withheld: Literal["closed", "erased"] | None
    problem: str | None

    def as_json(self) -> dict[str, Any]:
        return {
            "seq": self.seq,
            "at": self.at,
            "subject": str(self.subject),
            "verdict": self.verdict,
            "size": self.size,
            "root": self.root.hex(),
            "reviewer": self.reviewer,
            "vkey": self.vkey,
            "signed_at": self.signed_at,
            "words": self.words,
            "statement": self.note,
            "withheld": self.withheld,
            "problem": self.problem,
        }


def reviews_of(ledger: OpenLedger, run: str, before: int | None = None) -> list[Review]:
    """The reviews of a run and of its iterations among the first ``before`` entries, in order, each verified now."""
    return read_reviews(ledger.events, run, before)


def read_reviews(events: EventReader, run: str | None, before: int | None = None) -> list[Review]:
    """As ``reviews_of``; without a run the reviews of ranges of entries."""
    return [
        _review(events, recorded, recorded.event)
        for recorded in events.stream(stream_of_reviews(run), before)
        if isinstance(recorded.event, ReviewSigned)
    ]


def review_at(events: EventReader, seq: int) -> Review:
    """The review that entry ``seq`` is, verified now; ``Refused`` where it is none."""
    recorded = events.event(seq)
    if recorded is None or not isinstance(recorded.event, ReviewSigned):
        raise Refused("review_known", f"entry {seq} is no review")
    return _review(events, recorded, recorded.event)


def record_review(ledger: Ledger, note: bytes, vkey: str, actor: str | None = None) -> Acknowledged:
    """Record a signed statement. The same note again is answered as it was the first time.

    ``vkey`` is the reviewer's public key, which nobody here vouches for; ``actor`` an alias of who hands it in, else
    it is the reviewer's. ``Refused``: ``review_invalid``, ``review_origin``, ``review_size``, ``review_root``,
    ``review_known``.
    """
    try:
        key = parse_vkey(vkey)
        statement = verify_statement(note, key)
    except LedgerError as error:
        raise Refused("review_invalid", str(error)) from error
    stream = stream_of_reviews(statement.subject.run)
    event = ReviewSigned(
        run=statement.subject.run,
        iteration=statement.subject.iteration,
        first=statement.subject.first,
        last=statement.subject.last,
        verdict=statement.verdict,
        size=statement.size,
        root=statement.root.hex(),
        statement=note.decode(),
        vkey=vkey,
    )
    scope = f"{STREAM}/{secrets.token_hex(8)}"
    meta = Meta(recorder=recorder_name(), scope=scope)
    for _ in range(_TRIES):
        with ledger.recorder.reading() as reader:
            events = ledger.event_reader(reader)
            _require_ours(events, statement)
            for recorded in events.stream(stream):
                known = recorded.event
                if isinstance(known, ReviewSigned) and (known.statement, known.vkey) == (event.statement, event.vkey):
                    (row,) = reader.entries(recorded.seq, recorded.seq + 1)
                    return Acknowledged(row.seq, row.leaf)
            pos = reader.next_pos(stream)
        alias = ledger.alias(REVIEWER, key.name, under=scope)
        meta["actor"] = alias if actor is None else actor
        with suppress(Conflict):  # another process was faster
            return ledger.record(NewEvent(stream, pos, event, meta))[0]
    raise Refused("stream_contended", f"stream {stream}: other writers took the place {_TRIES} times")


def stream_of_reviews(run: str | None) -> str:
    """The stream of the reviews of a run and of its iterations; without a run that of ranges of entries."""
    return STREAM if run is None else f"{STREAM}/{run}"


def _require_ours(events: EventReader, statement: Statement) -> None:
    """``Refused`` unless the statement speaks of this log, as it was, and of something that is in it."""
    reader, subject = events.reader, statement.subject
    size = reader.head().size
    if statement.size > size:
        raise Refused("review_size", f"the statement is about {statement.size} entries, this log has {size}")
    origin = read_identity(reader).origin_at(statement.size)
    if statement.origin != origin:
        raise Refused("review_origin", f"the statement is about {statement.origin!r}, this log is {origin!r}")
    root = reader.frontier_at(statement.size).root()
    if statement.root != root:
        raise Refused(
            "review_root",
            f"the reviewer had root {encode_base64(statement.root)} of {statement.size} entries before them, here "
            f"it is {encode_base64(root)}: keep the statement, somebody was shown another history",
        )
    if subject.run is None:
        return
    rows = reader.stream(f"run/{subject.run}", statement.size)
    if next(rows, None) is None:
        raise Refused("review_known", f"run {subject.run!r} is not among the first {statement.size} entries")
    if subject.iteration is None:
        return
    completed = (read_entry(row.raw)["data"] for row in rows if row.type_name == IterationCompleted.type_name)
    if subject.iteration not in (data["iteration"] for data in completed):
        raise Refused("review_known", f"run {subject.run}: iteration {subject.iteration} is not recorded")


def _review(events: EventReader, recorded: Recorded, event: ReviewSigned) -> Review:
    statement: Statement | None = None
    key: VerifierKey | None = None
    withheld = next((field.why for field in (event.statement, event.vkey) if isinstance(field, Withheld)), None)
    problem = event.disagreement()
    if withheld is None and problem is None:
        key = parse_vkey(str(event.vkey))
        statement = verify_statement(str(event.statement).encode(), key)
        problem = _misplaced(events, recorded, statement)
    return Review(
        seq=recorded.seq,
        at=recorded.at,
        subject=event.subject,
        verdict=event.verdict,
        size=event.size,
        root=bytes.fromhex(event.root),
        reviewer=None if key is None else key.name,
        vkey=None if key is None else print_vkey(key),
        signed_at=None if statement is None else statement.at,
        words=None if statement is None else statement.words,
        note=None if withheld is not None else str(event.statement),
        withheld=withheld,
        problem=problem,
    )


def _misplaced(events: EventReader, recorded: Recorded, statement: Statement) -> str | None:
    if recorded.stream != stream_of_reviews(statement.subject.run):
        return f"it stands in stream {recorded.stream}, and is about {statement.subject}"
    if statement.size > recorded.seq:
        return f"it is about {statement.size} entries, and is entry {recorded.seq}"
    try:
        _require_ours(events, statement)
    except Refused as refused:
        return str(refused)
    return None
