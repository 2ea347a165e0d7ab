"""Signed notes and verifier keys, against the notes of other projects."""

from __future__ import annotations

import json
from base64 import b64decode
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from affidavit.ledger.errors import Malformed, UnsupportedFormat, VerificationError
from affidavit.ledger.tlog.note import (
    ED25519,
    ED25519_COSIGNATURE,
    ML_DSA_44_COSIGNATURE,
    VerifierKey,
    check_name,
    decode_base64,
    encode_base64,
    open_note,
    parse_note,
    parse_vkey,
    print_vkey,
    sign_note,
)

NAME = "ledger.example/acme/prod"
TEXT = f"{NAME}\n3\n5ndRP38zc8pbwFyck31wvPWY4mRxOch0vgfS1UjkJUs=\n"
LOG_LINE = f"— {NAME} 9BaUxwYmSjpii7W8/36VznW9fnTaHsBzhE1lRg3MTm7r7MxXLHGgO5WELx9ztcD51B3vDEcNXBQJ8vgM+fo0X35MVg0=\n"
WITNESS_LINE = (
    "— witness.example/w1 "
    "PnVUVQAAAABpIP0AcaULpMeP4yTFWSa5mUAhH60DZFw0wjLWSvoAMTulQE82JMZRs3S+V/v9Q1KpACEyavhmfgEX/2u7PNL7lK9bAg==\n"
)
LOG_VKEY = f"{NAME}+f41694c7+AWLmv9A5WsV4c73UvAzGUAMzcNwNv2BabSyDkQ8zEf3C"
WITNESS_VKEY = "witness.example/w1+3e755455+BODcgP1OG+Amn33cxTqOqqGuf6EQa7RDeCQpeO6eKAZ2"
PRIVATE_KEY = Ed25519PrivateKey.from_private_bytes(sha256(b"SPEC log key 1").digest())
OTHER_KEY = Ed25519PrivateKey.from_private_bytes(sha256(b"other key").digest())
KEY = parse_vkey(LOG_VKEY)
OTHER = VerifierKey("other", ED25519, OTHER_KEY.public_key().public_bytes_raw())
NOTE = (TEXT + "\n" + LOG_LINE).encode()


def signature_lines(note: bytes) -> bytes:
    return note.rpartition(b"\n\n")[2]


def test_the_log_key_of_the_worked_example_is_read_and_printed() -> None:
    assert (KEY.name, KEY.algorithm, KEY.key_id.hex()) == (NAME, ED25519, "f41694c7")
    assert KEY.public_key == PRIVATE_KEY.public_key().public_bytes_raw()
    assert print_vkey(KEY) == LOG_VKEY


def test_the_key_id_depends_on_the_type() -> None:
    witness = parse_vkey(WITNESS_VKEY)
    assert (witness.algorithm, witness.key_id.hex()) == (ED25519_COSIGNATURE, "3e755455")
    assert VerifierKey(witness.name, ED25519, witness.public_key).key_id.hex() == "c6b6ef01"


def test_an_ml_dsa_key_is_read_and_printed() -> None:
    key = VerifierKey("witness.example/w1", ML_DSA_44_COSIGNATURE, bytes(1312))
    assert len(print_vkey(key)) == 1780
    assert parse_vkey(print_vkey(key)) == key


@pytest.mark.parametrize(
    "vkey",
    [
        "",
        NAME,
        f"{NAME}+f41694c7",
        f"{NAME}+f41694c7+",
        LOG_VKEY.replace("f41694c7", "F41694C7"),
        LOG_VKEY.replace("f41694c7", "f41694c8"),
        LOG_VKEY.replace(NAME, "ledger.example/acme/test"),
        LOG_VKEY + "\n",
        "ledger example" + LOG_VKEY.removeprefix(NAME),
        "\ud800" + LOG_VKEY.removeprefix(NAME),
    ],
)
def test_a_vkey_that_is_not_exact_is_malformed(vkey: str) -> None:
    with pytest.raises(Malformed):
        parse_vkey(vkey)


