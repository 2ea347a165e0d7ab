"""``affidavit review``, ``affidavit reviews`` and ``affidavit review-key``."""

from __future__ import annotations

import os
import re
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ...domain.errors import Refused
from ...ledger.entries.review import OPINIONS, Statement, Subject, sign_statement
from ...ledger.errors import Unavailable
from ...ledger.store.folding import read_identity
from ...ledger.tlog.checkpoint import Checkpoint, claimed_checkpoint
from ...ledger.tlog.note import ED25519, print_vkey
from ...ledger.tlog.private_key import make_private_key, read_private_key, write_private_key
from ..client import AffidavitClient, ApiError
from ..given_files import read_checkpoint
from ..reading import open_for_reading
from ..reviews import Review, read_reviews, record_review
from ..settings import keys_root, ledger_place
from .opening import open_for_writing
from .output import base64, print_json, say, write_file

_RANGE = re.compile(r"([0-9]{1,18})-([0-9]{1,18})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Asked:
    """What a reviewer wants to sign, as options say it."""

    verdict: str
    words: str
    run: str | None
    iteration: int | None
    entries: str | None
    checkpoint: Path | None


def make_review_key(path: Path, name: str) -> None:
    """Make a key file, which nobody else may read."""
    key = make_private_key(name, ED25519, os.urandom)
    write_private_key(path, key)
    say(f"key      {path}")
    say(f"vkey     {print_vkey(key.verifier_key)}")
    say()
    say("Keep the key to yourself, and give the vkey to whoever will read your reviews.")


def sign_review(
    given: str | None, asked: Asked, key_file: Path, server: str | None, output: Path | None, as_json: bool
) -> None:
    """Sign a statement with the key in a file of this machine, and hand in the signed note."""
    key = read_private_key(key_file)
    head = _server_head(server) if server is not None and asked.checkpoint is None else _head(given, asked.checkpoint)
    note = sign_statement(_statement(asked, head), key)
    vkey = print_vkey(key.verifier_key)
    if server is not None:
        recorded = _hand_in(server, note, vkey)
    else:
        with open_for_writing(given) as ledger:
            seq, leaf = record_review(ledger, note, vkey)
        recorded = {"seq": seq, "leaf_hash": leaf.hex()}
    if output is not None:
        write_file(output, note)
    if as_json:
        print_json({**recorded, "vkey": vkey, "statement": note.decode()})
    else:
        say(f"entry {recorded['seq']}  {asked.verdict}, of {head.size} entries, signed by {key.name}")


def list_reviews(given: str | None, run: str | None, as_of: str | None, as_json: bool) -> int:
    """Show reviews, each verified now; the exit code."""
    with open_for_reading(ledger_place(given), keys_root()) as ledger:
        size = ledger.size_as_of(as_of)
        if run is not None:
            ledger.run(run, size)
        root, found = ledger.root_at(size), read_reviews(ledger.events, run, size)
    if as_json:
        print_json({"size": size, "root": base64(root), "reviews": [review.as_json() for review in found]})
    else:
        for review in found:
            _print_review(review)
        if not found:
            say("no reviews")
    return int(any(review.problem is not None for review in found))


def _print_review(review: Review) -> None:
    who = review.reviewer or f"[{review.withheld or 'not verified'}]"
    say(f"entry {review.seq}  {review.verdict}  {review.subject}, of {review.size} entries, by {who}")
    if review.vkey is not None:
        say(f"  vkey    {review.vkey}")
        say(f"  signed  {review.signed_at} by the reviewer's clock, recorded {review.at}")
    if review.problem is not None:
        say(f"  does not verify: {review.problem}")
    for line in (review.words or "").splitlines():
        say(f"  | {line}")


def _statement(asked: Asked, head: Checkpoint) -> Statement:
    verdict = next((known for known in OPINIONS if known == asked.verdict), None)
    if verdict is None:
        raise Refused("verdict", f"verdict {asked.verdict!r}: expected one of {', '.join(OPINIONS)}")
    at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return Statement(head.origin, _subject(asked), head.size, head.root, verdict, at, asked.words.strip())


def _subject(asked: Asked) -> Subject:
    if asked.entries is None:
        if asked.run is None:
            raise Refused("review_subject", "expected a run, or --entries A-B")
        return Subject(run=asked.run, iteration=asked.iteration)
    if asked.run is not None or asked.iteration is not None:
        raise Refused("review_subject", "expected a run or --entries, not both")
    found = _RANGE.fullmatch(asked.entries)
    if found is None:
        raise Refused("review_subject", f"--entries {asked.entries!r}: expected like 12-96")
    return Subject(first=int(found[1]), last=int(found[2]))


def _head(given: str | None, checkpoint: Path | None) -> Checkpoint:
    """What the reviewer has before them: the log as a kept checkpoint states it, or as it lies here."""
    if checkpoint is not None:  # whose signature it bears does not matter: the log must have this root
        return claimed_checkpoint(read_checkpoint(checkpoint))
    with ledger_place(given).snapshot() as reader:
        head = reader.head()
        return Checkpoint(read_identity(reader).origin_at(head.size), head.size, head.root())


def _server_head(url: str) -> Checkpoint:
    with _answered(), AffidavitClient(url) as client:
        told = client.whoami()
    try:
        return Checkpoint(told["storage_label"], int(told["size"]), b64decode(told["root"], validate=True))
    except (KeyError, TypeError, ValueError) as error:
        raise Unavailable(f"{url}: expected the answer of an Affidavit server") from error


def _hand_in(url: str, note: bytes, vkey: str) -> dict[str, Any]:
    with _answered(), AffidavitClient(url) as client:
        told = client.submit_review(note.decode(), vkey)
    return {name: told[name] for name in ("seq", "leaf_hash")}


@contextmanager
def _answered() -> Iterator[None]:
    try:
        yield
    except ApiError as error:
        raise Unavailable(f"the server said no: {error}") from error
