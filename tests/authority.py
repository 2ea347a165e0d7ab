"""A timestamp authority for tests: what it stamps, when, and what it gets wrong, is for the test to say.

It speaks RFC 3161 over loopback HTTP. Its tokens are built here byte by byte, so that they can be of any time and be
wrong in any one way; ``test_timestamp.py`` holds them against ``openssl ts``.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SHA256 = bytes.fromhex("300d06096086480165030402010500")
_ECDSA_SHA256 = bytes.fromhex("300a06082a8648ce3d040302")
_SIGNED_DATA = bytes.fromhex("06092a864886f70d010702")
_TST_INFO = bytes.fromhex("060b2a864886f70d0109100104")
_CONTENT_TYPE = bytes.fromhex("06092a864886f70d010903")
_MESSAGE_DIGEST = bytes.fromhex("06092a864886f70d010904")
_SIGNING_CERTIFICATE = bytes.fromhex("060b2a864886f70d010910022f")
_POLICY = bytes.fromhex("06022a03")  # 1.2.3: nobody asks for a policy
TIME_STAMPING = ExtendedKeyUsageOID.TIME_STAMPING


class Authority:
    """A root, and under it a key that stamps what it is asked to at the time that ``clock`` says.

    ``clock`` gives microseconds since 1970. ``valid`` are the days before and after that in which its certificates
    hold, ``usage`` and ``critical`` what its certificate says that it is for.
    """

    def __init__(
        self,
        clock: Callable[[], int],
        name: str = "Test TSA",
        *,
        valid: tuple[int, int] = (30, 30),
        usage: Sequence[x509.ObjectIdentifier] = (TIME_STAMPING,),
        critical: bool = True,
        key: ec.EllipticCurvePrivateKey | None = None,
    ) -> None:
        self.clock = clock
        self.key = key or ec.generate_private_key(ec.SECP256R1())
        self.root_key = ec.generate_private_key(ec.SECP256R1())
        self._now = _EPOCH + timedelta(microseconds=clock())
        self._valid = valid
        root_name = _name(f"{name} root")
        self.root = self.certify(root_name, root_name, self.root_key, authority=True)
        self.certificate = self.certify(_name(name), root_name, self.key, usage=usage, critical=critical)
        self.carried = [self.certificate]
        """The certificates that its tokens carry."""
        self.asked = 0

    @property
    def root_pem(self) -> bytes:
        return self.root.public_bytes(Encoding.PEM)

    def certify(
        self,
        subject: x509.Name,
        issuer: x509.Name,
        key: ec.EllipticCurvePrivateKey,
        *,
        authority: bool = False,
        usage: Sequence[x509.ObjectIdentifier] = (),
        critical: bool = True,
        serial: int | None = None,
    ) -> x509.Certificate:
        """A certificate of ``key``, signed by the root."""
        before, after = self._valid
        builder = (
            x509.CertificateBuilder(issuer, subject, key.public_key(), serial or x509.random_serial_number())
            .not_valid_before(self._now - timedelta(days=before))
            .not_valid_after(self._now + timedelta(days=after))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        )
        if usage:
            builder = builder.add_extension(x509.ExtendedKeyUsage(usage), critical=critical)
        return builder.sign(self.root_key, hashes.SHA256())

    def stamp(self, hashed: bytes, nonce: int | None = None) -> bytes:
        """A granted answer for a SHA-256."""
        at = (_EPOCH + timedelta(microseconds=self.clock())).strftime("%Y%m%d%H%M%S.%f").rstrip("0").rstrip(".")
        info = _sequence(
            _integer(1),
            _POLICY,
            _sequence(_SHA256, _der(0x04, hashed)),
            _integer(self.asked + 1),
            _der(0x18, at.encode() + b"Z"),
            _sequence(_integer(1)),  # accurate to a second
            b"" if nonce is None else _integer(nonce),
        )
        return _sequence(_sequence(_integer(0)), self._signed(info))

    def reply(self, request: bytes) -> bytes:
        """Answer a request, as ``build_request`` makes them."""
        self.asked += 1
        at = request.index(_SHA256) + len(_SHA256) + 2
        hashed, rest = request[at : at + 32], request[at + 32 :]
        return self.stamp(hashed, int.from_bytes(rest[2 : 2 + rest[1]], "big"))

    def refuse(self, request: bytes) -> bytes:
        """Answer that nothing is stamped."""
        self.asked += 1
        return _sequence(_sequence(_integer(2), _sequence(_der(0x0C, b"no time today"))))

    def _signed(self, info: bytes) -> bytes:
        identifier = sha256(self.certificate.public_bytes(Encoding.DER)).digest()
        attributes = sorted(
            [
                _sequence(_CONTENT_TYPE, _der(0x31, _TST_INFO)),
                _sequence(_MESSAGE_DIGEST, _der(0x31, _der(0x04, sha256(info).digest()))),
                _sequence(_SIGNING_CERTIFICATE, _der(0x31, _sequence(_sequence(_sequence(_der(0x04, identifier)))))),
            ],
            key=lambda attribute: (len(attribute), attribute),
        )
        signature = self.key.sign(_der(0x31, b"".join(attributes)), ec.ECDSA(hashes.SHA256()))
        signer = _sequence(
            _integer(1),
            _sequence(self.certificate.issuer.public_bytes(), _integer(self.certificate.serial_number)),
            _SHA256,
            _der(0xA0, b"".join(attributes)),
            _ECDSA_SHA256,
            _der(0x04, signature),
        )
        carried = b"".join(sorted(certificate.public_bytes(Encoding.DER) for certificate in self.carried))
        data = _sequence(
            _integer(3),
            _der(0x31, _SHA256),
            _sequence(_TST_INFO, _der(0xA0, _der(0x04, info))),
            _der(0xA0, carried) if carried else b"",
            _der(0x31, signer),
        )
        return _sequence(_SIGNED_DATA, _der(0xA0, data))


Answer = tuple[int, dict[str, str], bytes]
"""Status, headers and body."""


@contextmanager
def serving(reply: Callable[[bytes], bytes | Answer]) -> Iterator[str]:
    """Answer requests over loopback HTTP by ``reply``; gives the address."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            answer = reply(self.rfile.read(int(self.headers["Content-Length"])))
            status, headers, body = (
                (200, {"Content-Type": "application/timestamp-reply"}, answer) if isinstance(answer, bytes) else answer
            )
            self.send_response(status)
            for header, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(header, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing on standard error."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/tsr"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common_name)])


def _sequence(*parts: bytes) -> bytes:
    return _der(0x30, b"".join(parts))


def _integer(value: int) -> bytes:
    return _der(0x02, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def _der(tag: int, content: bytes) -> bytes:
    size = len(content)
    if size < 128:
        return bytes([tag, size]) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(length)]) + length + content