@pytest.mark.parametrize(
    ("algorithm", "size"),
    [(0x00, 32), (0x02, 32), (0x03, 32), (0x05, 32), (0x01, 31), (0x04, 33), (0x06, 1311)],
)
def test_a_key_of_unknown_type_or_wrong_length_is_malformed(algorithm: int, size: int) -> None:
    with pytest.raises(Malformed, match=r"type is|expected .* bytes"):
        VerifierKey("name", algorithm, b"\x09" * size)


def test_the_vkeys_of_other_projects_are_answered_as_they_say(vectors: Path) -> None:
    known = json.loads((vectors / "vkeys.json").read_text())
    for vkey in known["ok"]:
        assert print_vkey(parse_vkey(vkey)) == vkey
    for vkey in known["upstream_accepts_but_key_id_is_wrong"] + known["ok_ecdsa"] + known["bad"]:
        with pytest.raises(Malformed):
            parse_vkey(vkey)


def test_every_part_and_every_mutation_of_a_vkey_is_malformed(vectors: Path) -> None:
    vkey: str = json.loads((vectors / "vkeys.json").read_text())["ok"][0]
    parts = {vkey[start:end] for start in range(len(vkey)) for end in range(start, len(vkey) + 1)} - {vkey}
    mutations = {vkey[:at] + chr(ord(char) + 1) + vkey[at + 1 :] for at, char in enumerate(vkey)}
    for wrong in parts | mutations:
        with pytest.raises(Malformed):
            parse_vkey(wrong)


def test_keys_of_low_order_are_malformed_and_all_others_taken(vectors: Path) -> None:
    rows = json.loads((vectors / "ed25519_cctv.json").read_text())
    low = {row["key"]: "low_order_A" in (row["flags"] or []) for row in rows}
    assert set(low.values()) == {True, False}
    for key, is_low in low.items():
        for algorithm in (ED25519, ED25519_COSIGNATURE):
            if is_low:
                with pytest.raises(Malformed, match="low order"):
                    VerifierKey("name", algorithm, bytes.fromhex(key))
            else:
                VerifierKey("name", algorithm, bytes.fromhex(key))


@pytest.mark.parametrize(
    "key",
    [
        "0100000000000000000000000000000000000000000000000000000000000000",
        "0000000000000000000000000000000000000000000000000000000000000080",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    ],
)
def test_a_key_of_low_order_is_malformed(key: str) -> None:
    with pytest.raises(Malformed, match="low order"):
        VerifierKey("name", ED25519, bytes.fromhex(key))


def test_the_library_verifies_by_the_rules_that_we_count_on(vectors: Path) -> None:
    """All of Wycheproof; and of the edge cases that OpenSSL takes, 86 remain with keys that we take."""
    for group in json.loads((vectors / "wycheproof_ed25519_test.json").read_text())["testGroups"]:
        for row in group["tests"]:
            assert is_valid(group["publicKey"]["pk"], row["sig"], bytes.fromhex(row["msg"])) == (
                row["result"] == "valid"
            )
    rows = json.loads((vectors / "ed25519_cctv.json").read_text())
    taken = [row for row in rows if is_valid(row["key"], row["sig"], row["msg"].encode())]
    assert len(taken) == 208
    assert sum("low_order_A" not in (row["flags"] or []) for row in taken) == 86


def is_valid(key: str, signature: str, message: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(key)).verify(bytes.fromhex(signature), message)
    except InvalidSignature:
        return False
    return True


def test_signing_gives_the_note_of_the_worked_example() -> None:
    assert sign_note(TEXT, NAME, PRIVATE_KEY) == NOTE
    assert open_note(NOTE, [KEY]) == TEXT


