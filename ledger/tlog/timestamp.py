"""Timestamps of RFC 3161: what a checkpoint's is asked for over, the request, and checking the answer.

An authority signs that it saw a hash at a time. What is stamped is the checkpoint as the log alone signed it::

    SHA256( body || 0x0A || the log key's signature line )

without cosignatures, so that it can be stamped at once and rebuilt later (docs/format.md, "Timestamps"). A token is
checked at the time that it states, not now: certificates expire, what they stamped before stays stamped.
Signature and chain are checked by ``rfc3161-client`` (extra ``timestamps``); where that is not installed, a
token cannot be checked: ``UnsupportedFormat``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from ..errors import LedgerError, Malformed, UnsupportedFormat, UntrustedAuthority, VerificationError
from .cosignature import log_signature_line
from .note import VerifierKey, parse_note
from .token_signature import require_named, require_signed

if TYPE_CHECKING:
    from rfc3161_client import TimeStampResponse

_SHA256 = "2.16.840.1.101.3.4.2.1"
_SHA256_IDENTIFIER = bytes.fromhex("300d06096086480165030402010500")
_PATH_TO_CERTIFICATES = (0, 1, 1, 0, 3)
_PATH_TO_TIME = (0, 1, 1, 0, 2, 1, 0, 0, 4)
_TIME = re.compile(rb"(\d{14})(?:\.(\d{1,12}))?Z")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NOT_UNDER_IT = (
    "unable to get local issuer certificate",
    "unable to get issuer certificate",
    "unable to verify the first certificate",
    "self-signed certificate",
    "self-signed certificate in certificate chain",
    "certificate signature failure",
)
"""What OpenSSL says where a root is not the one that a certificate was made under."""
_STATUS = {
    1: "granted with changes",
    2: "rejected",
    3: "waiting",
    4: "revocation warning",
    5: "revocation notification",
}


@dataclass(frozen=True, slots=True)
class Timestamp:
    """What a token says: the time in microseconds since 1970, give or take ``accuracy_us`` (0 where it says none).

    ``authority`` is the subject of the certificate that signed it, empty where the token does not carry that.
    """

    time_us: int
    accuracy_us: int
    serial: int
    authority: str

    @property
    def earliest(self) -> int:
        """The stamp was made at this time or later, in microseconds since 1970."""
        return self.time_us - self.accuracy_us

    @property
    def latest(self) -> int:
        """The stamp was made at this time or earlier, in microseconds since 1970."""
        return self.time_us + self.accuracy_us


@dataclass(frozen=True, slots=True)
class ClaimedTimestamp:
    """What a token says and of which hash, before any signature was checked."""

    imprint: bytes
    nonce: int | None
    timestamp: Timestamp


def imprint(note: bytes, key: VerifierKey) -> bytes:
    """The hash to be stamped for a checkpoint: 32 bytes. ``VerificationError`` where ``key`` did not sign the note."""
    signed = log_signature_line(note, key)
    return sha256(f"{parse_note(note).text}\n{signed}".encode()).digest()


def build_request(hashed: bytes, nonce: int) -> bytes:
    """A request (DER) to stamp a SHA-256 ``hashed``; it asks for the authority's certificate in the answer.

    ``nonce`` is a random number of at least 64 bits, which the answer must repeat.
    """
    of_what = _der(0x30, _SHA256_IDENTIFIER + _der(0x04, hashed))
    return _der(0x30, _integer(1) + of_what + _integer(nonce) + _der(0x01, b"\xff"))


def read_token(response: bytes) -> ClaimedTimestamp:
    """Read an authority's answer, verifying nothing but that it was granted.

    ``Malformed`` where it is no timestamp response, or is one followed by other bytes; ``VerificationError`` where
    nothing was stamped; ``UnsupportedFormat`` where what was stamped is no SHA-256.
    """
    with _reading():
        return _claimed(response, _decode(response))


def verify_token(response: bytes, hashed: bytes, roots: Sequence[bytes], nonce: int | None = None) -> Timestamp:
    """What an authority under one of ``roots`` said of the SHA-256 ``hashed``, by the certificates of that time.

    ``roots`` are PEM files; one may hold several certificates, also the intermediate ones and the authority's own,
    for answers that do not carry them. Raises as ``read_token`` does, and ``VerificationError`` for another hash, for
    a ``nonce`` other than the one asked with, for a signature or chain that does not hold, and for a certificate that
    is not for time stamping alone: ``UntrustedAuthority`` where all holds but that no chain leads to one of ``roots``.
    """
    pinned = [certificate for pem in roots for certificate in read_certificates(pem)]
    if not pinned:
        raise VerificationError("timestamp: no root of an authority is pinned")
    with _reading():
        parsed = _decode(response)
        claimed, signer = _require_answer(response, parsed, hashed, pinned, nonce)
        try:
            _verify_chain(parsed, hashed, pinned, signer)
        except UntrustedAuthority:
            require_signed(response, signer)
            raise
        return replace(claimed.timestamp, authority=signer.subject.rfc4514_string())


def verify_signature_alone(response: bytes, hashed: bytes, nonce: int | None = None) -> Timestamp:
    """As ``verify_token``, under the certificate that the token carries, whoever may have made that."""
    with _reading():
        claimed, signer = _require_answer(response, _decode(response), hashed, [], nonce)
        require_signed(response, signer)
        return claimed.timestamp


def _require_answer(
    response: bytes, parsed: TimeStampResponse, hashed: bytes, pinned: Sequence[x509.Certificate], nonce: int | None
) -> tuple[ClaimedTimestamp, x509.Certificate]:
    """What it says, and the certificate that it says signed it, once it is of what was asked and for that purpose."""
    claimed = _claimed(response, parsed)
    if claimed.imprint != hashed:
        raise VerificationError(f"timestamp: it is of {claimed.imprint.hex()}, expected {hashed.hex()}")
    if nonce is not None and claimed.nonce != nonce:
        raise VerificationError(f"timestamp: nonce is {claimed.nonce}, expected {nonce}")
    signer = _signer(parsed, pinned)
    if signer is None:
        raise UntrustedAuthority("timestamp: the certificate that signed it is neither in it nor pinned")
    _require_purpose(signer)
    require_named(response, signer)
    return claimed, signer


def read_certificates(pem: bytes) -> list[x509.Certificate]:
    """The certificates of a PEM file, or ``Malformed``."""
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError as error:
        raise Malformed(f"certificates: expected PEM: {error}") from error


@contextmanager
def _reading() -> Iterator[None]:
    """Whatever lies in a token, reading it ends in an error with a name."""
    try:
        yield
    except LedgerError:
        raise
    except Exception as error:
        raise Malformed(f"timestamp: the response does not parse: {error}") from error


def _decode(response: bytes) -> TimeStampResponse:
    try:
        import rfc3161_client
    except ImportError as error:
        raise UnsupportedFormat("timestamps are checked by the extra: pip install 'affidavit[timestamps]'") from error
    parsed = rfc3161_client.decode_timestamp_response(_sort_certificates(response))
    if parsed.status != 0:
        said = "; ".join(parsed.status_string)
        status = _STATUS.get(parsed.status, str(parsed.status))
        raise VerificationError(f"timestamp: not granted but {status}{': ' if said else ''}{said}")
    return parsed


def _claimed(response: bytes, parsed: TimeStampResponse) -> ClaimedTimestamp:
    info = parsed.tst_info
    algorithm = info.message_imprint.hash_algorithm.dotted_string
    if algorithm != _SHA256:
        raise UnsupportedFormat(f"timestamp: imprint by hash {algorithm}, expected SHA-256 ({_SHA256})")
    accuracy_us = 0
    if info.accuracy is not None:
        parts = (info.accuracy.seconds, info.accuracy.millis, info.accuracy.micros)
        accuracy_us = sum((part or 0) * unit for part, unit in zip(parts, (1_000_000, 1000, 1), strict=True))
    signer = _signer(parsed, [])
    authority = "" if signer is None else signer.subject.rfc4514_string()
    time_us = _time_of(response)
    if time_us // 1_000_000 != int(info.gen_time.timestamp()):
        raise Malformed("timestamp: its time is not where it belongs")
    stamped = Timestamp(time_us, accuracy_us, info.serial_number, authority)
    return ClaimedTimestamp(info.message_imprint.message, info.nonce, stamped)


def _time_of(response: bytes) -> int:
    """The time in a token; the library drops its fraction of a second."""
    found = _TIME.fullmatch(response[_find(response, _PATH_TO_TIME)])
    if found is None:
        raise Malformed("timestamp: expected a time like 20261122100000.5Z")
    second = datetime.strptime(found[1].decode(), "%Y%m%d%H%M%S").replace(tzinfo=UTC)
    return (second - _EPOCH) // timedelta(microseconds=1) + int((found[2] or b"0").ljust(6, b"0")[:6])


def _sort_certificates(response: bytes) -> bytes:
    """The response with its certificates in the order of DER.

    The library takes no other, but OpenSSL, and the authorities that use it, leave them as they come. No signature
    covers them.
    """
    place = _find(response, _PATH_TO_CERTIFICATES)
    certificates, at = [], place.start
    while at < place.stop:
        stop = _content(response, at).stop
        certificates.append(response[at:stop])
        at = stop
    return response[: place.start] + b"".join(sorted(certificates)) + response[place.stop :]


def _find(data: bytes, path: Sequence[int]) -> slice:
    """Where the content of a DER element lies; ``path`` says how many elements stand before it, at each depth."""
    place = slice(0, len(data))
    for before in path:
        at = place.start
        for _ in range(before):
            at = _content(data, at).stop
        if at >= place.stop:
            return slice(at, at)
        place = _content(data, at)
    return place


def _content(data: bytes, at: int) -> slice:
    """Where the content of the DER element at ``at`` lies."""
    length = data[at + 1]
    start = at + 2
    if length & 0x80:
        start += length & 0x7F
        length = int.from_bytes(data[at + 2 : start], "big")
    if start + length > len(data):
        raise Malformed("timestamp: the response breaks off")
    return slice(start, start + length)


def _signer(parsed: TimeStampResponse, pinned: Sequence[x509.Certificate]) -> x509.Certificate | None:
    """The certificate that the token says signed it, from the token, else from those that are pinned.

    A token may carry any certificates. Two that go by the same issuer and number could be taken one for the other:
    the signature checked under the first, the purpose read from the second.
    """
    infos = list(parsed.signed_data.signer_infos)
    if len(infos) != 1:
        raise VerificationError(f"timestamp: expected one signature, found {len(infos)}")
    carried = [x509.load_der_x509_certificate(der) for der in parsed.signed_data.certificates]
    named = (infos[0].issuer, infos[0].serial_number)
    found = {found for found in (carried or pinned) if (found.issuer, found.serial_number) == named}
    if len(found) > 1:
        raise VerificationError("timestamp: it carries two certificates by the name of the one that signed it")
    return next(iter(found), None)


def _require_purpose(signer: x509.Certificate) -> None:
    try:
        usage = signer.extensions.get_extension_for_class(x509.ExtendedKeyUsage)
    except x509.ExtensionNotFound as error:
        raise VerificationError("timestamp: its certificate names no purpose, expected time stamping") from error
    if not usage.critical or list(usage.value) != [ExtendedKeyUsageOID.TIME_STAMPING]:
        raise VerificationError("timestamp: its certificate is not, critically, for time stamping alone")


def _verify_chain(
    parsed: TimeStampResponse, hashed: bytes, pinned: Sequence[x509.Certificate], signer: x509.Certificate
) -> None:
    from rfc3161_client import VerificationError as NotVerified
    from rfc3161_client import VerifierBuilder

    # The library trusts the certificate that it is told is the authority's: it must not hear of one from the token.
    own = None if parsed.signed_data.certificates else signer
    # OpenSSL tries one root of a name only, and a root that was renewed goes by the name of the old one.
    roots = [found for found in pinned if found.issuer == found.subject]
    others = [found for found in pinned if found.issuer != found.subject]
    errors: list[VerificationError] = []
    for root in roots:
        try:
            VerifierBuilder(roots=[root, *others], tsa_certificate=own).build().verify(parsed, hashed)
            return
        except NotVerified as error:
            errors.append(_reason(error))
    # Of several roots one may be the right one, and say what is wrong.
    wrong = [error for error in errors if not isinstance(error, UntrustedAuthority)]
    raise next(iter(wrong or errors), UntrustedAuthority("timestamp: none of the pinned certificates is a root"))


def _reason(error: Exception) -> VerificationError:
    """What OpenSSL said, without its stack."""
    text = str(error)
    _, found, rest = text.partition('data: "Verify error: ')
    if found:
        why = rest.partition(chr(34))[0]
        kind = UntrustedAuthority if why in _NOT_UNDER_IT else VerificationError
        return kind(f"timestamp: no chain to a pinned root at its time: {why}")
    why = "its signature is wrong" if "signature failure" in text else text.partition(": ErrorStack")[0]
    return VerificationError(f"timestamp: {why}")


def _integer(value: int) -> bytes:
    return _der(0x02, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def _der(tag: int, content: bytes) -> bytes:
    assert len(content) < 128
    return bytes([tag, len(content)]) + content
