"""Cosignatures under a checkpoint: made, checked, added, and told apart from the log's own signature."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from affidavit.ledger.errors import Malformed, UnsupportedFormat, VerificationError
from affidavit.ledger.tlog.checkpoint import Checkpoint, open_checkpoint, print_checkpoint
from affidavit.ledger.tlog.cosignature import (
    Cosignature,
    CosignedCheckpoint,
    add_signatures,
    cosign,
    log_signature_line,
    open_cosigned,
    verify_cosignature,
)
from affidavit.ledger.tlog.note import (
    ED25519,
    ED25519_COSIGNATURE,
    ML_DSA_44_COSIGNATURE,
    NoteSignature,
    VerifierKey,
    encode_base64,
    parse_note,
    parse_signature,
    print_signature,
)
from affidavit.ledger.tlog.private_key import NotePrivateKey

ORIGIN = "ledger.example/acme/prod"
ROOT = bytes.fromhex("e677513f7f3373ca5bc05c9c937d70bcf598e2647139c874be07d2d548e4254b")
CHECKPOINT = Checkpoint(ORIGIN, 3, ROOT)
TIME = 1763769600
LOG = NotePrivateKey(ORIGIN, ED25519, sha256(b"SPEC log key 1").digest())
NEXT = NotePrivateKey(ORIGIN, ED25519, sha256(b"SPEC log key 2").digest())
SEED = sha256(b"SPEC witness key 1").digest()
WITNESS = NotePrivateKey("witness.example/w1", ED25519_COSIGNATURE, SEED)
SECOND = NotePrivateKey("witness.example/w2", ED25519_COSIGNATURE, sha256(b"second").digest())
LOG_LINE = f"— {ORIGIN} 9BaUxwYmSjpii7W8/36VznW9fnTaHsBzhE1lRg3MTm7r7MxXLHGgO5WELx9ztcD51B3vDEcNXBQJ8vgM+fo0X35MVg0=\n"
WITNESS_LINE = (
    "— witness.example/w1 "
    "PnVUVQAAAABpIP0AcaULpMeP4yTFWSa5mUAhH60DZFw0wjLWSvoAMTulQE82JMZRs3S+V/v9Q1KpACEyavhmfgEX/2u7PNL7lK9bAg==\n"
)
BODY = print_checkpoint(CHECKPOINT)
NOTE = (BODY + "\n" + LOG_LINE).encode()
COSIGNED = NOTE + WITNESS_LINE.encode()
ML_DSA = "cryptography.hazmat.primitives.asymmetric.mldsa"


def keys(*private: NotePrivateKey) -> list[VerifierKey]:
    return [each.verifier_key for each in private]


def with_signature(change: Callable[[bytes], bytes]) -> str:
    """The first witness's line with another signature in it."""
    line = parse_signature(WITNESS_LINE)
    return print_signature(replace(line, signature=change(line.signature)))


def ml_dsa_witness() -> NotePrivateKey:
    pytest.importorskip(ML_DSA, reason="this 'cryptography' has no ML-DSA")
    return NotePrivateKey("witness.example/w1", ML_DSA_44_COSIGNATURE, SEED)


def test_cosigning_gives_the_line_of_the_worked_example() -> None:
    assert cosign(CHECKPOINT, WITNESS, TIME) == WITNESS_LINE
    assert add_signatures(NOTE, [WITNESS_LINE]) == COSIGNED


def test_a_cosigned_checkpoint_names_its_log_key_and_its_witness() -> None:
    found = open_cosigned(COSIGNED, keys(LOG), keys(WITNESS, SECOND), ORIGIN)
    assert found == CosignedCheckpoint(CHECKPOINT, (LOG.verifier_key,), (Cosignature(WITNESS.verifier_key, TIME),), ())
    assert open_checkpoint(COSIGNED, keys(LOG), ORIGIN) == CHECKPOINT


def test_signers_stand_in_the_order_of_their_lines() -> None:
    lines = [cosign(CHECKPOINT, SECOND, 7), WITNESS_LINE, log_signature_line(NEXT.sign_text(BODY), NEXT.verifier_key)]
    found = open_cosigned(add_signatures(NOTE, lines), keys(NEXT, LOG), keys(WITNESS, SECOND), ORIGIN)
    assert found.log_keys == (LOG.verifier_key, NEXT.verifier_key)
    assert found.cosignatures == (Cosignature(SECOND.verifier_key, 7), Cosignature(WITNESS.verifier_key, TIME))


