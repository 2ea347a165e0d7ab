"""Files that somebody brings along: what does not read is told with the name of its file, in our words."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from affidavit.api.given_files import read_certificates, read_checkpoint, read_policy, read_receipt
from affidavit.ledger.errors import Malformed, Unavailable

READERS = {
    "checkpoint": read_checkpoint,
    "certificates": read_certificates,
    "policy": read_policy,
    "receipt": read_receipt,
}
EACH = pytest.mark.parametrize(("what", "read"), READERS.items())


@EACH
def test_a_file_that_is_not_there(what: str, read: Callable[[Path], object], tmp_path: Path) -> None:
    path = tmp_path / "none"
    with pytest.raises(Unavailable, match=f"^{what} {path}: No such file or directory$"):
        read(path)


@EACH
@pytest.mark.parametrize("junk", [b"", b"junk", b"\xff\n", b"-----BEGIN CERTIFICATE-----\nAAAA\n"])
def test_a_file_that_is_something_else(what: str, read: Callable[[Path], object], junk: bytes, tmp_path: Path) -> None:
    (path := tmp_path / "junk").write_bytes(junk)
    with pytest.raises(Malformed, match=f"^{what} {path}: ") as caught:
        read(path)
    assert "cryptography" not in str(caught.value)
