"""T3: an operator who holds the signing key and writes what they like, and a reviewer who holds one small thing.

A pinned checkpoint, a policy with witnesses, or a time token: each test says which of them catches what, and which
does not. Nobody here has the operator's signing state or the keys of sealed content.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from affidavit.domain.event import Event, Meta, NewEvent
from affidavit.ledger.application import Edge, Ledger
from affidavit.ledger.audit.audit import Against, audit
from affidavit.ledger.audit.fork import parse_fork, print_fork, verify_fork
from affidavit.ledger.audit.verdict import Verdict
from affidavit.ledger.continuing import continue_ledger
from affidavit.ledger.entries.entry import format_at
from affidavit.ledger.entries.mapper import EventMapper
from affidavit.ledger.errors import LedgerError, Malformed
from affidavit.ledger.events import AnchorRecorded, ClockSteppedBack, KeyRotated, WitnessesDeclared
from affidavit.ledger.folds.anchors import ANCHOR_STREAM
from affidavit.ledger.store.sqlite.reader import SqliteReader
from affidavit.ledger.tlog.checkpoint import Checkpoint, claimed_checkpoint, sign_checkpoint
from affidavit.ledger.tlog.cosignature import cosign
from affidavit.ledger.tlog.note import (
    ED25519,
    ED25519_COSIGNATURE,
    ML_DSA_44_COSIGNATURE,
    VerifierKey,
    print_vkey,
)
from affidavit.ledger.tlog.policy import Policy, parse_policy, print_policy
from affidavit.ledger.tlog.private_key import NotePrivateKey, make_private_key
from affidavit.ledger.tlog.receipt import Receipt
from affidavit.ledger.tlog.timestamp import imprint, read_token
from affidavit.ledger.tlog.witness import Collected, Submission, WitnessRefusal, require_growth
from affidavit.projections.registry import REGISTRY
from affidavit.tests.attacked import Attacked
from affidavit.tests.authority import Authority
from affidavit.tests.folders import folder_of

HOUR = 3600 * 1_000_000


@dataclass
class Witness:
    """Cosigns what extends the largest tree that it has seen; a dishonest one cosigns everything."""

    key: NotePrivateKey
    now: list[int]
    honest: bool = True
    silent: bool = False
    seen: Checkpoint | None = None

    def cosign(self, note: bytes, checkpoint: Checkpoint, prove: Callable[[int], Sequence[bytes]]) -> str:
        if self.silent:
            raise WitnessRefusal(503, "no answer")
        if self.honest:
            old = self.seen.size if self.seen else 0
            if old > checkpoint.size:
                raise WitnessRefusal(409, f"the size cosigned last is {old}", old)
            proof = tuple(prove(old)) if 0 < old < checkpoint.size else ()
            require_growth(Submission(old, proof, checkpoint, note), self.seen)
        self.seen = checkpoint
        return cosign(checkpoint, self.key, self.now[0] // 1_000_000)


@dataclass
class Quorum:
    """Three witnesses, of whom two suffice: ``Cosigners`` without a network."""

    policy: Policy
    witnesses: list[Witness]
    required: bool = False
    refused: dict[str, str] = field(default_factory=dict)

    def collect(self, note: bytes, checkpoint: Checkpoint, prove: Callable[[int], Sequence[bytes]]) -> Collected:
        lines = []
        self.refused = {}
        for witness in self.witnesses:
            try:
                lines.append(witness.cosign(note, checkpoint, prove))
            except WitnessRefusal as error:
                self.refused[witness.key.name] = f"{error.status}"
        return Collected(tuple(lines), self.refused)


@dataclass
class Operator:
    """A log and its keys, in a folder that can be copied: each copy is another branch of the same log."""

    folder: Path
    edge: Edge
    quorum: Quorum | None = None

    def record(self, count: int = 1, behind: float = 1.0) -> None:
        """Record and sign; what is recorded differs by ``behind``."""
        with self.open() as ledger:
            for _ in range(count):
                self.append(ledger, "filler", ClockSteppedBack(behind=behind))
            ledger.sign()

    @staticmethod
    def append(ledger: Ledger, stream: str, event: Event) -> None:
        with ledger.recorder.reading() as reader:
            pos = reader.next_pos(stream)
        ledger.record(NewEvent(stream, pos, event, Meta()))

    @contextmanager
    def open(self) -> Iterator[Ledger]:
        options: dict[str, Any] = {"edge": self.edge, "sign_in_background": False, "cosigners": self.quorum}
        with Ledger(self.folder / "ledger", self.folder / "keys", REGISTRY, **options) as ledger:
            yield ledger

    def branch(self, name: str) -> Operator:
        """The same log, keys and signing state once more."""
        copy = self.folder.with_name(name)
        shutil.copytree(self.folder, copy)
        return replace(self, folder=copy)

    def vkey(self) -> VerifierKey:
        with self.open() as ledger:
            return ledger.verifier_key()

    def newest(self) -> bytes:
        """What ``affidavit checkpoint`` prints."""
        with self.open() as ledger, ledger.recorder.reading() as reader:
            latest = reader.latest_checkpoint()
        assert latest is not None
        return latest[1]

    def receipt(self, seq: int) -> Receipt:
        with self.open() as ledger, ledger.recorder.reading() as reader:
            (row,) = reader.entries(seq, seq + 1)
            return replace(ledger.receipt(seq), extra=row.raw)

    def verify(self, **against: Any) -> Verdict:
        with self.open() as ledger, ledger.recorder.reading() as reader:
            return audit(reader, REGISTRY, Against(tokens=ledger.place.token, **against))

    @contextmanager
    def attacked(self) -> Iterator[Attacked]:
        with self.open() as ledger:
            yield Attacked(ledger)


@pytest.fixture
def operator(tmp_path: Path, made_once: Path, edge: Edge) -> Operator:
    for name in ("ledger", "keys"):
        shutil.copytree(made_once / name, tmp_path / "operator" / name)
    return Operator(tmp_path / "operator", edge)


@pytest.fixture
def witnesses(edge: Edge, now: list[int]) -> list[Witness]:
    return [
        Witness(make_private_key(f"witness.example/w{number}", ED25519_COSIGNATURE, edge.random), now)
        for number in (1, 2, 3)
    ]


@pytest.fixture
def witnessed(operator: Operator, witnesses: list[Witness]) -> Operator:
    policy = two_of_three([operator.vkey()], [witness.key.verifier_key for witness in witnesses])
    return replace(operator, quorum=Quorum(policy, witnesses))


@pytest.fixture
def authority(now: list[int]) -> Authority:
    return Authority(lambda: now[0])


def two_of_three(logs: Iterable[VerifierKey], witnesses: Sequence[VerifierKey], quorum: str = "most") -> Policy:
    names = [f"w{number}" for number in range(len(witnesses))]
    lines = [f"log {print_vkey(key)}" for key in logs]
    lines += [f"witness {name} {print_vkey(key)}" for name, key in zip(names, witnesses, strict=True)]
    lines += [f"group most 2 {' '.join(names)}", f"quorum {quorum}"]
    return parse_policy("\n".join(lines) + "\n")


def policy_of(operator: Operator) -> Policy:
    assert operator.quorum is not None
    return operator.quorum.policy


def anchor(operator: Operator, authority: Authority) -> bytes:
    """Have the newest checkpoint stamped, and record it; its token."""
    with operator.open() as ledger:
        size = ledger.sign().size
        with ledger.recorder.reading() as reader:
            note = dict(reader.checkpoints())[size]
        token = authority.stamp(imprint(note, ledger.verifier_key()))
        (folder_of(ledger) / "anchors").mkdir(exist_ok=True)
        (folder_of(ledger) / "anchors" / f"{size}.tsr").write_bytes(token)
        event = AnchorRecorded(
            size=size,
            root=claimed_checkpoint(note).root.hex(),
            token=sha256(token).hexdigest(),
            time=format_at(read_token(token).timestamp.time_us),
            authority="tsa.example",
        )
        operator.append(ledger, ANCHOR_STREAM, event)
        ledger.sign()
    return token


def told(verdict: Verdict) -> tuple[str, int, set[str]]:
    return verdict.verdict, verdict.exit_code, {damage.kind for damage in verdict.damage}


# 8: equivocation


def test_a_pinned_checkpoint_of_the_other_branch_is_a_fork_and_its_evidence_convinces_a_stranger(
    operator: Operator,
) -> None:
    operator.record(5)
    other = operator.branch("other")
    operator.record(3)
    other.record(300, behind=2.0)
    pinned = operator.newest()
    assert told(other.verify()) == ("ok", 0, set())
    verdict = other.verify(pinned=[pinned])
    assert told(verdict) == ("fork", 4, {"fork"})
    assert verdict.fork is not None
    older, newer = verify_fork(parse_fork(print_fork(verdict.fork)), lambda _: [operator.vkey()])
    assert (older.size, newer.size) == (claimed_checkpoint(pinned).size, other.verify().signed_size)


def test_a_pinned_checkpoint_from_before_the_branches_parted_tells_nothing(operator: Operator) -> None:
    operator.record(5)
    pinned = operator.newest()
    other = operator.branch("other")
    operator.record(3)
    other.record(3, behind=2.0)
    for branch in (operator, other):
        verdict = branch.verify(pinned=[pinned])
        assert told(verdict) == ("ok", 0, set())
        assert "fork" in verdict.not_checked


def test_two_reviewers_who_compare_their_checkpoints_have_the_evidence(operator: Operator) -> None:
    other = operator.branch("other")
    operator.record(4)
    other.record(4, behind=2.0)
    verdict = operator.verify(pinned=[operator.newest(), other.newest()])
    assert told(verdict) == ("fork", 4, {"fork"})
    assert verdict.fork is not None
    older, newer = verify_fork(verdict.fork, lambda _: [operator.vkey()])
    assert older.size == newer.size
    assert older.root != newer.root


def test_a_shorter_branch_without_a_signature_that_large_is_a_rollback(operator: Operator) -> None:
    other = operator.branch("other")
    operator.record(9)
    other.record(2, behind=2.0)
    assert told(other.verify(pinned=[operator.newest()])) == ("rollback", 4, {"rollback"})


@pytest.mark.parametrize("dishonest", [0, 1])
def test_a_quorum_does_not_cosign_two_branches(witnessed: Operator, dishonest: int) -> None:
    assert witnessed.quorum is not None
    for witness in witnessed.quorum.witnesses[:dishonest]:
        witness.honest = False
    witnessed.record(5)
    other = witnessed.branch("other")
    witnessed.record(3)
    other.record(4, behind=2.0)
    shown = witnessed.verify(policy=policy_of(witnessed))
    assert told(shown) == ("ok", 0, set())
    assert {"key_pinned", "witnesses"} <= set(shown.checked)
    assert "fork" not in shown.not_checked
    hidden = other.verify(policy=policy_of(witnessed))
    assert told(hidden) == ("not_proven", 3, {"quorum_not_met"})
    assert f"{dishonest} of 2 needed" in hidden.damage[0].detail
    assert set(witnessed.quorum.refused.values()) <= {"409", "422"}


def test_as_many_dishonest_witnesses_as_the_quorum_are_what_a_policy_cannot_meet(witnessed: Operator) -> None:
    assert witnessed.quorum is not None
    for witness in witnessed.quorum.witnesses[:2]:
        witness.honest = False
    other = witnessed.branch("other")
    witnessed.record(3)
    pinned = witnessed.newest()
    other.record(4, behind=2.0)
    assert told(other.verify(policy=policy_of(witnessed))) == ("ok", 0, set())
    assert told(other.verify(policy=policy_of(witnessed), pinned=[pinned])) == ("fork", 4, {"fork"})


def test_without_witnesses_a_fork_is_said_not_to_be_excluded(witnessed: Operator) -> None:
    witnessed.record(2)
    none = two_of_three([witnessed.vkey()], [each.key for each in policy_of(witnessed).witnesses], "none")
    verdict = witnessed.verify(policy=none)
    assert told(verdict) == ("ok", 0, set())
    assert "fork not excluded" in verdict.not_checked["fork"]
    aged = witnessed.verify(policy=none, now=2**40, max_cosignature_age=60)
    assert told(aged) == ("not_proven", 3, {"stale_cosignature"})


# 6 and 27: rollback, and witnesses that are silent


def test_a_rollback_with_its_signing_state_is_caught_by_a_pinned_checkpoint(operator: Operator) -> None:
    operator.record(3)
    backup = operator.branch("backup")
    operator.record(3)
    pinned = operator.newest()
    assert told(backup.verify()) == ("ok", 0, set())
    assert "rollback" in backup.verify().not_checked
    assert told(backup.verify(pinned=[pinned])) == ("rollback", 4, {"rollback"})


def test_a_rollback_is_caught_by_the_age_of_its_cosignatures(witnessed: Operator, now: list[int]) -> None:
    witnessed.record(3)
    backup = witnessed.branch("backup")
    now[0] += 48 * HOUR
    witnessed.record(3)
    policy, seconds = policy_of(witnessed), now[0] // 1_000_000
    unaware = backup.verify(policy=policy, now=seconds)
    assert told(unaware) == ("ok", 0, set())
    assert "rollback" in unaware.not_checked
    aware = backup.verify(policy=policy, now=seconds, max_cosignature_age=24 * 3600)
    assert told(aware) == ("not_proven", 3, {"stale_cosignature"})
    fresh = witnessed.verify(policy=policy, now=seconds, max_cosignature_age=24 * 3600)
    assert told(fresh) == ("ok", 0, set())
    assert "freshness" in fresh.checked
    assert "rollback" not in fresh.not_checked


@pytest.mark.parametrize("age", [None, 3600])
def test_a_cosignature_from_the_future_does_not_count(witnessed: Operator, now: list[int], age: int | None) -> None:
    witnessed.record(1)
    seconds = now[0] // 1_000_000 - 24 * 3600
    verdict = witnessed.verify(policy=policy_of(witnessed), now=seconds, max_cosignature_age=age)
    assert told(verdict) == ("not_proven", 3, {"quorum_not_met"})
    assert verdict.witnessing.at is None
    soon = witnessed.verify(policy=policy_of(witnessed), now=now[0] // 1_000_000 - 200, max_cosignature_age=age)
    assert told(soon) == ("ok", 0, set())


def test_that_witnesses_were_not_required_for_a_while_is_said(operator: Operator, witnessed: Operator) -> None:
    assert witnessed.quorum is not None
    for required in (True, False, True):
        replace(witnessed, quorum=replace(witnessed.quorum, required=required)).record(1)
    verdict = operator.verify()
    assert verdict.witnessing.required
    assert [required for _, required in verdict.witnessing.modes] == [True, False, True]
    assert [first for first, _ in verdict.witnessing.modes] == [1, 3, 5]


def test_silent_witnesses_are_missed_and_the_last_quorum_is_named(witnessed: Operator) -> None:
    assert witnessed.quorum is not None
    witnessed.record(3)
    met = witnessed.verify().signed_size
    for witness in witnessed.quorum.witnesses[:2]:
        witness.silent = True
    witnessed.record(2)
    verdict = witnessed.verify(policy=policy_of(witnessed))
    assert told(verdict) == ("not_proven", 3, {"quorum_not_met"})
    assert f"the last with a quorum is of size {met}" in verdict.damage[0].detail
    assert (verdict.witnessing.policy, verdict.witnessing.size) == ("given", met)
    for witness in witnessed.quorum.witnesses:
        witness.silent = False
    witnessed.record(1)
    assert told(witnessed.verify(policy=policy_of(witnessed))) == ("ok", 0, set())


def test_what_the_log_declares_of_its_witnesses_is_said_and_not_taken_for_proof(witnessed: Operator) -> None:
    witnessed.record(2)
    verdict = witnessed.verify()
    assert told(verdict) == ("ok", 0, set())
    assert "fail-open" in verdict.not_checked["fork"]
    assert (verdict.witnessing.required, verdict.witnessing.policy) == (False, "declared")


def test_required_cosignatures_that_were_taken_away_are_missed(witnessed: Operator) -> None:
    assert witnessed.quorum is not None
    witnessed.quorum.required = True
    witnessed.record(2)
    assert witnessed.verify().witnessing.required is True
    assert told(witnessed.verify()) == ("ok", 0, set())
    with witnessed.attacked() as attacked:
        head = SqliteReader(attacked.db).head().size
        bare = attacked.note(head).partition(b"\n\xe2\x80\x94 witness")[0] + b"\n"
        attacked.db.execute("UPDATE checkpoints SET note=? WHERE size=?", (bare, head))
        assert told(attacked.verify(signed=None)) == ("not_proven", 3, {"quorum_not_met"})


def test_a_cosignature_with_one_bit_changed_spoils_its_checkpoint(witnessed: Operator) -> None:
    witnessed.record(2)
    with witnessed.attacked() as attacked:
        head = SqliteReader(attacked.db).head().size
        note = attacked.note(head)
        changed = note[:-20] + (b"A" if note[-20:-19] != b"A" else b"B") + note[-19:]
        attacked.db.execute("UPDATE checkpoints SET note=? WHERE size=?", (changed, head))
        verdict = attacked.verify(signed=None, policy=policy_of(witnessed))
        assert verdict.verdict == "damaged"
        assert "checkpoint_invalid" in {damage.kind for damage in verdict.damage}


# 9: another key


def rewritten_by_another_key(operator: Operator, edge: Edge) -> tuple[Attacked, VerifierKey]:
    """T2 writes the whole database, entry 0 included, and signs it with a key of their own."""
    stranger = Ed25519PrivateKey.from_private_bytes(edge.random(32))
    with operator.open() as ledger:
        attacked = Attacked(ledger)
        key = VerifierKey(ledger.origin, ED25519, stranger.public_key().public_bytes_raw())
        own = print_vkey(ledger.verifier_key()).encode()
        named = print_vkey(key).encode()
        contents = [
            (at, stream, pos, kind, content.replace(own, named))
            for at, stream, pos, kind, content in attacked.contents()
        ]
        attacked.rewrite(contents)
        attacked.db.execute("DELETE FROM checkpoints")
        head = SqliteReader(attacked.db).head()
        note = sign_checkpoint(Checkpoint(ledger.origin, head.size, head.root()), stranger)
        attacked.db.execute("INSERT INTO checkpoints VALUES (?, ?)", (head.size, note))
    return attacked, key


def reviewed(attacked: Attacked, **against: Any) -> Verdict:
    return attacked.verify(**{"signed": None, "scopes": None, "check_projections": None, **against})


def test_a_history_under_another_key_is_not_the_pinned_one(operator: Operator, edge: Edge) -> None:
    operator.record(4)
    pinned, vkey = operator.newest(), operator.vkey()
    attacked, key = rewritten_by_another_key(operator, edge)
    policy = parse_policy(f"log {print_vkey(vkey)}\nquorum none\n")
    assert told(reviewed(attacked)) == ("ok", 0, set())
    assert "key_pinned" in reviewed(attacked).not_checked
    for against in ({"vkey": vkey}, {"policy": policy}, {"pinned": [pinned]}):
        verdict = reviewed(attacked, **against)
        assert told(verdict) == ("not_proven", 3, {"unknown_key"}), against
    both = reviewed(attacked, vkey=vkey, pinned=[pinned])
    assert (both.verdict, both.exit_code) == ("fork", 4)
    assert both.fork is None  # what a stranger's key signed convicts nobody
    assert told(reviewed(attacked, vkey=key)) == ("ok", 0, set())


def test_another_ledger_in_its_place_is_the_wrong_one(operator: Operator, edge: Edge, tmp_path: Path) -> None:
    operator.record(2)
    Ledger.create(
        tmp_path / "b" / "ledger", tmp_path / "b" / "keys", REGISTRY, edge=edge, sign_in_background=False
    ).close()
    other = Operator(tmp_path / "b", edge)
    policy = parse_policy(f"log {print_vkey(operator.vkey())}\nquorum none\n")
    for against in ({"vkey": operator.vkey()}, {"policy": policy}, {"pinned": [operator.newest()]}):
        assert told(other.verify(**against)) == ("not_proven", 3, {"wrong_ledger"}), against


def test_a_rotation_is_followed_from_the_key_that_was_pinned(operator: Operator) -> None:
    operator.record(2)
    first = operator.vkey()
    with operator.open() as ledger:
        ledger.rotate_key(overlap=2)
    operator.record(5)
    second = operator.vkey()
    assert first != second
    for vkey in (first, second):
        verdict = operator.verify(vkey=vkey)
        assert told(verdict) == ("ok", 0, set())
        assert "key_pinned" in verdict.checked


def test_a_retired_key_that_signs_on_is_out_of_its_range(operator: Operator) -> None:
    """A thief of the old key takes the log on by it."""
    operator.record(2)
    with operator.open() as ledger:
        old = ledger.keys.signing_key()
        ledger.rotate_key(overlap=0)
    operator.record(5)
    with operator.open() as ledger, ledger.recorder.reading() as reader:
        head = reader.head()
        stolen = sign_checkpoint(Checkpoint(ledger.origin, head.size, head.root()), old)
        attacked = Attacked(ledger)
    attacked.db.execute("UPDATE checkpoints SET note=? WHERE size=?", (stolen, head.size))
    assert told(reviewed(attacked)) == ("damaged", 1, {"key_out_of_range"})
    assert told(operator.verify(pinned=[stolen])) == ("not_proven", 3, {"key_out_of_range"})


def test_a_key_beyond_its_range_in_the_policy_is_not_met(operator: Operator) -> None:
    operator.record(6)
    vkey = print_vkey(operator.vkey())
    for last, expected in ((3, ("not_proven", 3, {"key_out_of_range"})), (7, ("ok", 0, set()))):
        policy = parse_policy(f"log {vkey}\n#affidavit-range {vkey} 0 {last}\nquorum none\n")
        assert told(operator.verify(policy=policy)) == expected


def test_a_key_that_the_one_before_it_never_vouched_for_is_unknown(operator: Operator, edge: Edge) -> None:
    """T2 appends a rotation to a key of their own: the old key signed nothing that covers it."""
    operator.record(2)
    stranger, vkey = Ed25519PrivateKey.from_private_bytes(edge.random(32)), operator.vkey()
    with operator.open() as ledger:
        attacked = Attacked(ledger)
        contents = attacked.contents()
        size = len(contents) + 1
        key = VerifierKey(ledger.origin, ED25519, stranger.public_key().public_bytes_raw())
        event = KeyRotated(old=print_vkey(vkey), new=print_vkey(key), first=size, last=size)
        stored = EventMapper(REGISTRY, edge.random).to_stored_event(NewEvent("ledger", 1, event, Meta()))
        attacked.rewrite([*contents, (contents[-1][0], "ledger", 1, KeyRotated.type_name, stored.state)])
        attacked.rewrite([*attacked.contents(), *[(contents[-1][0], "filler", 2, *contents[-1][3:])]])
        head = SqliteReader(attacked.db).head()
        note = sign_checkpoint(Checkpoint(ledger.origin, head.size, head.root()), stranger)
        attacked.db.execute("INSERT INTO checkpoints VALUES (?, ?)", (head.size, note))
    verdict = reviewed(attacked, vkey=vkey)
    assert (verdict.verdict, {damage.kind for damage in verdict.damage}) == ("damaged", {"unknown_key"})


# 7 and 10: history signed anew with the right key


def forged(operator: Operator) -> Attacked:
    """Change entry 2, chain everything anew, and sign that with the log's own key."""
    with operator.open() as ledger:
        attacked = Attacked(ledger)
        contents = attacked.contents()
        at, stream, pos, type_name, content = contents[2]
        contents[2] = (at, stream, pos, type_name, content.replace(b'"behind":"1', b'"behind":"9', 1))
        assert contents[2][4] != content
        attacked.rewrite(contents)
        attacked.db.execute("DELETE FROM checkpoints WHERE size > 2")
        attacked.sign_anew()
    return attacked