def test_a_witness_that_nobody_trusts_is_passed_over() -> None:
    for witnesses in ([], keys(SECOND), [VerifierKey("other", ED25519_COSIGNATURE, WITNESS.verifier_key.public_key)]):
        assert open_cosigned(COSIGNED, keys(LOG), witnesses, ORIGIN).cosignatures == ()


def test_the_line_of_a_known_witness_that_is_wrong_rejects_the_note() -> None:
    lines = [
        cosign(replace(CHECKPOINT, size=4), WITNESS, TIME),
        cosign(replace(CHECKPOINT, origin="other"), WITNESS, TIME),
        cosign(replace(CHECKPOINT, root=bytes(32)), WITNESS, TIME),
        with_signature(lambda signature: signature[:-1]),
        with_signature(lambda signature: signature + b"\0"),
        with_signature(lambda signature: signature[:8]),
        with_signature(lambda signature: signature[:7]),
        with_signature(lambda signature: b"\x80" + signature[1:]),
        with_signature(lambda signature: signature[:7] + b"\x01" + signature[8:]),
        with_signature(lambda signature: signature[8:]),
        with_signature(lambda _: WITNESS.sign(BODY.encode())),
    ]
    for line in lines:
        for note in (NOTE + line.encode(), COSIGNED + line.encode()):
            assert open_cosigned(note, keys(LOG), keys(SECOND), ORIGIN).checkpoint == CHECKPOINT
            with pytest.raises(VerificationError, match=r"signature of 'witness.example/w1' .* is wrong"):
                open_cosigned(note, keys(LOG), keys(WITNESS), ORIGIN)


def test_a_line_under_another_name_or_id_is_not_the_witnesss() -> None:
    """The Ed25519 message holds neither, so the signature alone would do."""
    line = parse_signature(WITNESS_LINE)
    assert verify_cosignature(CHECKPOINT, WITNESS.verifier_key, line).time == TIME
    for other in (replace(line, name="other"), replace(line, key_id=b"\0\0\0\0")):
        with pytest.raises(VerificationError, match="expected a signature of 'witness"):
            verify_cosignature(CHECKPOINT, WITNESS.verifier_key, other)


def test_a_time_of_2_to_the_63_is_wrong_though_it_is_signed() -> None:
    time = 2**63
    signature = time.to_bytes(8, "big") + WITNESS.sign(f"cosignature/v1\ntime {time}\n{BODY}".encode())
    line = print_signature(NoteSignature(WITNESS.name, WITNESS.verifier_key.key_id, signature))
    with pytest.raises(VerificationError, match="is wrong"):
        open_cosigned(NOTE + line.encode(), keys(LOG), keys(WITNESS), ORIGIN)
    last = cosign(CHECKPOINT, WITNESS, time - 1)
    assert open_cosigned(NOTE + last.encode(), keys(LOG), keys(WITNESS), ORIGIN).cosignatures[0].time == time - 1


@pytest.mark.parametrize("time", [-1, 0, 2**63])
def test_no_cosignature_is_made_for_a_time_that_says_nothing(time: int) -> None:
    with pytest.raises(Malformed, match="time"):
        cosign(CHECKPOINT, WITNESS, time)


def test_a_log_key_and_a_witness_are_not_taken_for_each_other() -> None:
    with pytest.raises(UnsupportedFormat, match="expected 0x04 or 0x06"):
        open_cosigned(COSIGNED, keys(LOG), keys(LOG), ORIGIN)
    with pytest.raises(UnsupportedFormat, match="expected 0x01"):
        open_cosigned(COSIGNED, keys(NotePrivateKey(ORIGIN, ED25519_COSIGNATURE, LOG.seed)), [], ORIGIN)
    with pytest.raises(UnsupportedFormat, match="expected 0x04 or 0x06"):
        cosign(CHECKPOINT, LOG, TIME)
    with pytest.raises(UnsupportedFormat, match="expected 0x04 or 0x06"):
        verify_cosignature(CHECKPOINT, LOG.verifier_key, parse_note(NOTE).signatures[0])


def test_one_public_key_does_not_vouch_in_two_roles() -> None:
    with pytest.raises(Malformed, match="each role needs a key of its own"):
        open_cosigned(COSIGNED, keys(LOG), keys(NotePrivateKey("w", ED25519_COSIGNATURE, LOG.seed)), ORIGIN)


def test_a_cosigned_note_without_the_logs_signature_is_rejected() -> None:
    unsigned = (BODY + "\n" + WITNESS_LINE).encode()
    for log_keys in ([], keys(LOG), keys(NEXT)):
        with pytest.raises(VerificationError, match="by a known key"):
            open_cosigned(unsigned, log_keys, keys(WITNESS), ORIGIN)


