"""Timestamps: what is stamped, and which answers of an authority hold."""

from __future__ import annotations

import json
import subprocess
import sys
from base64 import b64decode
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from shutil import which

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from affidavit.ledger.errors import LedgerError, Malformed, UnsupportedFormat, VerificationError
from affidavit.ledger.tlog.checkpoint import Checkpoint, sign_checkpoint
from affidavit.ledger.tlog.note import ED25519, VerifierKey, parse_vkey
from affidavit.ledger.tlog.timestamp import build_request, imprint, read_token, verify_signature_alone, verify_token
from affidavit.tests.authority import TIME_STAMPING, Authority

ORIGIN = "ledger.example/acme/prod"
ROOT = bytes.fromhex("e677513f7f3373ca5bc05c9c937d70bcf598e2647139c874be07d2d548e4254b")
PRIVATE_KEY = Ed25519PrivateKey.from_private_bytes(sha256(b"SPEC log key 1").digest())
KEY = parse_vkey(f"{ORIGIN}+f41694c7+AWLmv9A5WsV4c73UvAzGUAMzcNwNv2BabSyDkQ8zEf3C")
NOTE = sign_checkpoint(Checkpoint(ORIGIN, 3, ROOT), PRIVATE_KEY)
WITNESS_LINE = (
    "— witness.example/w1 "
    "PnVUVQAAAABpIP0AcaULpMeP4yTFWSa5mUAhH60DZFw0wjLWSvoAMTulQE82JMZRs3S+V/v9Q1KpACEyavhmfgEX/2u7PNL7lK9bAg==\n"
)
HASHED = sha256(b"a checkpoint").digest()
SERVER_AUTH = ExtendedKeyUsageOID.SERVER_AUTH
AT = 1_795_341_600_123_456


@pytest.fixture
def authority() -> Authority:
    return Authority(lambda: AT)


def test_the_imprint_of_the_worked_example() -> None:
    expected = "f28a395514c2277e29c52993e73d0f882790fd24bb62489131a72ab38f732898"
    assert imprint(NOTE, KEY).hex() == expected
    assert imprint(NOTE + WITNESS_LINE.encode(), KEY).hex() == expected, "cosignatures come later"


def test_a_note_that_the_key_did_not_sign_has_no_imprint() -> None:
    other = VerifierKey(ORIGIN, ED25519, Ed25519PrivateKey.generate().public_key().public_bytes_raw())
    with pytest.raises(VerificationError, match="has not signed"):
        imprint(NOTE, other)


def test_a_granted_answer_under_a_pinned_root_holds(authority: Authority) -> None:
    stamp = verify_token(authority.stamp(HASHED, 77), HASHED, [authority.root_pem], 77)

    assert (stamp.time_us, stamp.accuracy_us, stamp.serial) == (AT, 1_000_000, 1), "to the microsecond"
    assert (stamp.earliest, stamp.latest) == (AT - 1_000_000, AT + 1_000_000)
    assert stamp.authority == "CN=Test TSA"


def test_what_was_stamped_under_certificates_that_have_expired_since_holds() -> None:
    long_ago = Authority(lambda: 1_000_000_000_000_000)
    assert verify_token(long_ago.stamp(HASHED), HASHED, [long_ago.root_pem]).time_us == 1_000_000_000_000_000


def test_a_certificate_that_the_answer_leaves_out_may_be_pinned(authority: Authority) -> None:
    authority.carried = []
    answer = authority.stamp(HASHED)

    with pytest.raises(VerificationError, match="neither in it nor pinned"):
        verify_token(answer, HASHED, [authority.root_pem])
    own = authority.certificate.public_bytes(Encoding.PEM)
    assert verify_token(answer, HASHED, [authority.root_pem, own]).authority == "CN=Test TSA"


def test_of_two_roots_of_one_name_the_right_one_is_found(authority: Authority) -> None:
    other = Authority(lambda: AT)
    for roots in ([other.root_pem, authority.root_pem], [authority.root_pem + other.root_pem]):
        assert verify_token(authority.stamp(HASHED), HASHED, roots).time_us == AT


def test_a_certificate_that_is_no_root_vouches_for_nothing(authority: Authority) -> None:
    own = authority.certificate.public_bytes(Encoding.PEM)
    with pytest.raises(VerificationError, match="none of the pinned certificates is a root"):
        verify_token(authority.stamp(HASHED), HASHED, [own])