def test_history_signed_anew_with_the_stolen_key(witnessed: Operator, authority: Authority) -> None:
    witnessed.record(4)
    token = anchor(witnessed, authority)
    witnessed.record(1)
    pinned = witnessed.newest()
    attacked = forged(witnessed)
    assert told(reviewed(attacked, tokens=lambda size: token))[2] == {"anchor_mismatch"}
    fork = reviewed(attacked, pinned=[pinned])
    assert (fork.verdict, fork.exit_code) == ("fork", 4)
    assert fork.fork is not None
    verify_fork(fork.fork, lambda _: [witnessed.vkey()])
    assert "quorum_not_met" in {each.kind for each in reviewed(attacked, policy=policy_of(witnessed)).damage}


def test_history_signed_anew_without_its_anchors_does_not_fit_a_token_that_was_kept(
    operator: Operator, authority: Authority
) -> None:
    operator.record(4)
    other = operator.branch("other")
    operator.record(1)
    token = anchor(operator, authority)
    other.record(3, behind=2.0)
    roots = [authority.root_pem]
    assert told(operator.verify(kept_tokens=[token], tsa_roots=roots)) == ("ok", 0, set())
    assert told(other.verify(kept_tokens=[token], tsa_roots=roots)) == ("not_proven", 3, {"anchor_mismatch"})
    unpinned = other.verify(kept_tokens=[token])
    assert (unpinned.verdict, unpinned.damage) == ("not_proven", [])
    assert "no root" in unpinned.not_checked["time"]