def test_a_checkpoint_of_another_origin_is_rejected() -> None:
    with pytest.raises(VerificationError, match="by a known key"):
        open_cosigned(COSIGNED, keys(LOG), keys(WITNESS), "another")
    other = replace(CHECKPOINT, origin="another")
    with pytest.raises(VerificationError, match="expected origin"):
        open_cosigned(LOG.sign_text(print_checkpoint(other)), keys(LOG), [], ORIGIN)


def test_the_key_of_another_log_does_not_speak_for_this_one() -> None:
    other = NotePrivateKey("another", ED25519, NEXT.seed)
    right = log_signature_line(other.sign_text(BODY), other.verifier_key)
    wrong = log_signature_line(other.sign_text("another text\n"), other.verifier_key)
    for line in (right, wrong):
        note = add_signatures(NOTE, [line])
        assert open_cosigned(note, keys(LOG, other), [], ORIGIN).log_keys == (LOG.verifier_key,)
        with pytest.raises(VerificationError, match="by a known key"):
            open_cosigned(note, keys(other), [], ORIGIN)


def test_a_body_with_an_extension_line_is_malformed_though_all_have_signed_it() -> None:
    with pytest.raises(Malformed, match="expected 3 lines"):
        open_cosigned(LOG.sign_text(BODY + "extension\n"), keys(LOG), keys(WITNESS), ORIGIN)


def test_ml_dsa_lines_are_made_and_checked() -> None:
    witness = ml_dsa_witness()
    line = cosign(CHECKPOINT, witness, TIME)
    assert len(line.encode()) == 3268
    note = COSIGNED + line.encode()
    found = open_cosigned(note, keys(LOG), keys(WITNESS, witness), ORIGIN)
    assert found.cosignatures == (Cosignature(WITNESS.verifier_key, TIME), Cosignature(witness.verifier_key, TIME))


def test_an_ml_dsa_line_covers_the_message_of_the_worked_example() -> None:
    witness = ml_dsa_witness()
    message = bytes.fromhex(
        "737562747265652f76310a00127769746e6573732e6578616d706c652f7731000000006920fd00186c65646765722e6578616d706c65"
        "2f61636d652f70726f6400000000000000000000000000000003e677513f7f3373ca5bc05c9c937d70bcf598e2647139c874be07d2d5"
        "48e4254b"
    )
    signature = TIME.to_bytes(8, "big") + witness.sign(message)
    line = print_signature(NoteSignature(witness.name, witness.verifier_key.key_id, signature))
    assert open_cosigned(NOTE + line.encode(), keys(LOG), keys(witness), ORIGIN).cosignatures[0].time == TIME


def test_an_ml_dsa_line_that_is_wrong_or_without_a_time_rejects_the_note() -> None:
    witness = ml_dsa_witness()
    signature = parse_signature(cosign(CHECKPOINT, witness, TIME)).signature
    untimed = b"subtree/v1\n\0" + b"\x12" + witness.name.encode() + bytes(8) + b"\x18" + ORIGIN.encode() + bytes(15)
    for wrong in (
        parse_signature(cosign(replace(CHECKPOINT, size=4), witness, TIME)).signature,
        bytes(7) + b"\x01" + signature[8:],
        signature[:-1],
        signature + b"\0",
        signature[:-1] + bytes([signature[-1] ^ 1]),
        bytes(8) + witness.sign(untimed + b"\x03" + ROOT),
    ):
        line = print_signature(NoteSignature(witness.name, witness.verifier_key.key_id, wrong))
        with pytest.raises(VerificationError, match="is wrong"):
            open_cosigned(NOTE + line.encode(), keys(LOG), keys(witness), ORIGIN)


def test_an_ml_dsa_line_is_told_as_unsupported_where_the_library_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    key = VerifierKey("witness.example/pq", ML_DSA_44_COSIGNATURE, bytes(1312))
    line = print_signature(NoteSignature(key.name, key.key_id, TIME.to_bytes(8, "big") + bytes(2420)))
    monkeypatch.setitem(sys.modules, ML_DSA, None)
    found = open_cosigned(COSIGNED + line.encode(), keys(LOG), [*keys(WITNESS), key], ORIGIN)
    assert found.unsupported == (key,)
    assert found.cosignatures == (Cosignature(WITNESS.verifier_key, TIME),)
    with pytest.raises(UnsupportedFormat):
        verify_cosignature(CHECKPOINT, key, parse_signature(line))