def test_certificates_in_any_order_are_read(authority: Authority) -> None:
    """OpenSSL leaves them as they come, which is not DER."""
    authority.carried = [authority.certificate, authority.root]
    answer = authority.stamp(HASHED)
    ders = sorted(certificate.public_bytes(Encoding.DER) for certificate in authority.carried)
    swapped = answer.replace(b"".join(ders), b"".join(reversed(ders)))

    assert swapped != answer
    assert verify_token(swapped, HASHED, [authority.root_pem]).time_us == AT


def _of_another_hash(authority: Authority) -> bytes:
    return authority.stamp(sha256(b"another").digest(), 77)


def _of_another_nonce(authority: Authority) -> bytes:
    return authority.stamp(HASHED, 78)


def _without_a_nonce(authority: Authority) -> bytes:
    return authority.stamp(HASHED)


def _refused(authority: Authority) -> bytes:
    return authority.refuse(b"")


def _by_an_unpinned_authority(_: Authority) -> bytes:
    return Authority(lambda: AT).stamp(HASHED, 77)


def _that_brings_its_own_root(_: Authority) -> bytes:
    other = Authority(lambda: AT)
    other.carried = [other.certificate, other.root]
    return other.stamp(HASHED, 77)


def _that_signs_with_its_own_root(authority: Authority) -> bytes:
    """Self-signed under the name of the pinned root, and carried in the token."""
    other = Authority(lambda: AT)
    other.certificate = other.certify(
        authority.root.subject, authority.root.subject, other.root_key, usage=[TIME_STAMPING]
    )
    other.key, other.carried = other.root_key, [other.certificate]
    return other.stamp(HASHED, 77)


def _with_another_key_under_its_name(authority: Authority) -> bytes:
    other = Authority(lambda: AT)
    other.certificate = authority.certificate
    other.carried = [authority.certificate]
    return other.stamp(HASHED, 77)


def _with_a_double_of_its_certificate(authority: Authority) -> bytes:
    """One that is not for time stamping signs; another of the same name and number says that it is."""
    own = authority.certificate
    plain = authority.certify(own.subject, own.issuer, authority.key, usage=[SERVER_AUTH], serial=own.serial_number)
    authority.carried = [plain, own]
    return authority.stamp(HASHED, 77)


def _with_another_certificate_of_its_key(authority: Authority) -> bytes:
    """Of the same name and number, in the place of the one that the token names."""
    own = authority.certificate
    authority.carried = [
        authority.certify(own.subject, own.issuer, authority.key, usage=[TIME_STAMPING], serial=own.serial_number)
    ]
    return authority.stamp(HASHED, 77)


def _with_certificates_of_others(authority: Authority) -> bytes:
    other = Authority(lambda: AT)
    authority.carried = [other.certificate, other.root]
    return authority.stamp(HASHED, 77)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (_of_another_hash, "expected " + HASHED.hex()),
        (_of_another_nonce, "nonce is 78, expected 77"),
        (_without_a_nonce, "nonce is None, expected 77"),
        (_refused, "not granted but rejected: no time today"),
        (_by_an_unpinned_authority, "no chain to a pinned root"),
        (_that_brings_its_own_root, "no chain to a pinned root"),
        (_that_signs_with_its_own_root, "no chain to a pinned root"),
        (_with_another_key_under_its_name, "signature is wrong"),
        (_with_a_double_of_its_certificate, "two certificates by the name"),
        (_with_another_certificate_of_its_key, "names another certificate"),
        (_with_certificates_of_others, "neither in it nor pinned"),
    ],
)
def test_an_answer_that_does_not_hold_is_refused(
    authority: Authority, answer: Callable[[Authority], bytes], said: str
) -> None:
    with pytest.raises(VerificationError, match=said):
        verify_token(answer(authority), HASHED, [authority.root_pem], 77)


def test_a_signature_is_checked_without_a_root_too(authority: Authority) -> None:
    assert verify_signature_alone(authority.stamp(HASHED, 77), HASHED, 77).time_us == AT
    for answer, said in (
        (_of_another_hash, "expected " + HASHED.hex()),
        (_of_another_nonce, "nonce is 78"),
        (_with_another_key_under_its_name, "signature is wrong"),
    ):
        with pytest.raises(VerificationError, match=said):
            verify_signature_alone(answer(Authority(lambda: AT)), HASHED, 77)
    wrong = Authority(lambda: AT, usage=[SERVER_AUTH])
    with pytest.raises(VerificationError, match="time stamping"):
        verify_signature_alone(wrong.stamp(HASHED), HASHED)