def test_a_kept_token_by_somebody_else_is_invalid(operator: Operator, authority: Authority, now: list[int]) -> None:
    operator.record(1)
    token = anchor(operator, Authority(lambda: now[0], "Another TSA"))
    verdict = operator.verify(kept_tokens=[token], tsa_roots=[authority.root_pem])
    assert told(verdict) == ("not_proven", 3, {"tsa_invalid"})
    assert [damage.unmet for damage in verdict.damage] == [True]  # the recorded one proves nothing
    assert "no chain to a pinned root" in verdict.not_checked["time"]


# 11 and 12: time


def test_entries_between_two_tokens_are_bounded_from_both_sides(
    operator: Operator, authority: Authority, now: list[int]
) -> None:
    operator.record(2)
    anchor(operator, authority)
    now[0] += HOUR
    operator.record(2)
    anchor(operator, authority)
    verdict = operator.verify(tsa_roots=[authority.root_pem])
    assert told(verdict) == ("ok", 0, set())
    assert "time" in verdict.checked
    assert [bound for bound in verdict.bounds if bound.not_before and bound.not_after]
    assert "entries 0 to" in verdict.not_checked["unanchored"]


@pytest.mark.parametrize("direction", [-1, 1])
def test_an_entry_whose_time_was_changed_is_outside_of_its_anchors(
    operator: Operator, authority: Authority, now: list[int], direction: int
) -> None:
    """The operator's clock is an hour behind or ahead when they record; the authority's is right."""
    anchor(operator, authority)
    true = now[0] + 2 * HOUR
    now[0] = true + direction * HOUR
    operator.record(2)
    authority.clock = lambda: true
    anchor(operator, authority)
    assert told(operator.verify(tsa_roots=[authority.root_pem])) == ("damaged", 1, {"time_outside_anchor"})