def test_a_name_that_no_ml_dsa_message_can_hold_is_refused() -> None:
    witness = ml_dsa_witness()
    with pytest.raises(Malformed, match="255 bytes"):
        NotePrivateKey("w" * 256, ML_DSA_44_COSIGNATURE, SEED)
    with pytest.raises(UnsupportedFormat, match="255 bytes"):
        cosign(replace(CHECKPOINT, origin="o" * 256), witness, TIME)
    assert cosign(replace(CHECKPOINT, origin="o" * 255), witness, TIME)


@pytest.mark.parametrize(
    "line",
    [
        "",
        "\n",
        WITNESS_LINE[:-1],
        WITNESS_LINE + WITNESS_LINE,
        "\n" + WITNESS_LINE,
        WITNESS_LINE[1:],
        WITNESS_LINE.replace("—", "-"),
        WITNESS_LINE.replace("\n", "\r\n"),
        WITNESS_LINE.replace("Ag==", "Ah=="),
    ],
)
def test_only_whole_signature_lines_are_added(line: str) -> None:
    with pytest.raises(Malformed):
        add_signatures(NOTE, [WITNESS_LINE, line])


def test_lines_are_added_to_a_note_only_and_not_without_bound() -> None:
    with pytest.raises(Malformed):
        add_signatures(BODY.encode(), [WITNESS_LINE])
    with pytest.raises(Malformed):
        add_signatures(BODY.encode() + b"\n", [WITNESS_LINE])
    with pytest.raises(Malformed):
        add_signatures(NOTE[:-1], [WITNESS_LINE])
    assert add_signatures(NOTE, [WITNESS_LINE] * 99).count(b"\n") == 104
    with pytest.raises(Malformed, match="at most 100"):
        add_signatures(NOTE, [WITNESS_LINE] * 100)


def test_the_logs_line_is_found_among_the_others() -> None:
    for note in (NOTE, COSIGNED, (BODY + "\n" + WITNESS_LINE + LOG_LINE).encode()):
        assert log_signature_line(note, LOG.verifier_key) == LOG_LINE
    with pytest.raises(VerificationError, match="has not signed it"):
        log_signature_line(COSIGNED, NEXT.verifier_key)
    with pytest.raises(VerificationError, match="is wrong"):
        log_signature_line(COSIGNED.replace(b"\n3\n", b"\n4\n"), LOG.verifier_key)
    with pytest.raises(UnsupportedFormat):
        log_signature_line(COSIGNED, WITNESS.verifier_key)


def test_the_line_that_a_timestamp_covers_gives_the_imprint_of_the_worked_example() -> None:
    covered = f"{BODY}\n{log_signature_line(COSIGNED, LOG.verifier_key)}".encode()
    assert len(covered) == 195
    assert sha256(covered).hexdigest() == "f28a395514c2277e29c52993e73d0f882790fd24bb62489131a72ab38f732898"


@given(st.integers(0, len(COSIGNED) * 8 - 1))
def test_any_one_bit_changed_in_a_cosigned_checkpoint_is_found(bit: int) -> None:
    changed = bytearray(COSIGNED)
    changed[bit // 8] ^= 1 << bit % 8
    try:
        found = open_cosigned(bytes(changed), keys(LOG), keys(WITNESS), ORIGIN)
    except (Malformed, VerificationError):
        return
    assert found.cosignatures == ()  # the line was made into that of an unknown witness


@given(st.integers(1, 2**63 - 1), st.integers(1, 2**63 - 1))
def test_any_size_and_time_that_is_cosigned_is_read_back(size: int, time: int) -> None:
    checkpoint = replace(CHECKPOINT, size=size)
    line = parse_signature(cosign(checkpoint, WITNESS, time))
    assert verify_cosignature(checkpoint, WITNESS.verifier_key, line) == Cosignature(WITNESS.verifier_key, time)


def test_the_lines_of_two_keys_of_one_origin_stand_under_one_body() -> None:
    note = add_signatures(NOTE, [log_signature_line(NEXT.sign_text(BODY), NEXT.verifier_key)])
    for log_keys in (keys(LOG), keys(NEXT), keys(LOG, NEXT)):
        assert open_cosigned(note, log_keys, [], ORIGIN).log_keys == tuple(log_keys)
    wrong = f"— {ORIGIN} {encode_base64(NEXT.verifier_key.key_id + bytes(64))}\n".encode()
    with pytest.raises(VerificationError, match="is wrong"):
        open_cosigned(NOTE + wrong, keys(LOG, NEXT), [], ORIGIN)
