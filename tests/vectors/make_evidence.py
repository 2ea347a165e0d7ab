"""Write the vectors of evidence: documents that a verifier accepts and refuses, each made of a good one by an edit.

    python tests/vectors/make_evidence.py

A row names its ``base``, the pieces of text that are replaced in it, each of which stands there once, and whether what
comes out is accepted; where it is not, ``kind`` is damage that ``affidavit check`` names, among other perhaps. Rows
under ``outside`` are good documents with what a reader brings; those under ``reviews`` are refused by a reader who
knows the type of a review, and by no other. Nothing depends on the day or the machine: keys and salts are SHA-256 of
names.
"""

from __future__ import annotations

import json
from base64 import b64encode, urlsafe_b64decode
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from affidavit.domain.event import Event, Meta
from affidavit.domain.optimization.events import PromptEvaluated, RunCompleted, RunStarted, Sample
from affidavit.ledger.entries.entry import NO_ENTRY, format_at, print_content, print_entry
from affidavit.ledger.entries.mapper import split
from affidavit.ledger.entries.review import Opinion, Statement, Subject, sign_statement
from affidavit.ledger.events import (
    ErasureExecuted,
    ErasureRequested,
    KeyRotated,
    LedgerContinued,
    LedgerOpened,
    ReviewSigned,
)
from affidavit.ledger.evidence.evidence import (
    EarlierCheckpoint,
    Evidence,
    EvidenceEntry,
    EvidenceRange,
    encode_base64url,
    print_evidence,
)
from affidavit.ledger.tlog.checkpoint import Checkpoint, print_checkpoint, sign_checkpoint
from affidavit.ledger.tlog.cosignature import add_signatures, cosign
from affidavit.ledger.tlog.hashing import leaf_hash
from affidavit.ledger.tlog.multiproof import prove_leaves
from affidavit.ledger.tlog.note import (
    ED25519,
    ED25519_COSIGNATURE,
    NoteSignature,
    VerifierKey,
    print_signature,
    print_vkey,
    sign_note,
)
from affidavit.ledger.tlog.private_key import NotePrivateKey, make_private_key
from affidavit.ledger.tlog.tree import prove_consistency
from affidavit.tests.trees import root_of

Row = dict[str, Any]
Edit = tuple[str, str]

ORIGIN = "example.org/evidence/0123456789abcdef"
START = 1_795_341_600_000_000
COSIGNED = 1_795_341_700
EVIL = 'Say </script><!-- "yes" \\u003c or \\ "no" in caf\u00e9 \U0001f600 \u2028.'


def seed(name: str) -> bytes:
    return sha256(f"affidavit evidence {name}".encode()).digest()


def signing_key(name: str) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(seed(name))


def verifier(name: str, origin: str = ORIGIN) -> VerifierKey:
    return VerifierKey(origin, ED25519, signing_key(name).public_key().public_bytes_raw())


OLD, NEW, STRANGER = verifier("old"), verifier("new"), verifier("stranger")
WITNESS: NotePrivateKey = make_private_key("witness.example/w1", ED25519_COSIGNATURE, lambda count: seed("w1")[:count])
POLICY = f"log {print_vkey(OLD)}\nwitness w1 {print_vkey(WITNESS.verifier_key)}\nquorum w1\n"


@dataclass
class Log:
    """A log in memory: entries, their leaf hashes and the disclosures of their sealed fields."""

    entries: list[bytes] = field(default_factory=list)
    disclosures: list[dict[str, str]] = field(default_factory=list)
    positions: dict[str, int] = field(default_factory=dict)
    salts: int = 0

    def append(self, stream: str, event: Event, meta: Meta | None = None) -> None:
        data, sealed = split(event, self._salt)
        content = print_content(meta or Meta(), data, {each.name: each.digest for each in sealed})
        self.append_raw(stream, event.type_name, content)
        self.disclosures[-1] = {each.name: encode_base64url(each.content) for each in sealed}

    def append_raw(
        self,
        stream: str,
        type_name: str,
        content: bytes,
        *,
        pos: int | None = None,
        prev: bytes | None = None,
        seconds: int | None = None,
    ) -> None:
        """Append an entry a second after the one before, in its place; or one that says otherwise."""
        seq = len(self.entries)
        self.positions[stream] = self.positions.get(stream, -1) + 1
        before = leaf_hash(self.entries[-1]) if seq else NO_ENTRY
        at = format_at(START + (seq if seconds is None else seconds) * 1_000_000)
        place = self.positions[stream] if pos is None else pos
        self.entries.append(print_entry(seq, before if prev is None else prev, at, stream, place, type_name, content))
        self.disclosures.append({})

    @property
    def leaves(self) -> list[bytes]:
        return [leaf_hash(entry) for entry in self.entries]

    def node(self, level: int, index: int) -> bytes:
        return root_of(self.leaves[index << level : (index + 1) << level])

    def checkpoint(self, size: int) -> Checkpoint:
        return Checkpoint(ORIGIN, size, root_of(self.leaves[:size]))

    def sign(self, size: int, *names: str) -> bytes:
        """The checkpoint of a size, signed with the keys of these names in order."""
        checkpoint = self.checkpoint(size)
        first, *others = (sign_checkpoint(checkpoint, signing_key(name)) for name in names)
        return add_signatures(first, [note.decode().rpartition("\n\n")[2] for note in others])

    def evidence(
        self, seqs: Iterable[int], shown: tuple[int, int], note: bytes, vkey: VerifierKey, hidden: Sequence[int] = ()
    ) -> Evidence:
        size = len(self.entries)
        ordered = sorted(seqs)
        return Evidence(
            about={"run": "043"},
            recorder="affidavit/0.1.0",
            at="2026-11-22T11:00:00.000000Z",
            vkey=print_vkey(vkey),
            checkpoint=note.decode(),
            range=EvidenceRange(
                *shown,
                root_of(self.leaves[: shown[0]]),
                root_of(self.leaves[: shown[1]]),
                tuple(prove_consistency(shown[0], size, self.node)),
                tuple(prove_consistency(shown[1], size, self.node)),
            ),
            entries=tuple(
                EvidenceEntry(seq, self.entries[seq].decode(), {} if seq in hidden else self.disclosures[seq])
                for seq in ordered
            ),
            proof=tuple(prove_leaves(ordered, size, self.node)),
        )

    def earlier(self, size: int, *names: str) -> EarlierCheckpoint:
        proof = tuple(prove_consistency(size, len(self.entries), self.node))
        return EarlierCheckpoint(self.sign(size, *names).decode(), None, proof)

    def _salt(self, count: int) -> bytes:
        self.salts += 1
        return seed(f"salt {self.salts}")[:count]


