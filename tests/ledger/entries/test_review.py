"""Statements of reviewers: what is signed reads back the same, and nothing else does."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from affidavit.domain.event import Withheld
from affidavit.ledger.entries.review import (
    MAX_STATEMENT_BYTES,
    Statement,
    Subject,
    parse_statement,
    print_statement,
    sign_statement,
    verify_statement,
)
from affidavit.ledger.errors import LedgerError, Malformed, UnsupportedFormat, VerificationError
from affidavit.ledger.events import ReviewSigned
from affidavit.ledger.tlog.note import ED25519, ED25519_COSIGNATURE, VerifierKey, print_vkey
from affidavit.ledger.tlog.private_key import NotePrivateKey

ADA = NotePrivateKey("ada@example.org", ED25519, bytes(range(32)))
ROOT = sha256(b"root").digest()
STATEMENT = Statement(
    "ledger.example/acme", Subject(run="043"), 97, ROOT, "approve", "2026-11-22T10:00:00Z", "Fine.\n\n— so far"
)
TEXT = """affidavit-review@v1
origin ledger.example/acme
subject run 043
size 97
root SBNJTRN+FjG7owHVrKtue7eqdM4RhdRWVl71HXN2d7I=
verdict approve
at 2026-11-22T10:00:00Z

Fine.

— so far
"""


def event_of(note: bytes, statement: Statement = STATEMENT, vkey: str = print_vkey(ADA.verifier_key)) -> ReviewSigned:
    about = statement.subject
    return ReviewSigned(
        run=about.run,
        iteration=about.iteration,
        first=about.first,
        last=about.last,
        verdict=statement.verdict,
        size=statement.size,
        root=statement.root.hex(),
        statement=note.decode(),
        vkey=vkey,
    )


def test_a_statement_is_this_text() -> None:
    assert print_statement(STATEMENT) == TEXT
    assert parse_statement(TEXT) == STATEMENT


def test_what_is_signed_verifies_under_the_reviewers_key_and_no_other() -> None:
    note = sign_statement(STATEMENT, ADA)
    assert verify_statement(note, ADA.verifier_key) == STATEMENT
    other = NotePrivateKey(ADA.name, ED25519, bytes(32)).verifier_key
    with pytest.raises(VerificationError, match="none of its 1 signatures"):
        verify_statement(note, other)
    with pytest.raises(VerificationError):
        verify_statement(note.replace(b"approve", b"reject"), ADA.verifier_key)


def test_no_byte_of_a_note_can_be_another() -> None:
    note = sign_statement(STATEMENT, ADA)
    for at in range(len(note)):
        changed = note[:at] + bytes([note[at] ^ 1]) + note[at + 1 :]
        with pytest.raises(LedgerError):
            verify_statement(changed, ADA.verifier_key)


@pytest.mark.parametrize("subject", ["run 043", "iteration 043 0", "iteration a.b 12", "entries 0 96", "entries 5 5"])
def test_a_subject_reads_back_as_it_was(subject: str) -> None:
    text = TEXT.replace("run 043", subject)
    statement = parse_statement(text)
    assert str(statement.subject) == subject
    assert print_statement(statement) == text


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("@v1", "@v2"),
        ("affidavit-review@v1\n", ""),
        ("subject run 043", "subject run"),
        ("subject run 043", "subject run  043"),
        ("subject run 043", "subject run .043"),
        ("subject run 043", "subject run ../043"),
        ("subject run 043", "subject iteration 043"),
        ("subject run 043", "subject iteration 043 -1"),
        ("subject run 043", "subject iteration 043 01"),
        ("subject run 043", "subject entries 5 4"),
        ("subject run 043", "subject entries 0 97"),
        ("subject run 043", "subject entries 1"),
        ("subject run 043", "subject everything"),
        ("size 97", "size 097"),
        ("size 97", "size 0"),
        ("size 97", "Size 97"),
        ("size 97\n", ""),
        ("d7I=", "d7J="),
        ("verdict approve", "verdict Approve"),
        ("verdict approve", "verdict  approve"),
        ("10:00:00Z", "10:00:00"),
        ("10:00:00Z", "25:00:00Z"),
        ("2026-11-22", "2026-02-30"),
        ("origin ledger.example/acme", "origin ledger example"),
        ("Z\n\nFine", "Z\nFine"),
        ("Z\n\nFine", "Z\n\n\nFine"),
        ("so far\n", "so far"),
        ("so far\n", "so far \n"),
        ("so far\n", "so far\n\n"),
        ("Fine.\n\n— so far\n", "\n"),
        ("Fine.\n\n— so far\n", ""),
    ],
)
def test_a_text_that_no_statement_prints_is_refused(old: str, new: str) -> None:
    changed = TEXT.replace(old, new)
    assert changed != TEXT
    with pytest.raises(Malformed):
        parse_statement(changed)


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"], include_characters="\n"), min_size=1))
def test_words_are_kept_as_they_are_or_refused(words: str) -> None:
    try:
        statement = replace(STATEMENT, words=words)
    except Malformed:
        assert words != words.strip() or not words
        return
    assert verify_statement(sign_statement(statement, ADA), ADA.verifier_key) == statement


@pytest.mark.parametrize("words", ["a\tb", "a\rb", "a\x1b[2Jb", "x" * MAX_STATEMENT_BYTES])
def test_words_that_no_note_holds_are_not_signed(words: str) -> None:
    with pytest.raises(Malformed):
        sign_statement(replace(STATEMENT, words=words), ADA)


def test_a_key_that_signs_checkpoints_signs_no_statement() -> None:
    witness = NotePrivateKey("w", ED25519_COSIGNATURE, bytes(32))
    with pytest.raises(UnsupportedFormat):
        sign_statement(STATEMENT, witness)
    with pytest.raises(UnsupportedFormat):
        verify_statement(sign_statement(STATEMENT, ADA), witness.verifier_key)


@pytest.mark.parametrize(
    "subject",
    [{}, {"iteration": 1}, {"first": 1}, {"run": "1", "first": 0, "last": 1}, {"first": 0, "last": 0, "iteration": 1}],
)
def test_an_event_is_about_one_thing(subject: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="expected"):
        ReviewSigned.model_validate(
            {**subject, "verdict": "approve", "size": 9, "root": "0" * 64, "statement": "s", "vkey": "v"}
        )


def test_an_event_agrees_with_the_statement_that_it_holds() -> None:
    assert event_of(sign_statement(STATEMENT, ADA)).disagreement() is None


@pytest.mark.parametrize(
    "signed",
    [
        replace(STATEMENT, verdict="reject"),
        replace(STATEMENT, subject=Subject(run="044")),
        replace(STATEMENT, subject=Subject(run="043", iteration=1)),
        replace(STATEMENT, size=98),
        replace(STATEMENT, root=bytes(32)),
    ],
)
def test_open_fields_that_the_reviewer_did_not_sign_are_told(signed: Statement) -> None:
    told = event_of(sign_statement(signed, ADA)).disagreement()
    assert told is not None
    assert "the reviewer signed" in told


def test_a_statement_that_does_not_verify_is_told_and_a_closed_one_is_not() -> None:
    note = sign_statement(STATEMENT, ADA)
    other = print_vkey(VerifierKey("bob", ED25519, ADA.verifier_key.public_key))
    assert "does not verify" in str(event_of(note, vkey=other).disagreement())
    assert "does not verify" in str(event_of(b"no note").disagreement())
    closed = event_of(note).model_copy(update={"statement": Withheld("d")})
    assert closed.disagreement() is None
