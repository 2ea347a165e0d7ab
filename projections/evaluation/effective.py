"""Which judgements count, where several were made of one thing: docs/evaluation.md, "What counts".

Conditions in SQL on a row ``t``, over the first ``:size`` entries.
"""

from __future__ import annotations

_VERDICT = "n.turn = t.turn AND n.version = t.version AND n.made <> 'import' AND n.seq < :size"


def same(one: str, other: str) -> str:
    """Whether two values are equal, or are both missing (SQL). False, and never NULL, otherwise."""
    return f"coalesce({one} = {other}, {one} IS NULL AND {other} IS NULL)"


_FIRST_OF_ITS_JOB = (
    "NOT EXISTS (SELECT 1 FROM verdicts x WHERE x.turn = n.turn AND x.version = n.version AND x.made <> 'import' "
    f"AND {same('x.job', 'n.job')} AND x.seq < n.seq)"
)
_SAME_JOB = same("n.job", "t.job")
VERDICT_COUNTS = f"""(t.made = 'import' OR t.turn IS NULL OR NOT EXISTS (SELECT 1 FROM verdicts n WHERE {_VERDICT}
    AND (({_SAME_JOB} AND n.seq < t.seq) OR (NOT {_SAME_JOB} AND n.seq > t.seq AND {_FIRST_OF_ITS_JOB}))))"""
"""Of a turn and a version: the first verdict of each job, and of those the one whose job judged last. Imported ones
all count."""


def newer_result(made: str) -> str:
    """Whether a later grade of the same session, name and agent version exists whose ``made`` is ``made`` (SQL)."""
    return (
        "EXISTS (SELECT 1 FROM results n WHERE n.session = t.session AND n.agent_version = t.agent_version "
        f"AND n.evaluation_name = t.evaluation_name AND n.seq > t.seq AND n.seq < :size AND n.made {made})"
    )


_OWN = "<> 'import'"
RESULT_COUNTS = f"NOT {newer_result(_OWN)}"
"""Of a session, name and agent version the grade recorded last. Imported ones supersede nothing."""
