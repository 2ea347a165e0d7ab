"""ML-DSA-44 (FIPS 204, empty context), where the installed ``cryptography`` has it.

Elsewhere every function raises ``UnsupportedFormat``: such a signature is not checked, which is not the same as good.
"""

from __future__ import annotations

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

from ..errors import UnsupportedFormat


def public_key_of(seed: bytes) -> bytes:
    """Return the 1,312 bytes of the public key that belongs to a seed of 32 bytes."""
    try:
        from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey

        return MLDSA44PrivateKey.from_seed_bytes(seed).public_key().public_bytes_raw()
    except (ImportError, UnsupportedAlgorithm) as error:
        raise _absent() from error


def sign(seed: bytes, message: bytes) -> bytes:
    """Return a signature of 2,420 bytes; it differs from call to call, since the library hedges it."""
    try:
        from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey

        return MLDSA44PrivateKey.from_seed_bytes(seed).sign(message)
    except (ImportError, UnsupportedAlgorithm) as error:
        raise _absent() from error


def is_signed(public_key: bytes, signature: bytes, message: bytes) -> bool:
    """Whether ``signature`` is the key's over ``message``."""
    try:
        from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PublicKey

        MLDSA44PublicKey.from_public_bytes(public_key).verify(signature, message)
    except (ImportError, UnsupportedAlgorithm) as error:
        raise _absent() from error
    except InvalidSignature:
        return False
    return True


def _absent() -> UnsupportedFormat:
    return UnsupportedFormat("ML-DSA-44: the installed package 'cryptography' does not have it")