def test_whatever_byte_of_a_token_is_changed_its_signature_alone_still_tells(authority: Authority) -> None:
    answer = authority.stamp(HASHED, 77)
    true = verify_signature_alone(answer, HASHED, 77)
    for at in range(len(answer)):
        changed = answer[:at] + bytes([answer[at] ^ 1]) + answer[at + 1 :]
        try:
            assert verify_signature_alone(changed, HASHED, 77) == true, at
        except LedgerError:
            continue


@pytest.mark.parametrize("usage", [[], [SERVER_AUTH], [TIME_STAMPING, SERVER_AUTH]])
def test_a_certificate_for_something_else_stamps_nothing(usage: list[x509.ObjectIdentifier]) -> None:
    wrong = Authority(lambda: AT, usage=usage)
    with pytest.raises(VerificationError, match=r"time stamping"):
        verify_token(wrong.stamp(HASHED), HASHED, [wrong.root_pem])


def test_the_purpose_must_be_critical() -> None:
    wrong = Authority(lambda: AT, critical=False)
    with pytest.raises(VerificationError, match="critically"):
        verify_token(wrong.stamp(HASHED), HASHED, [wrong.root_pem])


@pytest.mark.parametrize(("valid", "said"), [((30, -10), "expired"), ((-10, 30), "not yet valid")])
def test_certificates_must_hold_at_the_time_of_the_token(valid: tuple[int, int], said: str) -> None:
    wrong = Authority(lambda: AT, valid=valid)
    with pytest.raises(VerificationError, match=said):
        verify_token(wrong.stamp(HASHED), HASHED, [wrong.root_pem])


def test_other_bytes_are_no_answer(authority: Authority) -> None:
    answer = authority.stamp(HASHED)
    for data in (b"", b"\x30", b"junk", answer[:-1], answer + b"\x00", b"\x30\x80" + answer):
        with pytest.raises(Malformed):
            verify_token(data, HASHED, [authority.root_pem])
    with pytest.raises(Malformed, match="expected PEM"):
        verify_token(answer, HASHED, [b"no certificate"])
    with pytest.raises(VerificationError, match="no root"):
        verify_token(answer, HASHED, [])


def test_whatever_byte_is_changed_says_the_same_or_is_refused(authority: Authority) -> None:
    """Some bytes of a token are signed by nobody; what it says never changes with them."""
    answer = authority.stamp(HASHED, 77)
    true = verify_token(answer, HASHED, [authority.root_pem], 77)
    held = 0
    for at in range(len(answer)):
        changed = answer[:at] + bytes([answer[at] ^ 1]) + answer[at + 1 :]
        try:
            found = verify_token(changed, HASHED, [authority.root_pem], 77)
        except LedgerError:
            continue
        assert found == true, at
        held += 1
    assert held < 20