def open_log() -> Log:
    log = Log()
    log.append("ledger", LedgerOpened(format=1, origin=ORIGIN, vkey=print_vkey(OLD)))
    return log


def started(run: str, prompt: str) -> RunStarted:
    return RunStarted(
        run=run,
        directory=run,
        timestamp="2026-11-22T10:00:00Z",
        strategy="example",
        metrics=("exact",),
        threshold=0.9,
        max_iterations=3,
        system_prompt=prompt,
        config={"temperature": 0},
    )


def run_log() -> Log:
    """A run, another run that was erased, and a rotation of the key from ``old`` to ``new``."""
    log = open_log()
    samples = (
        Sample(id="s1", input="Is water wet?", response="Yes.", ideal="yes", score=1.0),
        Sample(id="s2", input="Is fire cold?", response="Maybe.", ideal="no", score=0.25),
    )
    log.append("run/043", started("043", EVIL))
    log.append("run/044", started("044", "This was erased."))
    log.append(
        "run/043",
        PromptEvaluated(
            evaluation=0, prompt=0, purpose="train", score=0.625, n=2, failed=0, detail_mean=0.625, samples=samples
        ),
        Meta(actor="actor-1f2e3d4c5b6a7988", cause=1),
    )
    log.append("run/043", RunCompleted(reason="budget", converged=False, best=0, eval_tokens=812))
    log.append("erasure", ErasureRequested(scope="run/044", reason="request"))
    log.append(
        "erasure",
        ErasureExecuted(scope="run/044", reason="request", requested=5, key_fingerprint="5f" * 32, aliases=0),
    )
    log.append("ledger", KeyRotated(old=print_vkey(OLD), new=print_vkey(NEW), first=8, last=10))
    for run in ("045", "046", "047", "048"):
        log.append(f"run/{run}", started(run, "Nothing of this is shown."))
    return log


CARRIED = (0, 1, 2, 4, 5, 6, 7)
SHOWN = (1, 6)


def run_evidence(log: Log, *names: str, cosigned: bool = True) -> Evidence:
    """Entry 3 is left out, entry 2 is closed by an erasure, entry 1 is open; the old key vouches at size 9."""
    size = len(log.entries)
    note = log.sign(size, *(names or ("new",)))
    if cosigned:
        note = add_signatures(note, [cosign(log.checkpoint(size), WITNESS, COSIGNED)])
    evidence = log.evidence(CARRIED, SHOWN, note, NEW, hidden=[2])
    return replace(evidence, anchors=(log.earlier(9, "old", "new"),), policy=POLICY, body="5f" * 32)


def plain_log(size: int) -> Log:
    """A log without rotation: entry 0, and the starts of runs."""
    log = open_log()
    for seq in range(1, size):
        log.append(f"run/{seq:03}", started(f"{seq:03}", "Answer."))
    return log


def plain_evidence(log: Log, seqs: Iterable[int], shown: tuple[int, int]) -> Evidence:
    evidence = log.evidence(seqs, shown, log.sign(len(log.entries), "old"), OLD)
    return replace(evidence, about={"from": "2026-11-22", "to": "2026-11-23"})


def bases() -> dict[str, Evidence]:
    """Good documents by name."""
    return {
        "run": run_evidence(run_log()),
        "one entry": plain_evidence(plain_log(1), [0], (0, 1)),
        "no range": plain_evidence(plain_log(5), [0, 4], (2, 2)),
        "whole log": plain_evidence(plain_log(7), range(7), (0, 7)),
        "scattered": plain_evidence(plain_log(130), [0, 1, 63, 64, 65, 127, 128, 129], (60, 129)),
    }


