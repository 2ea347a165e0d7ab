"""A checkpoint is shown to witnesses before it is published: with all of them, with some, and with too few."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from affidavit.domain.event import Meta, NewEvent
from affidavit.ledger.application import Ledger
from affidavit.ledger.errors import QuorumNotMet
from affidavit.ledger.events import ProjectionSealed, WitnessesDeclared
from affidavit.ledger.signing.sign import BackgroundSigner
from affidavit.ledger.store.folding import read_declared
from affidavit.ledger.tlog.checkpoint import Checkpoint, claimed_checkpoint
from affidavit.ledger.tlog.cosignature import cosign, open_cosigned
from affidavit.ledger.tlog.note import ED25519_COSIGNATURE, print_vkey
from affidavit.ledger.tlog.policy import Policy, parse_policy
from affidavit.ledger.tlog.private_key import make_private_key
from affidavit.ledger.tlog.proof import verify_consistency
from affidavit.ledger.tlog.witness import Collected
from affidavit.projections.registry import REGISTRY
from affidavit.tests.stores import every_store

pytestmark = every_store

NAMES = ("w1.example", "w2.example", "w3.example")
KEYS = {name: make_private_key(name, ED25519_COSIGNATURE, random.Random(name).randbytes) for name in NAMES}


def policy(quorum: str = "two") -> Policy:
    lines = [f"witness {name} {print_vkey(key.verifier_key)} https://{name}/" for name, key in KEYS.items()]
    return parse_policy("\n".join([*lines, f"group two 2 {' '.join(NAMES)}", f"quorum {quorum}", ""]))


@dataclass
class Witnesses:
    """Cosigners that answer, or do not, as the test says; each answer is checked as a witness would check it."""

    policy: Policy = field(default_factory=policy)
    required: bool = False
    answering: Sequence[str] = NAMES
    asked: list[Checkpoint] = field(default_factory=list)
    extra: tuple[str, ...] = ()
    contradictions: dict[str, str] = field(default_factory=dict)
    before: Callable[[], None] | None = None

    def collect(self, note: bytes, checkpoint: Checkpoint, prove: Callable[[int], Sequence[bytes]]) -> Collected:
        assert claimed_checkpoint(note) == checkpoint
        if self.before is not None:
            self.before()
        if self.asked:
            last = self.asked[-1]
            verify_consistency(last.size, checkpoint.size, prove(last.size), last.root, checkpoint.root)
        self.asked.append(checkpoint)
        lines = [cosign(checkpoint, KEYS[name], 1_795_341_600) for name in self.answering]
        failures = {name: "no answer" for name in NAMES if name not in self.answering}
        return Collected((*lines, *self.extra), failures, self.contradictions)


@pytest.fixture
def witnesses() -> Witnesses:
    return Witnesses()


@pytest.fixture
def cosigned(ledger: Ledger, witnesses: Witnesses) -> Iterator[Ledger]:
    ledger.close()
    with reopen(ledger, witnesses) as again:
        yield again


def reopen(ledger: Ledger, witnesses: Witnesses | None, background: bool = False) -> Ledger:
    return Ledger(
        ledger.place,
        ledger.keys.path.parent,
        REGISTRY,
        edge=ledger._edge,
        sign_in_background=background,
        cosigners=witnesses,
    )


def fill(ledger: Ledger, count: int) -> None:
    with ledger.recorder.reading() as reader:
        start = reader.next_pos("test/1")
    ledger.record(
        *(
            NewEvent("test/1", pos, ProjectionSealed(name="n", version=1, upto=pos, digest="0" * 64), Meta())
            for pos in range(start, start + count)
        )
    )


def published(ledger: Ledger) -> dict[int, list[str]]:
    """Size of each published checkpoint to the names of those who cosigned it."""
    identity, found = ledger.identity(), {}
    with ledger.recorder.reading() as reader:
        notes = reader.checkpoints()
    for size, note in notes:
        keys = [key.verifier_key for key in KEYS.values()]
        opened = open_cosigned(note, identity.keys_at(size), keys, identity.origin_at(size))
        assert [*opened.log_keys] == identity.keys_at(size)
        found[size] = [cosignature.key.name for cosignature in opened.cosignatures]
    return found


def declared(ledger: Ledger) -> WitnessesDeclared | None:
    with ledger.recorder.reading() as reader:
        return read_declared(reader)


def test_cosignatures_are_published_with_the_checkpoint(cosigned: Ledger, witnesses: Witnesses) -> None:
    for _ in range(3):
        fill(cosigned, 2)
        cosigned.sign()
    assert published(cosigned) == {1: [], 4: [*NAMES], 6: [*NAMES], 8: [*NAMES]}
    assert [checkpoint.size for checkpoint in witnesses.asked] == [4, 6, 8]


def test_the_log_says_whom_it_asks_without_their_addresses(cosigned: Ledger, witnesses: Witnesses) -> None:
    said = declared(cosigned)
    assert said is not None
    assert parse_policy(said.policy) == witnesses.policy.without_addresses()
    assert not said.required
    assert "https" not in said.policy


def test_it_says_so_again_only_when_it_changes(cosigned: Ledger, witnesses: Witnesses) -> None:
    cosigned.close()
    for required, entries in ((False, 1), (True, 2), (True, 2)):
        witnesses.required = required
        with reopen(cosigned, witnesses) as again, again.recorder.reading() as reader:
            assert reader.next_pos("witnesses") == entries
            assert (declared(again) or pytest.fail("not declared")).required == required


def test_without_a_quorum_it_is_published_with_what_there_is(cosigned: Ledger, witnesses: Witnesses) -> None:
    witnesses.answering = NAMES[:1]
    assert cosigned.sign().size == 2
    assert published(cosigned)[2] == [NAMES[0]]


def test_what_is_published_is_never_changed(cosigned: Ledger, witnesses: Witnesses) -> None:
    witnesses.answering = ()
    cosigned.sign()
    witnesses.answering = NAMES
    cosigned.sign()
    assert (published(cosigned)[2], len(witnesses.asked)) == ([], 1)
    state = cosigned.keys.signed()
    cosigned.keys.write_signed(Checkpoint(cosigned.origin, 1, root_at(cosigned, 1)))  # as after an older key folder
    cosigned.sign()
    assert (published(cosigned)[2], len(witnesses.asked)) == ([], 1)
    assert cosigned.keys.signed() == state


def root_at(ledger: Ledger, size: int) -> bytes:
    with ledger.recorder.reading() as reader:
        return reader.frontier_at(size).root()


def test_where_a_quorum_is_required_nothing_is_published_without(cosigned: Ledger, witnesses: Witnesses) -> None:
    witnesses.required, witnesses.answering = True, NAMES[:1]
    fill(cosigned, 3)
    before = published(cosigned)
    with pytest.raises(QuorumNotMet, match=r"checkpoint of size 5: .*1 of 2.*w2\.example: no answer"):
        cosigned.sign()
    with pytest.raises(QuorumNotMet):
        cosigned.receipt(3)
    assert published(cosigned) == before
    assert cosigned.keys.signed().size == 5
    assert cosigned.receipt(0).checkpoint_note  # an entry that is published already
    witnesses.answering = NAMES[1:]
    assert cosigned.receipt(3).index == 3
    assert published(cosigned) == {**before, 5: [*NAMES[1:]]}


def test_closing_without_a_required_quorum_loses_nothing(
    cosigned: Ledger, witnesses: Witnesses, caplog: pytest.LogCaptureFixture
) -> None:
    witnesses.required, witnesses.answering = True, ()
    fill(cosigned, 3)
    cosigned.close()
    assert "closed with entries that are not published" in caplog.text
    witnesses.answering = NAMES
    with reopen(cosigned, witnesses) as again:
        assert published(again) == {1: []}
        assert again.sign().size == 6  # with what is declared now
        assert published(again)[6] == [*NAMES]


def test_required_witnesses_are_not_left_out_by_whoever_does_not_know_them(
    cosigned: Ledger, witnesses: Witnesses
) -> None:
    witnesses.required = True
    cosigned.close()
    with reopen(cosigned, witnesses):
        pass
    with reopen(cosigned, None) as unaware:
        fill(unaware, 1)
        with pytest.raises(QuorumNotMet, match="AFFIDAVIT_WITNESS_POLICY names them"):
            unaware.sign()
        assert max(published(unaware)) == 3
    witnesses.required = False
    with reopen(cosigned, witnesses) as again:
        assert again.sign().size == 5


def test_whoever_opened_it_before_witnesses_were_required_publishes_nothing_without_them(
    cosigned: Ledger, witnesses: Witnesses
) -> None:
    cosigned.sign()
    with reopen(cosigned, Witnesses(required=True)) as strict:
        fill(cosigned, 1)
        with pytest.raises(QuorumNotMet, match="open it again"):
            cosigned.sign()
        assert max(published(cosigned)) == 2
        assert strict.sign().size == 4
        assert published(strict)[4] == [*NAMES]


@pytest.mark.parametrize("spoilt", ["another checkpoint", "no signature", "twice"])
def test_a_line_that_does_not_verify_spoils_nothing(cosigned: Ledger, witnesses: Witnesses, spoilt: str) -> None:
    witnesses.required, witnesses.answering = True, NAMES[:2]
    good = cosign(cosigned.sign(), KEYS[NAMES[0]], 1_795_341_600)
    name, _, _ = good.partition(" ")[2].partition(" ")
    witnesses.extra = {
        "another checkpoint": (cosign(Checkpoint(cosigned.origin, 9, bytes(32)), KEYS[NAMES[2]], 1),),
        "no signature": (f"— {name} nonsense\n",),
        "twice": (),
    }[spoilt]
    if spoilt == "twice":
        witnesses.answering = (*NAMES[:2], *NAMES[:2])
    fill(cosigned, 1)
    cosigned.sign()
    assert published(cosigned)[3] == [*NAMES[:2]]


def test_a_witness_that_knows_another_history_is_heard(
    cosigned: Ledger, witnesses: Witnesses, caplog: pytest.LogCaptureFixture
) -> None:
    witnesses.contradictions = {NAMES[0]: "409, it has seen size 12"}
    cosigned.sign()
    assert (
        f"witness {NAMES[0]} knows another log {cosigned.origin} than is here: 409, it has seen size 12" in caplog.text
    )


def test_one_witness_twice_is_no_quorum(cosigned: Ledger, witnesses: Witnesses) -> None:
    witnesses.required, witnesses.answering = True, (NAMES[0], NAMES[0])
    with pytest.raises(QuorumNotMet):
        cosigned.sign()


def test_both_keys_of_a_rotation_are_shown(cosigned: Ledger, witnesses: Witnesses) -> None:
    cosigned.rotate_key(overlap=0)
    fill(cosigned, 1)
    cosigned.sign()
    assert published(cosigned) == {1: [], 3: [*NAMES], 4: [*NAMES]}


def test_a_rotation_stands_where_the_quorum_is_away(cosigned: Ledger, witnesses: Witnesses) -> None:
    witnesses.required, witnesses.answering = True, ()
    cosigned.rotate_key(overlap=0)
    fill(cosigned, 5)
    witnesses.answering = NAMES
    assert cosigned.sign().size == 8
    assert published(cosigned) == {1: [], 3: [*NAMES], 8: [*NAMES]}


def test_the_state_is_written_before_anybody_is_asked(cosigned: Ledger, witnesses: Witnesses) -> None:
    seen: list[int] = []
    witnesses.before = lambda: seen.append(cosigned.keys.signed().size)
    cosigned.sign()
    assert seen == [2]


def test_a_crash_while_witnesses_answer_publishes_the_same_checkpoint_later(
    cosigned: Ledger, witnesses: Witnesses
) -> None:
    def crash() -> None:
        raise OSError("killed")

    witnesses.before = crash
    with pytest.raises(OSError, match="killed"):
        cosigned.sign()
    assert (cosigned.keys.signed().size, max(published(cosigned))) == (2, 1)
    witnesses.before = None
    assert cosigned.sign().size == 2
    assert published(cosigned)[2] == [*NAMES]


def test_appends_go_on_while_witnesses_take_their_time(cosigned: Ledger, witnesses: Witnesses) -> None:
    witnesses.before = lambda: fill(cosigned, 1)
    assert cosigned.sign().size == 2
    witnesses.before = None
    assert cosigned.sign().size == 3


def test_with_quorum_none_all_are_asked_and_none_is_needed(cosigned: Ledger, witnesses: Witnesses) -> None:
    witnesses.policy, witnesses.required, witnesses.answering = policy("none"), True, NAMES[:1]
    cosigned.sign()
    assert published(cosigned)[2] == [NAMES[0]]


def test_a_new_ledger_declares_its_witnesses(tmp_path: Path, witnesses: Witnesses) -> None:
    with Ledger.create(
        tmp_path / "ledger", tmp_path / "keys", REGISTRY, sign_in_background=False, cosigners=witnesses
    ) as made:
        assert declared(made) is not None
        made.sign()
        assert published(made) == {1: [], 2: [*NAMES]}


def test_the_background_signer_tries_again_by_itself() -> None:
    answers = iter([QuorumNotMet("1 of 2"), QuorumNotMet("1 of 2"), None])
    signed = threading.Event()

    def sign() -> None:
        if (answer := next(answers, None)) is not None:
            raise answer
        signed.set()

    signer = BackgroundSigner(sign, delay=0.001)
    signer.wake()
    assert signed.wait(timeout=30)
    signer.stop()


def test_the_background_signer_can_be_stopped_between_two_tries() -> None:
    asked = threading.Semaphore(0)

    def sign() -> None:
        asked.release()
        raise QuorumNotMet("0 of 2")

    signer = BackgroundSigner(sign, delay=0.001)
    signer.wake()
    for _ in range(5):
        assert asked.acquire(timeout=30)
    with pytest.raises(QuorumNotMet):
        signer.stop()
