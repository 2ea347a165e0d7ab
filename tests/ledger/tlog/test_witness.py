"""What a witness decides, and the body of a request, without storage or network."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from affidavit.ledger.errors import Malformed
from affidavit.ledger.tlog.checkpoint import Checkpoint, open_checkpoint, sign_checkpoint
from affidavit.ledger.tlog.hashing import EMPTY_ROOT, leaf_hash
from affidavit.ledger.tlog.note import ED25519, VerifierKey, encode_base64, sign_note
from affidavit.ledger.tlog.tree import prove_consistency
from affidavit.ledger.tlog.witness import (
    AddCheckpoint,
    Submission,
    WitnessRefusal,
    parse_add_checkpoint,
    print_add_checkpoint,
    read_submission,
    require_growth,
    state_path,
)
from affidavit.tests.trees import root_of

ORIGIN = "log.example/7"
PRIVATE = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
KEY = VerifierKey(ORIGIN, ED25519, PRIVATE.public_key().public_bytes_raw())
LEAVES = [leaf_hash(str(n).encode()) for n in range(40)]


def head(size: int) -> Checkpoint:
    return Checkpoint(ORIGIN, size, root_of(LEAVES[:size]))


def proof(old: int, new: int) -> tuple[bytes, ...]:
    def node(level: int, index: int) -> bytes:
        return root_of(LEAVES[index << level : (index + 1) << level])

    return tuple(prove_consistency(old, new, node))


def body(old: int, new: Checkpoint, path: tuple[bytes, ...] = ()) -> bytes:
    return print_add_checkpoint(AddCheckpoint(old, path, sign_checkpoint(new, PRIVATE)))


def keys_of(origin: str, size: int) -> list[VerifierKey] | None:
    return [KEY] if origin == ORIGIN else None


def refusal(sent: bytes, stored: Checkpoint | None = None) -> tuple[int, int | None]:
    with pytest.raises(WitnessRefusal) as caught:
        require_growth(read_submission(sent, keys_of), stored)
    return caught.value.status, caught.value.size


@given(st.integers(0, 40), st.integers(0, 40))
def test_what_extends_the_head_is_cosigned_and_nothing_else(old: int, new: int) -> None:
    sent = body(old, head(new), proof(old, new) if old <= new else ())
    if old > new:
        assert refusal(sent, head(old)) == (400, None)
        return
    submission = read_submission(sent, keys_of)
    require_growth(submission, head(old))
    assert submission == Submission(old, proof(old, new), head(new), sign_checkpoint(head(new), PRIVATE))
    if old:
        assert refusal(sent, None) == (409, 0)
        assert refusal(sent, head(old - 1)) == (409, old - 1)


def test_the_first_checkpoint_of_a_log_may_have_any_size() -> None:
    require_growth(read_submission(body(0, head(17)), keys_of), None)


@pytest.mark.parametrize(
    ("sent", "stored", "status"),
    [
        (body(3, head(5)), head(3), 422),
        (body(3, head(5), proof(3, 6)), head(3), 422),
        (body(3, head(5), (*proof(3, 5), bytes(32))), head(3), 422),
        (body(3, Checkpoint(ORIGIN, 5, bytes(32)), proof(3, 5)), head(3), 422),
        (body(3, Checkpoint(ORIGIN, 3, bytes(32))), head(3), 422),
        (body(3, head(3), (bytes(32),)), head(3), 422),
        (body(0, head(3), (bytes(32),)), None, 422),
        (body(0, head(3)), Checkpoint.empty(ORIGIN), 0),
    ],
    ids=["no proof", "of another size", "too long", "other root", "fork of one size", "same size", "old 0", "fine"],
)
def test_a_proof_must_hold_exactly(sent: bytes, stored: Checkpoint | None, status: int) -> None:
    if status:
        assert refusal(sent, stored) == (status, None)
    else:
        require_growth(read_submission(sent, keys_of), stored)


def test_a_tree_of_no_leaves_has_the_empty_root() -> None:
    text = f"{ORIGIN}\n0\n{encode_base64(bytes(32))}\n"
    assert refusal(b"old 0\n\n" + sign_note(text, ORIGIN, PRIVATE)) == (422, None)
    require_growth(read_submission(body(0, Checkpoint(ORIGIN, 0, EMPTY_ROOT)), keys_of), None)


def test_who_signs_is_checked_before_what_is_signed() -> None:
    other = Ed25519PrivateKey.from_private_bytes(bytes(32))
    good = body(0, head(3))
    unsigned = sign_checkpoint(head(3), other)
    assert refusal(b"old 0\n\n" + unsigned) == (403, None), "no known key"
    assert refusal(good.replace(b"\n3\n", b"\n4\n")) == (403, None), "a known key, and wrong"
    stranger = sign_checkpoint(Checkpoint("log.example/8", 3, head(3).root), PRIVATE)
    assert refusal(b"old 0\n\n" + stranger) == (404, None)
    assert refusal(b"old 0\n\n" + sign_note(f"{ORIGIN}\nthree\nAA==\n", ORIGIN, PRIVATE)) == (400, None)


def test_a_key_speaks_for_its_range_of_sizes_only() -> None:
    def until_three(origin: str, size: int) -> list[VerifierKey]:
        return [KEY] if size <= 3 else []

    read_submission(body(0, head(3)), until_three)
    with pytest.raises(WitnessRefusal) as caught:
        read_submission(body(0, head(4)), until_three)
    assert caught.value.status == 403


def test_only_lines_of_the_log_are_kept() -> None:
    stranger = Ed25519PrivateKey.from_private_bytes(bytes(32))
    note = sign_checkpoint(head(3), PRIVATE)
    other = sign_note(note.partition(b"\n\n")[0].decode() + "\n", "stranger", stranger).partition(b"\n\n")[2]
    line = note.partition(b"\n\n")[2]
    found = read_submission(b"old 0\n\n" + note + other + line, keys_of).note
    assert found == note
    assert open_checkpoint(found, [KEY], ORIGIN) == head(3)


@given(st.integers(0, 2**63 - 1), st.lists(st.binary(min_size=32, max_size=32), max_size=63), st.binary())
def test_a_body_reads_back(old: int, hashes: list[bytes], note: bytes) -> None:
    request = AddCheckpoint(old, tuple(hashes), note)
    assert parse_add_checkpoint(print_add_checkpoint(request)) == request


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"old 1\n",
        b"\n\nnote\n",
        b"old\n\nnote\n",
        b"old  1\n\nnote\n",
        b"old 01\n\nnote\n",
        b"old +1\n\nnote\n",
        b"old 9223372036854775808\n\nnote\n",
        b"old 1\r\n\r\nnote\n",
        b"Old 1\n\nnote\n",
        b"old \xd9\xa1\n\nnote\n",
        b"old 1\nAA==\n\nnote\n",
        b"old 1\n" + b"A" * 44 + b"\n\nnote\n",
        b"old 1\n " + encode_base64(bytes(32)).encode() + b"\n\nnote\n",
        b"old 1\n" + (encode_base64(bytes(32)) + "\n").encode() * 64 + b"\nnote\n",
    ],
)
def test_a_body_that_is_not_exact_is_malformed(sent: bytes) -> None:
    with pytest.raises(Malformed):
        parse_add_checkpoint(sent)
    assert refusal(sent) == (400, None)


def test_where_the_state_of_a_log_is_shown() -> None:
    expected = "a27e793ce86568e46905d9e66ef067c8555aabf25360bf6658741afc9194a4a0/checkpoint"
    assert state_path("ledger.example/acme/prod") == expected