def re_signed() -> Iterator[tuple[str, str, Evidence, str]]:
    """What a dishonest operator signs: every proof and signature holds, and the log is none."""
    content = print_content(Meta(), {}, {})
    whole = range(4)

    def bad(**changes: Any) -> Evidence:
        log = plain_log(3)
        log.append_raw("run/002", "run.noted.v1", content, **changes)
        return plain_evidence(log, whole, (0, 4))

    yield "another link", "entry_modified", bad(prev=b"\x5f" * 32), "an entry holds the leaf hash of the one before"
    yield "a time before", "order_broken", bad(seconds=1), "times never run backwards"
    yield "a position twice", "order_broken", bad(pos=0), "positions rise within their stream"
    log = plain_log(3)
    log.entries.append(log.entries[2])
    log.disclosures.append({})
    yield "an entry twice", "order_broken", plain_evidence(log, whole, (0, 4)), "an entry says its own seq"
    log = plain_log(3)
    log.append_raw("run/002", "run.noted.v1", content.replace(b'"data":', b'"data": '))
    yield "white space in an entry", "non_canonical", plain_evidence(log, whole, (0, 4)), "an entry has one spelling"
    log = plain_log(3)
    log.append_raw("run/002", "run.noted.v1", content.replace(b'"data":{}', b'"data":{"a":1,"a":2}'))
    yield "a key twice in an entry", "non_canonical", plain_evidence(log, whole, (0, 4)), "an entry has one spelling"
    log = Log()
    log.append("ledger", LedgerOpened(format=1, origin=ORIGIN, vkey=print_vkey(STRANGER)))
    yield "opened with another key", "unknown_key", plain_evidence(log, [0], (0, 1)), "entry 0 names the key"
    log = Log()
    log.append("run/001", started("001", "Answer."))
    yield "not opened", "wrong_ledger", plain_evidence(log, [0], (0, 1)), "entry 0 says whose log it is"
    log = open_log()
    log.append("ledger", LedgerOpened(format=1, origin=ORIGIN, vkey=print_vkey(STRANGER)))
    yield "opened twice", "wrong_ledger", plain_evidence(log, [0, 1], (0, 2)), "a log is opened once"
    log = open_log()
    log.append("ledger", KeyRotated(old=print_vkey(STRANGER), new=print_vkey(NEW), first=2, last=3))
    yield (
        "rotated from another key",
        "wrong_ledger",
        plain_evidence(log, [0, 1], (0, 2)),
        "the key that signs is replaced",
    )
    log = open_log()
    log.append("ledger", KeyRotated(old=print_vkey(OLD), new=print_vkey(NEW), first=5, last=6))
    yield "rotated without overlap", "wrong_ledger", plain_evidence(log, [0, 1], (0, 2)), "both keys sign the entry"
    log = run_log()
    yield "signed by the old key", "key_out_of_range", run_evidence(log, "old"), "its sizes have ended"
    yield "signed by both keys", "key_out_of_range", run_evidence(log, "new", "old"), "the old key's sizes have ended"
    evidence = run_evidence(log)
    earlier = (log.earlier(9, "new"),)
    yield (
        "earlier by the new key alone",
        "key_out_of_range",
        replace(evidence, anchors=earlier),
        "both sign the overlap",
    )
    without = log.evidence([seq for seq in CARRIED if seq != 7], SHOWN, evidence.checkpoint.encode(), NEW, hidden=[2])
    yield "rotation left out", "unknown_key", without, "stream ledger is carried whole"
    other = (log.evidence([0], SHOWN, evidence.checkpoint.encode(), NEW).proof, evidence.entries[:1])
    yield (
        "vkey of the old key",
        "unknown_key",
        replace(evidence, vkey=print_vkey(OLD)),
        "the key of the checkpoint's size",
    )
    yield "proof of fewer entries", "entry_modified", replace(evidence, proof=other[0]), "the proof is of these entries"
    stranger = sign_note(print_checkpoint(log.checkpoint(12)), ORIGIN, signing_key("stranger")).decode()
    yield "signed by a stranger", "unknown_key", replace(evidence, checkpoint=stranger), "a key of the log signs"


