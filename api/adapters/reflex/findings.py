"""Findings: what an imported tree has wrong, lacks, or says twice. The set of kinds is closed.

A finding is evidence, not a verdict: the run is recorded all the same, with whatever its files support.
``place`` is a path below the imported root; ``detail`` never quotes a text, a key or a secret.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

KINDS: dict[str, str] = {
    # the tree
    "case_collision": "two names differ only in upper and lower case; the second was left out",
    "duplicate_run_id": "two run directories have one id; this one is kept under its whole directory name",
    "foreign_file": "a file or directory that this system does not write; not read",
    "limit_exceeded": "more or larger than the import reads; what is beyond the limit was left out",
    "name_refused": "a name outside [A-Za-z0-9._-]{1,128} or with a leading dot; left out",
    "no_run": "a run directory in which nothing could be read; no run was recorded",
    "run_erased": "the recorded run was erased since, so its files could not be compared; not imported again",
    "run_exists": "a run of this id was recorded here by somebody else; not imported",
    "run_not_recorded": "the ledger refused the run as a whole; nothing of it was recorded",
    "source_changed": "files differ from those that the recorded run was read from; the record stays",
    "special_file": "not a regular file (pipe, socket or device); not read",
    "symlink_refused": "a symbolic link; not followed",
    # one file
    "duplicate_key": "an object gives a key twice; the last one was taken, as the system itself does",
    "invalid_utf8": "bytes that are no UTF-8 were read as U+FFFD",
    "key_shaped_text": "free text holds something shaped like a key; free text is kept as found",
    "missing_file": "a file that every such run has is not there",
    "nan_token": "bare NaN or Infinity, which JSON does not have; read as null",
    "number_out_of_range": "a number beyond binary64 or 2^53 - 1 was read as its nearest, or as null",
    "secret_redacted": "a secret stood in clear; it was taken out before anything was hashed or sealed",
    "surrogate_replaced": "half of a surrogate pair was read as U+FFFD",
    "unknown_field": "a field that this system does not write; the file is kept as found",
    "unreadable_file": "no JSON of the expected shape (truncated, too deep, binary); not read",
    "value_refused": "a value of the wrong type, size or range; read as not given",
    # what was run, and what the run says of it
    "baseline_differs": "the baseline is told differently in two files",
    "best_prompt_file_differs": "best_prompt.md is not the best prompt of the checkpoint",
    "best_prompt_not_evaluated": "the prompt reported as best is one that the run never scored",
    "branch_baseline_inherited": "the baseline was copied from the parent run; this run never measured it",
    "checkpoint_best_mismatch": "the checkpoint's best score is not a score of its best prompt",
    "config_without_metrics": "the configuration does not say which metrics scored the run",
    "delta_on_wrong_change": "the rewrite log puts each score difference beside the change that came after it",
    "duplicate_rewrite_log_entry": "the rewrite log tells one iteration twice",
    "event_refused": "the files contradict each other so that one fact could not be recorded; it was left out",
    "final_prompt_not_reported": "the final score belongs to another prompt than the one reported with it",
    "interrupted": "the run neither completed nor failed: it was killed, or was running when it was read",
    "iteration_differs": "the iteration's file and result.json tell it differently; the file was taken",
    "iteration_gap": "iteration numbers have a hole",
    "iteration_mismatch": "the iteration's file name and its content give different numbers",
    "iteration_repeated": "two files tell one iteration; the second was kept as a source only",
    "iteration_without_file": "an iteration stands in result.json only",
    "iterations_out_of_order": "a later iteration was written earlier: a resumed run wrote over its files",
    "log_of_another_run": "run.log.jsonl tells another run, or a failure of a run that completed",
    "mean_excludes_failures": "the mean leaves out failed calls, which the pairs of the p-value count as 0",
    "mean_not_of_samples": "the mean is not the mean of the samples beside it",
    "mixed_score_kinds": "win rates stand where the baseline and final scores are means; they do not compare",
    "nan_score": "a score is no number; recorded as none",
    "parent_missing": "the run that this one branched from is not in the tree",
    "phase_history_missing": "a run in phases ended without its phase history",
    "phase_resumed_empty": "a phase is told as having no iterations",
    "pseudo_replication": "samples of several models stand in one list and count as independent pairs",
    "rationale_repeated": "an iteration that proposed nothing repeats the rationale of the one before",
    "reported_figure_differs": "a figure of result.json does not follow from the figures beside it",
    "result_lists_fewer_iterations": "result.json lists fewer iterations than there are files",
    "rewrite_not_as_replied": "the prompt scored next is not the one that the rationale proposes",
    "run_id_mismatch": "a file names another run than its directory does",
    "samples_not_paired": "baseline and final samples at one position have different inputs",
    "session_restarted": "the run started after its own baseline: a resume replaced the start time",
    "significance_not_recomputable": "the p-value does not follow from the samples",
    "token_totals_differ": "the token totals are not the sums of what they count",
    "val_trajectory_differs": "the validation trajectory is not that of the iterations",
}
"""Every kind of finding, with what it means."""

_LONGEST_DETAIL = 400


class Finding(NamedTuple):
    """One thing found. Make it with ``finding``, which knows the kinds."""

    kind: str
    place: str
    detail: str

    def as_json(self) -> dict[str, str]:
        return {"kind": self.kind, "place": self.place, "detail": self.detail}


def finding(kind: str, place: str, detail: str = "") -> Finding:
    """A finding of a known kind; without a detail it says what the kind means."""
    if kind not in KINDS:
        raise RuntimeError(f"finding kind {kind!r}: expected one of findings.KINDS")
    return Finding(kind, printable(place), printable(detail or KINDS[kind]))


def printable(text: str) -> str:
    """Text from a hostile tree, cut to a bounded length and safe to print and to encode."""
    cut = text if len(text) <= _LONGEST_DETAIL else text[:_LONGEST_DETAIL] + "…"
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in cut
    )


def count_kinds(findings: Iterable[Finding]) -> dict[str, int]:
    """Kind to how many, by kind."""
    return dict(sorted(Counter(found.kind for found in findings).items()))
