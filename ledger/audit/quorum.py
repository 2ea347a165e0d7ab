"""Whether the witnesses that a reader trusts have seen a checkpoint: one judgement for a log and for a file."""

from __future__ import annotations

from dataclasses import replace

from ..tlog.cosignature import CosignedCheckpoint
from ..tlog.policy import Policy
from .stretches import Damage
from .verdict import Verdict

ALLOWED_AHEAD = 300
"""How many seconds a witness's clock may be ahead of the reader's."""


def counted(opened: CosignedCheckpoint, now: int | None) -> CosignedCheckpoint:
    """The checkpoint without cosignatures of a time that is still to come at ``now``, in seconds since 1970."""
    if now is None:
        return opened
    known = tuple(each for each in opened.cosignatures if each.time <= now + ALLOWED_AHEAD)
    return replace(opened, cosignatures=known)


def tell_unwitnessed(policy: Policy | None) -> str:
    """What is said of forks where there is no policy, or one whose quorum is none."""
    if policy is None:
        return "no witness has seen this log; its operator could show others another history"
    return "fork not excluded: the policy asks for no witness (quorum none)"


def meets_quorum(verdict: Verdict, policy: Policy, opened: CosignedCheckpoint, earlier: str = "") -> bool:
    """Whether the cosignatures are those that the reader's policy, which has a quorum, asks for.

    ``earlier`` says, after a semicolon, what is known of earlier checkpoints.
    """
    verdict.asked.add("fork")
    cosigners = [cosignature.key for cosignature in opened.cosignatures]
    if policy.is_met(cosigners):
        verdict.checked.append("witnesses")
        return True
    size = opened.checkpoint.size
    lacking = f"checkpoint of size {size}: {policy.lacking(cosigners)}"
    if policy.is_met([*cosigners, *opened.unsupported]):
        names = ", ".join(key.name for key in opened.unsupported)
        verdict.not_checked["fork"] = f"{lacking}; what {names} signed cannot be checked here (ML-DSA-44)"
        return False
    verdict.damage.append(Damage("quorum_not_met", None, lacking + earlier, unmet=True))
    verdict.not_checked["fork"] = f"too few witnesses have seen the checkpoint of size {size}"
    return False