def of_another_grammar() -> Iterator[tuple[str, str, Evidence, str]]:
    """Entries that are none, signed all the same."""
    content = print_content(Meta(), {}, {})
    digest = "A" * 43

    def bad(old: bytes, new: bytes) -> Evidence:
        log = plain_log(3)
        log.append_raw("run/002", "run.noted.v1", content)
        entry = log.entries[3]
        if entry.count(old) != 1:
            raise RuntimeError(f"{old!r} stands {entry.count(old)} times in an entry")
        log.entries[3] = entry.replace(old, new)
        return plain_evidence(log, [0, 3], (0, 4))

    data, sealed, meta = b'"data":{}', b'"sealed":{}', b'"meta":{}'
    for name, old, new, why in (
        ("a stream of no form", b'"run/002"', b'"RUN 002"', "streams have a form"),
        ("a stream with a leading dot", b'"run/002"', b'"run/.002"', "streams have a form"),
        ("a type of no form", b'"run.noted.v1"', b'"noted"', "types have a form"),
        ("a position as text", b'"pos":1', b'"pos":"1"', "a position is a number"),
        ("a position below 0", b'"pos":1', b'"pos":-1', "positions count from 0"),
        ("meta a list", meta, b'"meta":[]', "an object"),
        ("data a list", data, b'"data":[]', "an object"),
        ("an actor that is a number", meta, b'"meta":{"actor":1}', "known keys of meta have a type"),
        ("a cause below 0", meta, b'"meta":{"cause":-1}', "known keys of meta have a type"),
        ("a field open and sealed", b'"data":{},"sealed":{}', f'"data":{{"a":1}},"sealed":{{"a":"{digest}"}}'.encode(),
         "a field stands once"),
        ("a digest that is none", sealed, b'"sealed":{"a":"xx"}', "digests have a form"),
        ("a digest that is not canonical", sealed, f'"sealed":{{"a":"{digest[:-1]}B"}}'.encode(), "unused bits are 0"),
        ("an entry too long", data, b'"data":{"a":"' + b"x" * 65_535 + b'"}', "at most 65,535 bytes"),
        ("a time in the year 0", b'"at":"2026-', b'"at":"0000-', "a time that exists"),
        ("a time on no day", b"-11-22T", b"-11-31T", "a time that exists"),
    ):  # fmt: skip
        yield name, "non_canonical", bad(old, new), why
    log = plain_log(3)
    log.entries[0] = log.entries[0].replace(b"0" * 64, b"0" * 63 + b"1", 1)
    shown = plain_evidence(log, [0, 2], (0, 3))
    yield "entry 0 chained onto something", "entry_modified", shown, "the first entry holds 64 zeros"


def named_otherwise() -> Iterator[tuple[str, str, Evidence, str]]:
    """Logs that say of themselves what may not be said of a log: who signs, under which name."""
    other = "example.org/other/aaaaaaaaaaaaaaaa"
    second, third = verifier("second", other), verifier("third")
    going_on: dict[str, Any] = {"signed_size": 5, "signed_root": "ab" * 32, "reason": "restored"}

    def opened(data: dict[str, Any], vkey: str, origin: str = ORIGIN) -> Evidence:
        log = Log()
        log.append_raw("ledger", "ledger.opened.v1", print_content(Meta(), data, {}))
        note = sign_checkpoint(replace(log.checkpoint(1), origin=origin), signing_key("old"))
        return replace(log.evidence([0], (0, 1), note, OLD), vkey=vkey)

    def then(type_name: str, data: dict[str, Any], names: Sequence[str], by: VerifierKey = OLD) -> Evidence:
        log = open_log()
        log.append_raw("ledger", type_name, print_content(Meta(), data, {}))
        note = log.sign(2, *names)
        if by.name != ORIGIN:
            note = sign_checkpoint(replace(log.checkpoint(2), origin=by.name), signing_key(names[0]))
        return log.evidence([0, 1], (0, 2), note, by)

    log = open_log()
    for origin, key, before in ((other, second, ORIGIN), (ORIGIN, third, other)):
        log.append("ledger", LedgerContinued(origin=origin, vkey=print_vkey(key), continues=before, **going_on))
    yield (
        "back to an earlier origin",
        "wrong_ledger",
        log.evidence(range(3), (0, 3), log.sign(3, "third"), third),
        "an origin is new among all earlier ones",
    )
    for name, data in (
        ("format 2 of the log", {"format": 2, "origin": ORIGIN, "vkey": print_vkey(OLD)}),
        ("format as text", {"format": "1", "origin": ORIGIN, "vkey": print_vkey(OLD)}),
        ("format true", {"format": True, "origin": ORIGIN, "vkey": print_vkey(OLD)}),
        ("no format", {"origin": ORIGIN, "vkey": print_vkey(OLD)}),
        ("opened with one field more", {"format": 1, "origin": ORIGIN, "vkey": print_vkey(OLD), "more": 1}),
    ):
        yield name, "wrong_ledger", opened(data, print_vkey(OLD)), "entry 0 has exactly its fields"
    for origin in (
        "x",
        "example.org/0123456789ABCDEF",
        "a/b/c/d/e/0123456789abcdef",
        "b\u0430nk.example/0123456789abcdef",
    ):
        vkey = print_vkey(verifier("old", origin))
        document = opened({"format": 1, "origin": origin, "vkey": vkey}, vkey, origin)
        yield f"origin {origin!a}", "wrong_ledger", document, "origins have a form"
    rotated = {"old": print_vkey(OLD), "new": print_vkey(NEW), "first": 1, "last": 2}
    for name, data in (
        ("rotated to a size as text", {**rotated, "last": "2"}),
        ("rotated from true on", {**rotated, "first": True}),
        ("rotated with one field more", {**rotated, "more": 1}),
        ("rotated to a key with a space", {**rotated, "new": print_vkey(NEW) + " "}),
    ):
        document = then("key.rotated.v1", data, ("old", "new"))
        yield name, "wrong_ledger", document, "the event has exactly its fields"
    continued = {"origin": other, "vkey": print_vkey(second), "continues": ORIGIN, **going_on}
    for name, data in (
        ("continued without a size", {key: value for key, value in continued.items() if key != "signed_size"}),
        ("continued with a root that is none", {**continued, "signed_root": "ab"}),
        ("continued for a reason of no form", {**continued, "reason": "It was restored."}),
    ):
        document = then("ledger.continued.v1", data, ("second",), second)
        yield name, "wrong_ledger", document, "the event has exactly its fields"
    point = bytes([1]) + bytes(31)
    key_id = sha256(ORIGIN.encode() + b"\n\x01" + point).digest()[:4]
    vkey = f"{ORIGIN}+{key_id.hex()}+{b64encode(bytes([ED25519]) + point).decode()}"
    document = opened({"format": 1, "origin": ORIGIN, "vkey": vkey}, vkey)
    text = document.checkpoint.rpartition("\n\n")[0]
    line = print_signature(NoteSignature(ORIGIN, key_id, point + bytes(32)))
    yield (
        "a key of low order",
        "wrong_ledger",
        replace(document, checkpoint=f"{text}\n\n{line}"),
        "under it one signature fits many texts",
    )


