"""Errors come whole from another process."""

from __future__ import annotations

import pickle

import pytest

from affidavit.domain.errors import AffidavitError, Refused
from affidavit.ledger.errors import Conflict, SigningRefused, VerificationError


@pytest.mark.parametrize(
    "error",
    [
        Refused("run_known", "run '9' is not here"),
        Conflict("run/1", 2, 3),
        SigningRefused("fork", "another history"),
        VerificationError("wrong root"),
    ],
)
def test_an_error_is_the_same_after_it_was_sent(error: AffidavitError) -> None:
    came = pickle.loads(pickle.dumps(error))
    assert (type(came), str(came), vars(came)) == (type(error), str(error), vars(error))
