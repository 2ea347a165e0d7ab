"""The signature of a timestamp token by one certificate, whoever vouches for that (CMS, RFC 5652; RFC 3161 §2.4.2).

``rfc3161-client`` checks a token's signature only once it has found a chain to a root. Here is the other half: a token
of an authority that nobody pinned is told from one that was forged. It also checks what that library leaves out: that
the token names, under its signature, the certificate that it is checked with (ESSCertID, RFC 2634 and 5035).
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import new as new_hash
from hmac import compare_digest

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from ..errors import Malformed, UnsupportedFormat, VerificationError

_CONTENT_TYPE = bytes.fromhex("06092a864886f70d010903")
_MESSAGE_DIGEST = bytes.fromhex("06092a864886f70d010904")
_SIGNING_CERTIFICATE = bytes.fromhex("060b2a864886f70d010910020c")
_SIGNING_CERTIFICATE_V2 = bytes.fromhex("060b2a864886f70d010910022f")
_TST_INFO = bytes.fromhex("060b2a864886f70d0109100104")
_PSS = bytes.fromhex("06092a864886f70d01010a")
_HASHES: dict[bytes, tuple[str, hashes.HashAlgorithm]] = {
    bytes.fromhex("0609608648016503040201"): ("sha256", hashes.SHA256()),
    bytes.fromhex("0609608648016503040202"): ("sha384", hashes.SHA384()),
    bytes.fromhex("0609608648016503040203"): ("sha512", hashes.SHA512()),
}
_SEQUENCE, _SET, _OCTETS, _CONTEXT_0 = 0x30, 0x31, 0x04, 0xA0


def require_named(response: bytes, signer: x509.Certificate) -> None:
    """``VerificationError`` where the token does not name ``signer``, by its hash, as what signed it."""
    attributes = _attributes(_signer_info(response)[3])
    if _SIGNING_CERTIFICATE_V2 in attributes:
        first = _first_named(attributes[_SIGNING_CERTIFICATE_V2])
        algorithm, stated = ("sha256", first[0]) if first[0][0] == _OCTETS else (_hash(first[0])[0], first[1])
    elif _SIGNING_CERTIFICATE in attributes:
        algorithm, stated = "sha1", _first_named(attributes[_SIGNING_CERTIFICATE])[0]
    else:
        raise VerificationError("timestamp: it does not name, under its signature, the certificate that signed it")
    digest = new_hash(algorithm, signer.public_bytes(Encoding.DER), usedforsecurity=False).digest()
    if not compare_digest(_content(stated), digest):
        raise VerificationError("timestamp: it names another certificate than the one that it is checked with")


def require_signed(response: bytes, signer: x509.Certificate) -> None:
    """``VerificationError`` where the token is not signed by the key of ``signer``; nothing else of that is checked.

    ``UnsupportedFormat`` where it is signed by an algorithm that is not known here.
    """
    info = _signer_info(response)
    attributes = _attributes(info[3])
    name, algorithm = _hash(info[2])
    content = _content(_children(_children(_signed_data(response)[2])[1])[0])
    if attributes.get(_CONTENT_TYPE) != _TST_INFO:
        raise VerificationError("timestamp: its signature is of another kind of content")
    stated = attributes.get(_MESSAGE_DIGEST)
    if stated is None or not compare_digest(_content(stated), new_hash(name, content).digest()):
        raise VerificationError("timestamp: its signature is wrong")
    # What is signed is the attributes as a SET, whatever tag they are carried under.
    signed = bytes([_SET]) + info[3][1:]
    try:
        _verify(signer, _children(info[4])[0], _content(info[5]), signed, algorithm)
    except InvalidSignature as error:
        raise VerificationError("timestamp: its signature is wrong") from error


def _verify(
    signer: x509.Certificate, kind: bytes, signature: bytes, signed: bytes, algorithm: hashes.HashAlgorithm
) -> None:
    key = signer.public_key()
    if isinstance(key, rsa.RSAPublicKey) and kind != _PSS:
        key.verify(signature, signed, padding.PKCS1v15(), algorithm)
    elif isinstance(key, ec.EllipticCurvePublicKey):
        key.verify(signature, signed, ec.ECDSA(algorithm))
    elif isinstance(key, ed25519.Ed25519PublicKey):
        key.verify(signature, signed)
    else:
        raise UnsupportedFormat("timestamp: it is signed by an algorithm that is not known here")


def _hash(identifier: bytes) -> tuple[str, hashes.HashAlgorithm]:
    oid = _children(identifier)[0]
    if oid not in _HASHES:
        raise UnsupportedFormat("timestamp: it is signed over a hash that is not known here, expected SHA-256 to 512")
    return _HASHES[oid]


def _first_named(certificates: bytes) -> list[bytes]:
    """The parts of the first ESSCertID: that of the signer."""
    return _children(_children(_children(certificates)[0])[0])


def _attributes(signed: bytes) -> dict[bytes, bytes]:
    """The single value of each signed attribute, by its OID."""
    if signed[0] != _CONTEXT_0:
        raise VerificationError("timestamp: expected signed attributes, found none")
    attributes: dict[bytes, bytes] = {}
    for attribute in _children(signed):
        oid, values = _children(attribute)
        if oid in attributes:
            raise VerificationError("timestamp: it has a signed attribute twice")
        attributes[oid] = _children(values)[0]
    return attributes


def _signer_info(response: bytes) -> list[bytes]:
    """The elements of the one SignerInfo; which certificate it names is for the caller."""
    infos = _children(_signed_data(response)[-1])
    if len(infos) != 1:
        raise VerificationError(f"timestamp: expected one signature, found {len(infos)}")
    return _children(infos[0])


def _signed_data(response: bytes) -> list[bytes]:
    token = _children(response)[1]
    return _children(_children(_children(token)[1])[0])


def _children(element: bytes) -> list[bytes]:
    return list(_elements(_content(element)))


def _content(element: bytes) -> bytes:
    return element[_length(element)[0] :]


def _elements(data: bytes) -> Iterator[bytes]:
    while data:
        start, size = _length(data)
        yield data[: start + size]
        data = data[start + size :]


def _length(data: bytes) -> tuple[int, int]:
    """Where the content of the DER element that ``data`` begins with starts, and how long it is."""
    if len(data) < 2:
        raise Malformed("timestamp: the response breaks off")
    start, size = 2, data[1]
    if size & 0x80:
        start += size & 0x7F
        size = int.from_bytes(data[2:start], "big")
    if start + size > len(data):
        raise Malformed("timestamp: the response breaks off")
    return start, size