def disclosed_otherwise() -> Iterator[tuple[str, str, Evidence, str]]:
    """Disclosures that two readers could read as two texts, bound by their entries."""

    def bound(content: bytes) -> Evidence:
        text = encode_base64url(content)
        log = open_log()
        digest = encode_base64url(sha256(text.encode()).digest())
        log.append_raw("run/001", "run.noted.v1", print_content(Meta(), {}, {"x": digest}))
        log.disclosures[-1] = {"x": text}
        return plain_evidence(log, [0, 1], (0, 2))

    def of(value: str) -> bytes:
        return f'["{"A" * 22}","x",{value}]'.encode()

    for name, content, why in (
        ("a key twice in a disclosure", of('{"a":1,"a":2}'), "keys are unique"),
        ("a key twice by an escape", of('{"a":1,"\\u0061":2}'), "keys are unique"),
        ("NaN in a disclosure", of("NaN"), "numbers are finite"),
        ("an infinite number in a disclosure", of("1e999"), "numbers are finite"),
        ("an integer past every number", of("1" * 400), "numbers are finite"),
        ("half of a pair in a disclosure", of('"\\ud800"'), "no lone surrogate"),
        ("half of a pair in a key", of('{"\\udc00":1}'), "no lone surrogate"),
        ("a byte order mark in a disclosure", b"\xef\xbb\xbf" + of("1"), "UTF-8 without a byte order mark"),
        ("a disclosure in UTF-16", of("1").decode().encode("utf-16"), "UTF-8"),
        ("a disclosure that is no UTF-8", of('"?"').replace(b"?", b"\xff"), "UTF-8"),
        ("two values in a disclosure", of("1") + b"1", "one value"),
        ("a salt that is none", of("1").replace(b"A" * 22, b"A" * 21), "22 characters of base64url"),
    ):
        yield name, "payload_mismatch", bound(content), why


def witnessed_otherwise() -> Iterator[tuple[str, str, Evidence, str]]:
    """Policies and cosignatures that are none."""
    log = run_log()
    evidence = run_evidence(log)
    for name, policy, why in (
        ("a policy without quorum", POLICY.replace("quorum w1\n", ""), "one quorum line"),
        ("a policy with two quorums", POLICY + "quorum none\n", "one quorum line"),
        ("a policy of another word", POLICY + "witnesses w1\n", "known words"),
        ("a policy cut off", POLICY[:-1], "its last line ends"),
        ("a policy of an unknown witness", POLICY.replace("quorum w1", "quorum w2"), "names are defined first"),
        ("a witness without key", "witness w1\nquorum none\n", "a witness has a key"),
        ("a witness twice", POLICY.replace("quorum", f"witness w2 {print_vkey(WITNESS.verifier_key)}\nquorum"),
         "one line for a key"),
        ("a group of nobody", POLICY.replace("quorum", "group g 1 w2\nquorum"), "members are defined first"),
        ("a comment that is nearly ours", POLICY + "#Affidavit-range\n", "what narrows a key is exact"),
    ):  # fmt: skip
        yield name, "malformed", replace(evidence, policy=policy), why
    own = make_private_key(ORIGIN, ED25519_COSIGNATURE, lambda count: seed("new")[:count])
    policy = f"witness w1 {print_vkey(own.verifier_key)}\nquorum w1\n"
    note = add_signatures(log.sign(12, "new"), [cosign(log.checkpoint(12), own, COSIGNED)])
    document = replace(evidence, checkpoint=note.decode(), policy=policy)
    yield "a log that is its own witness", "checkpoint_invalid", document, "one key has one role"
    time = 2**63
    message = f"cosignature/v1\ntime {time}\n{print_checkpoint(log.checkpoint(12))}".encode()
    line = NoteSignature(WITNESS.name, WITNESS.verifier_key.key_id, time.to_bytes(8, "big") + WITNESS.sign(message))
    note = add_signatures(log.sign(12, "new"), [print_signature(line)])
    yield "cosigned past all times", "checkpoint_invalid", replace(evidence, checkpoint=note.decode()), "below 2^63"