def test_an_entry_that_follows_an_anchor_cannot_be_older_than_it(operator: Operator, now: list[int]) -> None:
    authority = Authority(lambda: now[0] + 2 * HOUR)
    anchor(operator, authority)
    verdict = operator.verify(tsa_roots=[authority.root_pem])
    assert told(verdict) == ("damaged", 1, {"time_outside_anchor"})


def test_a_backdated_ledger_is_no_older_than_its_first_token(
    operator: Operator, authority: Authority, now: list[int]
) -> None:
    """Everything says it is of years ago, and it was made today: nothing but its first token tells."""
    today = now[0]
    now[0] -= 24 * 365 * HOUR
    operator.record(3)
    now[0] = today
    anchor(operator, authority)
    verdict = operator.verify(tsa_roots=[authority.root_pem])
    assert told(verdict) == ("ok", 0, set())
    assert "no token is older than entries 0 to" in verdict.not_checked["unanchored"]
    assert verdict.bounds[0].not_before is None


def test_roots_that_no_token_needs_prove_nothing(operator: Operator, authority: Authority) -> None:
    operator.record(1)
    verdict = operator.verify(tsa_roots=[authority.root_pem])
    assert (verdict.verdict, verdict.exit_code, verdict.damage) == ("not_proven", 3, [])
    assert "time" in verdict.not_checked


