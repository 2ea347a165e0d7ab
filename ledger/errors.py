"""What can go wrong in the ledger; the tree is drawn in ``domain/errors.py``."""

from __future__ import annotations

from ..domain.errors import AffidavitError


class LedgerError(AffidavitError):
    """Anything that goes wrong below the decisions."""


class Malformed(LedgerError):
    """Bytes do not follow their format."""


class Conflict(LedgerError):
    """Somebody else has taken the position that this appender expected."""

    def __init__(self, stream: str, expected: int, found: int) -> None:
        super().__init__(f"stream {stream}: expected next position {expected}, found {found}")
        self.stream = stream
        self.expected = expected
        self.found = found

    def __reduce__(self) -> tuple[type[Conflict], tuple[str, int, int]]:
        return type(self), (self.stream, self.expected, self.found)


class Unavailable(LedgerError):
    """A file, a key or the disk does not serve; the ledger is as it was."""


class Unreachable(Unavailable):
    """The database's server went away, or does not let this user read: that says nothing of what lies there."""


class NotNow(Unavailable):
    """It may serve later. What it says names neither files nor databases, and may be told to whoever asks."""


class OutcomeUnknown(Unavailable):
    """The connection was lost while committing, and so far nobody could say whether it is recorded."""


class QuorumNotMet(Unavailable):
    """Witnesses are required, and not enough of them cosigned: what is recorded stays, nothing is published."""


class UnsupportedFormat(LedgerError):
    """The ledger or entry was written in a format that this version does not know."""


class SigningRefused(LedgerError):
    """A signature now would contradict an earlier one, or cover entries that do not re-hash.

    ``kind`` is ``rollback``, ``fork`` or ``self_check_failed``.
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind

    def __reduce__(self) -> tuple[type[SigningRefused], tuple[str, str]]:
        return type(self), (self.kind, str(self))


class VerificationError(LedgerError):
    """Bytes parse but do not check out: a proof, a root or a signature is wrong."""


class UntrustedAuthority(VerificationError):
    """A timestamp token is rightly signed, as far as can be seen, by an authority that the reader has not pinned."""