def reviewed() -> Iterator[tuple[str, Evidence, str]]:
    """Reviews that were signed of something else than their entries say."""
    key = make_private_key("ada.review", ED25519, lambda count: seed("ada")[:count])

    def review(origin: str = ORIGIN, said: Opinion = "approve", size: int = 2, signed: bytes | None = None) -> Evidence:
        log = plain_log(2)
        found = log.checkpoint(2).root if signed is None else signed
        statement = Statement(origin, Subject(run="001"), size, found, said, "2026-11-22T10:00:00Z", "Fine.")
        note = sign_statement(statement, key).decode()
        vkey = print_vkey(key.verifier_key)
        log.append(
            "review/001",
            ReviewSigned(run="001", verdict="approve", size=2, root=found.hex(), statement=note, vkey=vkey),
        )
        document = plain_evidence(log, range(3), (0, 3))
        return replace(document, anchors=(log.earlier(2, "old"),))

    yield "a review", review(), ""
    other = "other.example/log/ffffffffffffffff"
    yield "a review of another log", review(origin=other), "it names the log"
    yield "a review that says otherwise", review(said="reject"), "the open fields are the signed ones"
    yield "a review of another size", review(size=3), "the open fields are the signed ones"
    yield "a review of another root", review(signed=b"\7" * 32), "the root is the log's at that size"