def test_without_the_extra_it_is_said_how_to_get_it(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = authority.stamp(HASHED)
    monkeypatch.setitem(sys.modules, "rfc3161_client", None)
    with pytest.raises(UnsupportedFormat, match=r"affidavit\[timestamps\]"):
        read_token(answer)


# Held against OpenSSL, which shares no code with either side here.


@pytest.fixture
def openssl() -> str:
    found = which("openssl")
    if found is None:
        pytest.skip("openssl is not installed")
    return found


def test_openssl_verifies_what_the_authority_of_these_tests_stamps(
    authority: Authority, openssl: str, tmp_path: Path
) -> None:
    (tmp_path / "answer.tsr").write_bytes(authority.stamp(HASHED, 77))
    (tmp_path / "root.pem").write_bytes(authority.root_pem)
    command = [openssl, "ts", "-verify", "-in", "answer.tsr", "-digest", HASHED.hex(), "-CAfile", "root.pem"]
    done = subprocess.run(
        [*command, "-attime", str(AT // 1_000_000)], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert "Verification: OK" in done.stdout + done.stderr


def test_a_request_is_what_openssl_reads(openssl: str, tmp_path: Path) -> None:
    (tmp_path / "request.tsq").write_bytes(build_request(HASHED, 2**63 + 5))
    done = subprocess.run(
        [openssl, "ts", "-query", "-in", "request.tsq", "-text"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    for line in ("Version: 1", "Hash Algorithm: sha256", "Nonce: 0x8000000000000005", "Certificate required: yes"):
        assert line in done.stdout


# The vectors of other projects.


def test_a_token_that_openssl_made_holds(vectors: Path) -> None:
    folder = vectors / "rfc3161_local"
    hashed = sha256((folder / "cp.txt").read_bytes()).digest()
    request, answer, root = (folder / name for name in ("py.tsq", "py.tsr", "root.pem"))
    nonce = 10_825_916_393_042_779_765

    assert build_request(hashed, nonce) == request.read_bytes()
    stamp = verify_token(answer.read_bytes(), hashed, [root.read_bytes()], nonce)
    assert (stamp.time_us, stamp.serial, stamp.authority) == (1_795_308_400_000_000, 5, "CN=Local test TSA")


@pytest.mark.parametrize(
    ("name", "time_us"),
    [
        ("sigstage/response-sha256", 1_746_791_935_000_000),
        ("sigstage/response-no-embedded-cert", 1_750_234_382_000_000),
        ("sigstore.mock/response-expired", 1_675_209_600_000_000),
    ],
)
def test_the_tokens_of_others_hold_at_their_time(vectors: Path, name: str, time_us: int) -> None:
    answer = (vectors / "rfc3161" / f"{name}.tsr").read_bytes()
    chain = (vectors / "rfc3161" / f"{name}.tsr").with_name("ts_chain.pem").read_bytes()
    claimed = read_token(answer)
    assert verify_token(answer, claimed.imprint, [chain], claimed.nonce).time_us == time_us


def test_the_wrong_tokens_of_others_do_not_hold(vectors: Path) -> None:
    folder = vectors / "rfc3161" / "sigstage"
    answer = (folder / "response-invalid-signature.tsr").read_bytes()
    with pytest.raises(VerificationError, match="signature is wrong"):
        verify_token(answer, read_token(answer).imprint, [(folder / "ts_chain.pem").read_bytes()])
    other = (vectors / "rfc3161_local" / "root.pem").read_bytes()
    good = (folder / "response-sha256.tsr").read_bytes()
    with pytest.raises(VerificationError, match="no chain"):
        verify_token(good, read_token(good).imprint, [other])


@pytest.mark.parametrize(
    "name",
    [
        *("sigstage/response-sha384", "sigstage/response-sha512", "identrust/issue-104"),
        *("test_tsa/response", "test_tsa/response-injected-certs", "test_tsa/other_response"),
    ],
)
def test_another_hash_than_ours_is_said_not_to_be_known(vectors: Path, name: str) -> None:
    with pytest.raises(UnsupportedFormat, match="expected SHA-256"):
        read_token((vectors / "rfc3161" / f"{name}.tsr").read_bytes())


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("rekor2-timestamp-with-embedded-cert", None),
        ("rekor2-timestamp-without-embedded-cert", None),
        ("rekor2-timestamp-with-expired-cert-chain", None),
        ("rekor2-timestamp-payload-mismatch_fail", "it is of"),
        ("rekor2-timestamp-outside-tsa-cert-validity_fail", "certificate has expired"),
        ("rekor2-timestamp-untrusted-tsa-with-embedded-cert_fail", "no chain to a pinned root"),
        ("rekor2-timestamp-untrusted-tsa-without-embedded-cert_fail", "neither in it nor pinned"),
    ],
)
def test_the_tokens_of_sigstore_bundles(vectors: Path, name: str, said: str | None) -> None:
    """They stamp the signature of the bundle."""
    folder = vectors / "sigstore_bundles" / name
    (path,) = (path for path in folder.glob("*.json") if path.name != "trusted_root.json")
    bundle, trusted = (json.loads(found.read_bytes()) for found in (path, folder / "trusted_root.json"))
    (token,) = bundle["verificationMaterial"]["timestampVerificationData"]["rfc3161Timestamps"]
    hashed = sha256(b64decode(bundle["messageSignature"]["signature"])).digest()
    chains = [
        x509.load_der_x509_certificate(b64decode(certificate["rawBytes"])).public_bytes(Encoding.PEM)
        for authority in trusted["timestampAuthorities"]
        for certificate in authority["certChain"]["certificates"]
    ]
    answer = b64decode(token["signedTimestamp"])
    if said is None:
        assert verify_token(answer, hashed, chains).accuracy_us == 1_000_000
    else:
        with pytest.raises(VerificationError, match=said):
            verify_token(answer, hashed, chains)