def test_signing_gives_the_note_that_go_signed(vectors: Path) -> None:
    known = json.loads((vectors / "vkeys.json").read_text())
    name, _, encoded = known["signer_private"].removeprefix("PRIVATE+KEY+").split("+", 2)
    key = Ed25519PrivateKey.from_private_bytes(b64decode(encoded)[1:])
    text = known["signer_note"].rpartition("\n\n")[0] + "\n"
    assert sign_note(text, name, key).decode() == known["signer_note"]


@pytest.mark.parametrize("text", ["", "no newline", "tab\there\n", "return\r\n", "nul\0\n", "\ud800\n"])
def test_a_text_that_no_note_can_hold_is_not_signed(text: str) -> None:
    with pytest.raises(Malformed):
        sign_note(text, NAME, PRIVATE_KEY)


@pytest.mark.parametrize("name", ["", "two words", "a+b", "a\u00a0b", "a\u2028b", "a\x01b", "a\nb", "\udfff"])
def test_a_key_name_holds_no_space_control_character_or_plus(name: str) -> None:
    for act in (lambda: check_name(name), lambda: sign_note(TEXT, name, PRIVATE_KEY)):
        with pytest.raises(Malformed):
            act()


def test_a_note_is_split_at_its_last_empty_line() -> None:
    text = "first\n\nsecond — no signature\n\n\n"
    note = sign_note(text, NAME, PRIVATE_KEY)
    assert parse_note(note).text == text
    assert open_note(note, [KEY]) == text


def test_a_signature_by_an_unknown_key_is_passed_over() -> None:
    note = NOTE + WITNESS_LINE.encode()
    assert [(each.name, each.key_id.hex()) for each in parse_note(note).signatures] == [
        (NAME, "f41694c7"),
        ("witness.example/w1", "3e755455"),
    ]
    assert open_note(note, [KEY, OTHER]) == TEXT


def test_a_known_and_wrong_signature_rejects_the_note_beside_a_right_one() -> None:
    wrong = signature_lines(sign_note(TEXT + "more\n", "other", OTHER_KEY))
    assert open_note(NOTE + wrong, [KEY]) == TEXT
    for verifiers in ([KEY, OTHER], [OTHER]):
        with pytest.raises(VerificationError, match=r"signature of 'other' .* is wrong"):
            open_note(NOTE + wrong, verifiers)
    with pytest.raises(VerificationError, match="is wrong"):
        open_note(NOTE + signature_lines(sign_note(TEXT + "more\n", NAME, PRIVATE_KEY)), [KEY])


def test_a_known_key_whose_signature_has_not_64_bytes_rejects_the_note() -> None:
    signature = parse_note(NOTE).signatures[0].signature
    for wrong in (signature[:-1], signature + b"\0", b"\0"):
        line = f"— {NAME} {encode_base64(KEY.key_id + wrong)}\n"
        with pytest.raises(VerificationError, match="is wrong"):
            open_note((TEXT + "\n" + line).encode(), [KEY])


@pytest.mark.parametrize("verifiers", [[], [OTHER], [VerifierKey("other", ED25519, KEY.public_key)]])
def test_a_note_that_no_known_key_signed_is_rejected(verifiers: list[VerifierKey]) -> None:
    with pytest.raises(VerificationError, match="none of its 1 signatures is by a known key"):
        open_note(NOTE, verifiers)


def test_two_verifiers_with_one_name_and_id_are_an_error() -> None:
    with pytest.raises(Malformed, match="two keys"):
        open_note(NOTE, [KEY, KEY])


def test_a_cosignature_key_does_not_open_a_note() -> None:
    with pytest.raises(UnsupportedFormat, match="type is 0x04"):
        open_note(NOTE + WITNESS_LINE.encode(), [KEY, parse_vkey(WITNESS_VKEY)])


def test_a_note_has_at_most_100_signatures() -> None:
    body = (TEXT + "\n").encode()
    assert open_note(body + 100 * LOG_LINE.encode(), [KEY]) == TEXT
    with pytest.raises(Malformed, match="at most 100 signatures, found 101"):
        open_note(body + 101 * LOG_LINE.encode(), [KEY])