def edits() -> Iterator[tuple[str, str, str, Sequence[Edit], str]]:
    """(name, base, kind, what is replaced, why) of what is refused."""
    document = bases()["run"]
    log = run_log()
    good = print_evidence(document).decode()
    hashes = [b64encode(each).decode() for each in document.proof]
    opened = document.entries[1].disclosures
    prompt, config = opened["system_prompt"], opened["config"]
    cut = len('{"format":"affidavit-evidence@v1"')

    yield "format 2", "run", "unsupported", [("evidence@v1", "evidence@v2")], "another format is not read"
    yield "another format", "run", "malformed", [("affidavit-evidence@v1", "evidence")], "the format is named first"
    yield "white space", "run", "malformed", [('"about":', '"about": ')], "no white space between tokens"
    yield (
        "escaped slash",
        "run",
        "malformed",
        [("affidavit/0.1.0", "affidavit\\/0.1.0")],
        "only what must be is escaped",
    )
    yield (
        "a key twice",
        "run",
        "malformed",
        [(good[:cut], good[:cut] + ',"format":"affidavit-evidence@v1"')],
        "keys are unique",
    )
    yield "one key more", "run", "malformed", [('"vkey":', '"more":1,"vkey":')], "these keys and no others"
    yield "one key less", "run", "malformed", [(',"body":"' + "5f" * 32 + '"', "")], "all of these keys"
    yield "keys in another order", "run", "malformed", [
        (f'"policy":{text(POLICY)},"body":"{"5f" * 32}"', f'"body":"{"5f" * 32}","policy":{text(POLICY)}')
    ], "keys in this order"  # fmt: skip
    yield "a newline at the end", "run", "malformed", [("5f" * 32 + '"}', "5f" * 32 + '"}\n')], "no newline"
    yield "about nothing", "run", "malformed", [('{"run":"043"}', "{}")], "a run or a window"
    yield "about both", "run", "malformed", [('{"run":"043"}', '{"run":"043","from":"","to":""}')], "a run or a window"
    yield "about a number", "run", "malformed", [('{"run":"043"}', '{"run":43}')], "a run's name is text"
    yield "made at no time", "run", "malformed", [("2026-11-22T11:", "2026-11-22T24:")], "a real UTC time"
    yield "made by a number", "run", "malformed", [('"affidavit/0.1.0"', "1")], "who made it is text"
    yield "body in upper case", "run", "malformed", [("5f" * 32 + '"}', "5F" * 32 + '"}')], "lower-case hex digits"
    yield "body cut", "run", "malformed", [('"body":"5f', '"body":"')], "64 hex digits"
    yield (
        "cut off",
        "run",
        "malformed",
        [('"policy":' + text(POLICY) + ',"body":"' + "5f" * 32 + '"}', "")],
        "one value",
    )
    yield (
        "entries an object",
        "no range",
        "malformed",
        [('"entries":[', '"entries":{'), ('],"proof":', '},"proof":')],
        "a list",
    )
    yield "seq as text", "run", "malformed", [('{"seq":4,', '{"seq":"4",')], "seq is a number"
    yield "seq with a fraction", "run", "malformed", [('{"seq":4,', '{"seq":4.0,')], "integers only"
    yield "entries out of order", "run", "malformed", [('{"seq":4,', '{"seq":1,')], "seqs rise"
    yield "entry 0 left out", "whole log", "malformed", [(entry_of(bases()["whole log"], 0), "")], "entry 0 is carried"
    yield "range backwards", "run", "malformed", [('"first":1,"stop":6', '"first":6,"stop":1')], "from first to stop"
    yield "range negative", "run", "malformed", [('"first":1,"stop":6', '"first":-1,"stop":6')], "sizes count from 0"
    yield (
        "vkey of another name",
        "run",
        "unknown_key",
        [(f'"vkey":"{ORIGIN}', '"vkey":"example.org/other')],
        "name and ID agree",
    )
    yield "token no base64", "run", "malformed", [('"token":null', '"token":"?"')], "base64"
    yield "hash too short", "run", "malformed", [(hashes[0], hashes[0][4:])], "hashes have 32 bytes"
    yield "base64 not canonical", "run", "malformed", [(hashes[0], _loosen(hashes[0]))], "the unused bits are zero"

    yield (
        "an entry changed",
        "run",
        "entry_modified",
        [('eval_tokens\\":812', 'eval_tokens\\":813')],
        "leaves are hashed",
    )
    yield "an entry at another place", "run", "order_broken", [('{"seq":4,', '{"seq":3,')], "an entry says its own seq"
    yield "an entry left out", "run", "entry_modified", [(entry_of(document, 6), "")], "the proof is of these entries"
    yield (
        "an entry past the log",
        "run",
        "order_broken",
        [('{"seq":7,"entry"', '{"seq":12,"entry"')],
        "only what is signed",
    )
    yield (
        "a hash of the proof changed",
        "run",
        "entry_modified",
        [(hashes[0], b64encode(bytes(32)).decode())],
        "the root follows",
    )
    yield "a hash of the proof left out", "run", "entry_modified", [(f'"{hashes[0]}",', "")], "as many hashes as needed"
    yield "a hash of the proof more", "run", "entry_modified", [
        (f'"proof":["{hashes[0]}"', f'"proof":["{hashes[0]}","{hashes[0]}"')
    ], "as many hashes as needed"  # fmt: skip
    yield "hashes of the proof swapped", "run", "entry_modified", [
        (f'"{hashes[0]}","{hashes[1]}"', f'"{hashes[1]}","{hashes[0]}"')
    ], "in their order"  # fmt: skip
    shown = document.range
    for name, end, proof in (
        ("first", shown.root_first, shown.proof_first),
        ("stop", shown.root_stop, shown.proof_stop),
    ):
        said = b64encode(end).decode()
        yield f"another root at the {name}", "run", "proof_invalid", [
            (f'"root_{name}":"{said}"', f'"root_{name}":"{b64encode(bytes(32)).decode()}"')
        ], "the signed log extends it"  # fmt: skip
        printed = ",".join(f'"{b64encode(each).decode()}"' for each in proof)
        yield f"no proof of the {name}", "run", "proof_invalid", [
            (f'"proof_{name}":[{printed}]', f'"proof_{name}":[]')
        ], "the signed log extends it"  # fmt: skip
    yield (
        "range past the log",
        "run",
        "proof_invalid",
        [('"first":1,"stop":6', '"first":1,"stop":60')],
        "only what is signed",
    )
    yield (
        "range widened",
        "run",
        "proof_invalid",
        [('"first":1,"stop":6', '"first":1,"stop":7')],
        "a root is of its size",
    )

    yield "a text changed", "run", "payload_mismatch", [(prompt, _other_text(prompt))], "the entry binds the disclosure"
    yield "texts swapped", "run", "payload_mismatch", [
        (f'"system_prompt":"{prompt}"', f'"system_prompt":"{config}"')
    ], "the entry binds it to the field"  # fmt: skip
    yield "a field that is not sealed", "run", "payload_mismatch", [
        (f'"system_prompt":"{prompt}"', f'"another":"{prompt}"')
    ], "only sealed fields are disclosed"  # fmt: skip
    yield "a disclosure padded", "run", "malformed", [(f'"{config}"', f'"{config}="')], "base64url without padding"
    yield "a disclosure that is a number", "run", "malformed", [(f'"{config}"', "1")], "a disclosure is text"

    note = document.checkpoint
    yield (
        "another size signed",
        "run",
        "checkpoint_invalid",
        [(f'"checkpoint":"{ORIGIN}\\n12', f'"checkpoint":"{ORIGIN}\\n13')],
        "all is of one size",
    )
    root = b64encode(log.checkpoint(12).root).decode()
    other = b64encode(log.checkpoint(11).root).decode()
    yield (
        "another root signed",
        "run",
        "checkpoint_invalid",
        [(f"\\n12\\n{root}", f"\\n12\\n{other}")],
        "the signature covers it",
    )
    line = note.rpartition("\n\n")[2].split("\n")[0]
    yield "a signature changed", "run", "checkpoint_invalid", [(line, line[:-10] + _swap(line[-10:]))], "it is verified"
    yield (
        "no signature",
        "run",
        "checkpoint_invalid",
        [(text(note), text(note.partition("\n\n")[0] + "\n"))],
        "a note is signed",
    )
    yield (
        "an extension line",
        "run",
        "checkpoint_invalid",
        [(f"\\n12\\n{root}\\n", f"\\n12\\n{root}\\nmore\\n")],
        "three lines",
    )
    cosignature = note.rpartition("\n\n")[2].split("\n")[1]
    yield "a cosignature changed", "run", "checkpoint_invalid", [
        (cosignature, cosignature[:-10] + _swap(cosignature[-10:]))
    ], "a known witness's line that is wrong rejects the note"  # fmt: skip
    earlier = b64encode(log.checkpoint(9).root).decode()
    yield (
        "another earlier root",
        "run",
        "proof_invalid",
        [(f"\\n9\\n{earlier}", f"\\n9\\n{other}")],
        "the newest extends it",
    )
    yield (
        "another earlier size",
        "run",
        "proof_invalid",
        [(f"\\n9\\n{earlier}", f"\\n8\\n{earlier}")],
        "a root is of its size",
    )