# 22: receipts


def test_a_receipt_is_fulfilled_or_the_log_is_convicted(operator: Operator) -> None:
    operator.record(2)
    backup = operator.branch("backup")
    operator.record(3)
    seq = operator.verify().size - 1
    receipt = operator.receipt(seq)
    assert told(operator.verify(receipts=[receipt])) == ("ok", 0, set())
    assert told(backup.verify(receipts=[receipt])) == ("rollback", 4, {"rollback", "receipt_unfulfilled"})
    backup.record(4, behind=2.0)
    assert told(backup.verify(receipts=[receipt])) == ("fork", 4, {"fork", "receipt_unfulfilled"})


def test_a_receipt_that_proves_nothing_convicts_nobody(operator: Operator) -> None:
    operator.record(4)
    receipt = operator.receipt(2)
    for changed in (replace(receipt, index=3), replace(receipt, path=receipt.path[:-1])):
        bare = replace(changed, extra=None)
        for each in (changed, bare):
            assert told(operator.verify(receipts=[each])) == ("not_proven", 3, {"receipt_unfulfilled"})


# 6 again: an older copy that went on under another origin


def policy_with(vkey: VerifierKey) -> Policy:
    return parse_policy(f"log {print_vkey(vkey)}\nquorum none\n")


def test_a_copy_that_goes_on_under_another_origin_is_told_by_what_was_lost(operator: Operator, edge: Edge) -> None:
    operator.record(3)
    early, vkey = operator.newest(), operator.vkey()
    shutil.copytree(operator.folder / "ledger", operator.folder / "backup")
    operator.record(4)
    late = operator.newest()
    shutil.rmtree(operator.folder / "ledger")
    (operator.folder / "backup").rename(operator.folder / "ledger")
    continue_ledger(
        operator.folder / "ledger", operator.folder / "keys", REGISTRY, name="again", reason="restored", edge=edge
    )
    operator.record(2)
    assert told(operator.verify()) == ("ok", 0, set())
    assert told(operator.verify(vkey=operator.vkey(), pinned=[early])) == ("ok", 0, set())
    assert told(operator.verify(policy=policy_with(operator.vkey()), pinned=[early])) == ("ok", 0, set())
    lost = operator.verify(pinned=[late])
    assert told(lost) == ("rollback", 4, {"rollback"})
    assert "another origin" in lost.damage[0].detail
    assert told(operator.verify(vkey=vkey)) == ("not_proven", 3, {"wrong_ledger"})