@pytest.mark.parametrize(
    "note",
    [
        b"",
        b"\n\n",
        TEXT.encode(),
        (TEXT + "\n").encode(),
        (TEXT + LOG_LINE).encode(),
        NOTE[:-1],
        NOTE + b"\n",
        NOTE.replace(b"\n", b"\r\n"),
        NOTE.replace("—".encode(), b"-"),
        NOTE.replace("— ".encode(), "—  ".encode()),
        NOTE.replace("— ".encode(), "—\u00a0".encode()),
        NOTE.replace(b" 9BaU", b"  9BaU"),
        NOTE.replace(b" 9BaU", b" 9Ba"),
        NOTE.replace(b"MVg0=", b"MVg1="),
        NOTE.replace(b"MVg0=", b"MVg0"),
        NOTE.replace(b"MVg0=\n", b"MVg0= \n"),
        NOTE.replace(b"9BaUx", b"9BaU_"),
        (TEXT + f"\n— {NAME} 9BaUxw==\n").encode(),
        (TEXT + f"\n— {NAME}\n").encode(),
        b"\xff" + NOTE,
        b"\xed\xa0\x80" + NOTE,
        b"\x01" + NOTE,
    ],
)
def test_bytes_that_are_no_note_are_malformed(note: bytes) -> None:
    for act in (lambda: parse_note(note), lambda: open_note(note, [KEY])):
        with pytest.raises(Malformed):
            act()


def test_the_notes_of_other_projects_are_answered_as_they_say(vectors: Path) -> None:
    rows = [row for row in signed_notes(vectors) if not is_cosigned(row)]
    assert {row["want"] for row in rows} == {"ok", "reject"}
    for row in rows:
        note, verifiers = row["note"].encode(), [parse_vkey(vkey) for vkey in row["vkeys"]]
        if row["want"] == "ok":
            assert open_note(note, verifiers) == row["note"].rpartition("\n\n")[0] + "\n"
        else:
            with pytest.raises((Malformed, VerificationError)):
                open_note(note, verifiers)


def test_cosigned_notes_of_other_projects_are_parsed_and_not_opened(vectors: Path) -> None:
    rows = [row for row in signed_notes(vectors) if is_cosigned(row)]
    assert rows
    for row in rows:
        (verifier,) = map(parse_vkey, row["vkeys"])
        assert verifier.key_id in [each.key_id for each in parse_note(row["note"].encode()).signatures]
        with pytest.raises(UnsupportedFormat):
            open_note(row["note"].encode(), [verifier])


def signed_notes(vectors: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads((vectors / "signed_notes.json").read_text())
    return rows


def is_cosigned(row: dict[str, Any]) -> bool:
    return any(parse_vkey(vkey).algorithm == ED25519_COSIGNATURE for vkey in row["vkeys"])


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters=[*map(chr, range(32))]) | st.just("\n")))
def test_any_text_without_control_characters_opens_as_it_was_signed(text: str) -> None:
    assert open_note(sign_note(text + "\n", NAME, PRIVATE_KEY), [KEY]) == text + "\n"


@given(st.integers(0, len(NOTE) * 8 - 1))
def test_any_one_bit_changed_in_a_note_is_found(bit: int) -> None:
    changed = bytearray(NOTE)
    changed[bit // 8] ^= 1 << bit % 8
    with pytest.raises((Malformed, VerificationError)):
        open_note(bytes(changed), [KEY])


@given(st.binary())
def test_base64_reads_what_it_prints(data: bytes) -> None:
    assert decode_base64(encode_base64(data)) == data


@pytest.mark.parametrize(
    "text", ["A", "AA", "AB==", "AAB=", "AA==AA==", "AA==\n", " AA==", "A-__", "AA=A", "é", "\ud800"]
)
def test_base64_that_is_not_canonical_is_malformed(text: str) -> None:
    with pytest.raises(Malformed, match="base64"):
        decode_base64(text)
