"""Statements of reviewers: what a person thinks of a run, an iteration or a range of entries, signed by that person.

A statement is a C2SP signed note under an Ed25519 key (type 0x01) that is the reviewer's own::

    affidavit-review@v1
    origin ledger.example/acme/prod
    subject run 043
    size 97
    root 5ndRP38zc8pbwFyck31wvPWY4mRxOch0vgfS1UjkJUs=
    verdict approve
    at 2026-11-22T10:00:00Z

    The words of the reviewer, in as many lines as they like.

    — ada+review <base64 of key ID and signature>

``subject`` is ``run <id>``, ``iteration <id> <number>`` or ``entries <first> <last>``, both ends included. ``size`` and
``root`` say which log the reviewer had before them. ``at`` is the reviewer's own clock, which nobody vouches for.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, get_args

from ..errors import Malformed
from ..tlog.checkpoint import decode_hash, parse_number
from ..tlog.hashing import HASH_SIZE
from ..tlog.note import VerifierKey, check_name, check_signs_text, encode_base64, open_note
from ..tlog.private_key import NotePrivateKey

FORMAT_LINE = "affidavit-review@v1"
MAX_STATEMENT_BYTES = 64 * 1024

Opinion = Literal["approve", "reject", "question"]
OPINIONS: tuple[Opinion, ...] = get_args(Opinion)

_FIELDS = ("origin", "subject", "size", "root", "verdict", "at")
_RUN = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*", re.ASCII)
_AT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class Subject:
    """What a statement is about: a run, one of its iterations, or the entries ``first`` to ``last``.

    ``Malformed`` unless it is exactly one of them.
    """

    run: str | None = None
    iteration: int | None = None
    first: int | None = None
    last: int | None = None

    def __post_init__(self) -> None:
        if self.run is not None:
            if not _RUN.fullmatch(self.run) or self.first is not None or self.last is not None:
                raise Malformed(f"review: subject is {self}, expected a run's id and no entries")
            if self.iteration is not None and self.iteration < 0:
                raise Malformed(f"review: iteration is {self.iteration}, expected 0 or more")
        elif self.iteration is not None or self.first is None or self.last is None or not 0 <= self.first <= self.last:
            raise Malformed(f"review: subject is {self}, expected a run, or entries from a first to a last")

    def __str__(self) -> str:
        if self.run is None:
            return f"entries {self.first} {self.last}"
        return f"run {self.run}" if self.iteration is None else f"iteration {self.run} {self.iteration}"


@dataclass(frozen=True, slots=True)
class Statement:
    """What a reviewer signs. ``root`` is that of the first ``size`` entries; ``at`` is UTC to the second, with a Z.

    ``Malformed`` where a field cannot be printed and read back the same; ``words`` say something, and neither begin
    nor end in white space.
    """

    origin: str
    subject: Subject
    size: int
    root: bytes
    verdict: Opinion
    at: str
    words: str

    def __post_init__(self) -> None:
        check_name(self.origin)
        if len(self.root) != HASH_SIZE:
            raise Malformed(f"review: root has {len(self.root)} bytes, expected {HASH_SIZE}")
        if self.size < 1 or (self.subject.last is not None and self.subject.last >= self.size):
            raise Malformed(f"review: size is {self.size}, expected a log that holds {self.subject}")
        if self.verdict not in OPINIONS:
            raise Malformed(f"review: verdict is {self.verdict!r}, expected one of {', '.join(OPINIONS)}")
        _check_time(self.at)
        if not self.words or self.words != self.words.strip():
            raise Malformed("review: expected words, without white space around them")


def print_statement(statement: Statement) -> str:
    """The text that is signed."""
    values = (
        statement.origin,
        str(statement.subject),
        str(statement.size),
        encode_base64(statement.root),
        statement.verdict,
        statement.at,
    )
    head = "".join(f"{name} {value}\n" for name, value in zip(_FIELDS, values, strict=True))
    return f"{FORMAT_LINE}\n{head}\n{statement.words}\n"


def parse_statement(text: str) -> Statement:
    """Read a statement's text; ``Malformed`` for all that ``print_statement`` would not have written."""
    first, *lines = text.split("\n", len(_FIELDS) + 2)
    if first != FORMAT_LINE:
        raise Malformed(f"review: first line is {first[:80]!r}, expected {FORMAT_LINE!r}")
    if len(lines) != len(_FIELDS) + 2 or lines[-2] or not lines[-1].endswith("\n"):
        raise Malformed(f"review: expected the lines {', '.join(_FIELDS)}, an empty one, and words")
    values = []
    for name, line in zip(_FIELDS, lines[: len(_FIELDS)], strict=True):
        found, space, value = line.partition(" ")
        if found != name or not space:
            raise Malformed(f"review: expected a line {name!r}, found {line[:80]!r}")
        values.append(value)
    origin, subject, size, root, verdict, at = values
    opinion = next((known for known in OPINIONS if known == verdict), None)
    if opinion is None:
        raise Malformed(f"review: verdict is {verdict[:80]!r}, expected one of {', '.join(OPINIONS)}")
    return Statement(
        origin,
        _parse_subject(subject),
        parse_number(size),
        decode_hash(root),
        opinion,
        at,
        lines[-1].removesuffix("\n"),
    )


def sign_statement(statement: Statement, key: NotePrivateKey) -> bytes:
    """The statement as a note that the reviewer's key signed.

    ``UnsupportedFormat`` unless the key is of type 0x01: the others sign checkpoints only. ``Malformed`` where the
    words hold a control character but newline, or are too long.
    """
    note = key.sign_text(print_statement(statement))
    verify_statement(note, key.verifier_key)  # whatever a reader would refuse is not signed off
    return note


def verify_statement(note: bytes, key: VerifierKey) -> Statement:
    """The statement in a note that ``key`` signed.

    ``VerificationError`` where the signature is wrong or another's, ``Malformed`` where the note or its text is none,
    ``UnsupportedFormat`` for a key that is not of type 0x01.
    """
    check_signs_text(key)
    if len(note) > MAX_STATEMENT_BYTES:
        raise Malformed(f"review: {len(note)} bytes, expected at most {MAX_STATEMENT_BYTES}")
    return parse_statement(open_note(note, [key]))


def _parse_subject(text: str) -> Subject:
    match text.split(" "):
        case ["run", run]:
            return Subject(run=run)
        case ["iteration", run, number]:
            return Subject(run=run, iteration=parse_number(number))
        case ["entries", first, last]:
            return Subject(first=parse_number(first), last=parse_number(last))
    raise Malformed(f"review: subject is {text[:80]!r}, expected run, iteration or entries")


def _check_time(at: str) -> None:
    try:
        if _AT.fullmatch(at):
            datetime.fromisoformat(at)
            return
    except ValueError:
        pass
    raise Malformed(f"review: time is {at[:80]!r}, expected like 2026-11-22T10:00:00Z")