def test_going_on_under_another_origin_convinces_nobody_who_has_only_what_the_old_one_signed(
    operator: Operator, edge: Edge
) -> None:
    """Whoever holds the database alone can cut it where it was pinned, and let it go on under a key of their own."""
    operator.record(3)
    pinned, receipt = operator.newest(), operator.receipt(2)
    with operator.open() as ledger:
        keys, origin = ledger.keys, ledger.origin
    keys.write_signed(Checkpoint(origin, 99, bytes(32)))
    continue_ledger(
        operator.folder / "ledger", operator.folder / "keys", REGISTRY, name="forged", reason="restored", edge=edge
    )
    for against in ({"pinned": [pinned]}, {"receipts": [receipt]}):
        verdict = operator.verify(**against)
        assert told(verdict) == ("not_proven", 3, {"wrong_ledger"}), against
        assert "by its own word" in verdict.damage[0].detail
        assert told(operator.verify(vkey=operator.vkey(), **against)) == ("ok", 0, set())


# What is brought along must be readable


def test_a_pinned_file_that_is_no_checkpoint_is_refused(operator: Operator) -> None:
    with pytest.raises(Malformed):
        operator.verify(pinned=[b"no note"])
    with pytest.raises(LedgerError):
        operator.verify(receipts=[Receipt(0, (), b"no note")])