def outside() -> Iterator[Row]:
    """What a reader brings, and what then comes of a good document."""
    log = run_log()

    def row(name: str, verdict: str, why: str, vkeys: Sequence[VerifierKey] = (), pinned: Sequence[bytes] = ()) -> Row:
        brought = {"vkeys": [print_vkey(key) for key in vkeys], "pinned": [note.decode() for note in pinned]}
        return {"name": name, "base": "run", **brought, "verdict": verdict, "why": why}

    yield row("the key that signed", "ok", "it is named as yours", [NEW])
    yield row("the first key", "ok", "it signed the checkpoint that covers the rotation", [OLD])
    yield row("a stranger's key", "not_proven", "no key of yours signed", [STRANGER])
    yield row("the key of another log", "not_proven", "it is of another log", [verifier("old", "example.org/other")])
    yield row("the same checkpoint", "ok", "the same root", pinned=[log.sign(12, "new")])
    yield row("an earlier checkpoint", "ok", "the same root at that size", pinned=[log.sign(9, "old", "new")])
    yield row("the start of the range", "ok", "the same root at that size", pinned=[log.sign(1, "old")])
    yield row("a size without proof", "not_proven", "nothing leads from there", pinned=[log.sign(8, "old", "new")])
    yield row("a larger checkpoint", "not_proven", "the document is older", pinned=[_forked(13)])
    stranger = sign_note(print_checkpoint(log.checkpoint(12)), ORIGIN, signing_key("stranger"))
    yield row("a checkpoint of a stranger's", "not_proven", "no key of the log signed it", pinned=[stranger])
    lie = sign_note(print_checkpoint(replace(log.checkpoint(12), root=bytes(32))), ORIGIN, signing_key("stranger"))
    yield row("another root of a stranger's", "not_proven", "no key of the log signed it", pinned=[lie])
    yield row("another history", "fork", "another root at that size", pinned=[_forked(12)])
    yield row("another history, earlier", "fork", "another root at that size", pinned=[_forked(6, "old")])


def _forked(size: int, name: str = "new") -> bytes:
    """What the same key signed of another history."""
    log = open_log()
    for run in range(1, size):
        log.append(f"run/{run:03}", started(f"{run:03}", "Another history."))
    return log.sign(size, name)


def entry_of(evidence: Evidence, seq: int) -> str:
    """How an entry stands in a document that goes on after it, with the comma."""
    (item,) = (each for each in evidence.entries if each.seq == seq)
    return text({"seq": seq, "entry": item.entry, "disclosures": item.disclosures}) + ","


def text(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _loosen(encoded: str) -> str:
    """The same bytes in base64 that is not canonical."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    return encoded[:-2] + alphabet[alphabet.index(encoded[-2]) + 1] + "="


def _other_text(disclosure: str) -> str:
    content = urlsafe_b64decode(disclosure + "=" * (-len(disclosure) % 4))
    return encode_base64url(content.replace(b"Say", b"Pay"))


def _swap(encoded: str) -> str:
    return (
        "".join("B" if character == "A" else "A" if character.isalnum() else character for character in encoded[:4])
        + encoded[4:]
    )


def make() -> str:
    documents = {name: print_evidence(evidence).decode() for name, evidence in bases().items()}
    rows: list[Row] = [
        {"name": name, "base": name, "edits": [], "verdict": "accept", "why": "nothing is wrong"} for name in documents
    ]
    for name, base, kind, pieces, why in edits():
        for old, _ in pieces:
            if documents[base].count(old) != 1:
                raise RuntimeError(f"{name}: {old!r} stands {documents[base].count(old)} times in {base!r}")
        replaced = [list(piece) for piece in pieces]
        rows.append({"name": name, "base": base, "edits": replaced, "verdict": "reject", "kind": kind, "why": why})
    signed = (re_signed, of_another_grammar, named_otherwise, disclosed_otherwise, witnessed_otherwise)
    for name, kind, evidence, why in (row for each in signed for row in each()):
        documents[name] = print_evidence(evidence).decode()
        rows.append({"name": name, "base": name, "edits": [], "verdict": "reject", "kind": kind, "why": why})
    reviews = []
    for name, evidence, why in reviewed():
        documents[name] = print_evidence(evidence).decode()
        reviews.append({"name": name, "base": name, "verdict": "reject" if why else "accept", "why": why})
    content = {"bases": documents, "rows": rows, "outside": list(outside()), "reviews": reviews}
    return json.dumps(content, indent=1, ensure_ascii=True) + "\n"


if __name__ == "__main__":
    path = Path(__file__).with_name("evidence_corpus.json")
    path.write_text(make(), encoding="utf-8", newline="\n")
