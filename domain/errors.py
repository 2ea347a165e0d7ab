"""The root of every error that Affidavit raises on purpose.

::

    AffidavitError
    ├── Refused                 a decision said no; nothing was recorded
    ├── MetricFailed            a metric gives no score (domain/optimization/metrics.py)
    ├── Diverged                a run does not do again what is recorded of it (api/drive/run_equality.py)
    └── LedgerError             (ledger/errors.py)
        ├── Malformed           bytes do not follow their format
        ├── Conflict            a stream's next position was taken by somebody else
        ├── Unavailable         a file, key or disk does not serve
        │   ├── Unreachable     the database's server went away, or does not let this user read
        │   ├── NotNow          it may serve later, and whoever asks may be told why
        │   ├── OutcomeUnknown  the connection was lost while committing, and nobody could say yet how it ended
        │   └── QuorumNotMet    too few of the witnesses that are required cosigned
        ├── UnsupportedFormat   written by a newer version of the format
        ├── SigningRefused      signing now would contradict what was signed before
        └── VerificationError   bytes parse but do not check out

Every message is lower-case and says where, what was expected and what was found.
"""

from __future__ import annotations


class AffidavitError(Exception):
    """Anything that Affidavit refuses or cannot do."""


class Refused(AffidavitError):
    """A decision said no.

    ``rule`` is a stable word that callers may branch on; the message is for people.
    """

    def __init__(self, rule: str, message: str) -> None:
        super().__init__(message)
        self.rule = rule

    def __reduce__(self) -> tuple[type[Refused], tuple[str, str]]:
        return type(self), (self.rule, str(self))  # it may come from another process
