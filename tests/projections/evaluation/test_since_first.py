"""The first decided verdict of each user, read off for any end of a window."""

from __future__ import annotations

import numpy as np
import pytest

from affidavit.projections.evaluation.columns import Columns
from affidavit.projections.evaluation.segments import DTYPES, LOST, TIED
from affidavit.projections.evaluation.since_first import SinceFirst
from affidavit.projections.evaluation.win_rate import LOSS, TIE, WIN, evidence, first_of_each_subject

DAY = 86_400_000_000


@pytest.mark.parametrize("seed", range(5))
def test_every_end_has_the_evidence_of_the_verdicts_up_to_it(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows = np.zeros(60, dtype=DTYPES["judged"])
    rows["at"] = np.sort(rng.integers(0, 12 * DAY, 60))
    rows["user"] = rng.integers(0, 2**63, 9).astype(np.uint64)[rng.integers(0, 9, 60)]
    rows["flags"] = np.array([0, LOST, TIED])[rng.integers(0, 3, 60)]
    found = SinceFirst.of(Columns(rows))
    for last in (-1, *rows["at"].tolist(), 20 * DAY, 2**80):
        upto = rows[rows["at"] <= min(last, 2**63 - 1)]
        days, place = np.unique(upto["at"] // DAY, return_inverse=True)
        outcomes = np.where(upto["flags"] & TIED, TIE, np.where(upto["flags"] & LOST, LOSS, WIN))
        counts = first_of_each_subject(outcomes, upto["user"], place, len(days))
        assert found.until(last) == (evidence(counts, one_of_each=True), len(upto))