def test_a_declaration_that_cannot_be_read_is_no_declaration(operator: Operator) -> None:
    with operator.open() as ledger:
        operator.append(ledger, "witnesses", WitnessesDeclared(policy="quorum nobody\n", required=True))
    assert told(operator.verify()) == ("damaged", 1, {"rule_broken"})


def test_a_witness_whose_kind_of_key_cannot_be_checked_here_is_not_counted(
    operator: Operator, edge: Edge, now: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    from affidavit.ledger.errors import UnsupportedFormat
    from affidavit.ledger.tlog import ml_dsa

    try:
        key = make_private_key("witness.example/pq", ML_DSA_44_COSIGNATURE, edge.random)
    except UnsupportedFormat:
        pytest.skip("the installed cryptography has no ML-DSA-44")
    policy = parse_policy(f"log {print_vkey(operator.vkey())}\nwitness w {print_vkey(key.verifier_key)}\nquorum w\n")
    witnessed = replace(operator, quorum=Quorum(policy, [Witness(key, now)]))
    witnessed.record(1)
    assert print_policy(policy) == print_policy(policy_of(witnessed))
    assert told(witnessed.verify(policy=policy)) == ("ok", 0, set())

    def absent(*_: object) -> bool:
        raise UnsupportedFormat("not here")

    monkeypatch.setattr(ml_dsa, "is_signed", absent)
    verdict = replace(witnessed, quorum=None).verify(policy=policy)
    assert (verdict.verdict, verdict.exit_code, verdict.damage) == ("not_proven", 3, [])
    assert "ML-DSA-44" in verdict.not_checked["fork"]
