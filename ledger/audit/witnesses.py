"""Witnesses: what the log says of them, and whether enough of those that the reviewer trusts have cosigned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from ..entries.entry import parse_entry
from ..errors import LedgerError
from ..folds.witnesses import WITNESSES_STREAM, declaration
from ..store.reader import LedgerReader
from ..tlog.cosignature import Cosignature, CosignedCheckpoint
from ..tlog.policy import NO_QUORUM, Policy, parse_policy
from .quorum import counted, meets_quorum, tell_unwitnessed
from .stretches import Damage
from .verdict import Verdict, Witnessing

Checkpoints = Mapping[int, CosignedCheckpoint]
"""Published checkpoints, opened, by size."""


@dataclass(frozen=True, slots=True)
class Declared:
    """Entry ``seq`` says that checkpoints that cover it are shown to the witnesses of ``policy``."""

    seq: int
    policy: Policy
    required: bool


def read_declarations(reader: LedgerReader) -> tuple[list[Declared], list[Damage]]:
    """Every declaration of witnesses in order. One that cannot be read declares none, and is damage."""
    declared: list[Declared] = []
    damage: list[Damage] = []
    for row in reader.stream(WITNESSES_STREAM):
        try:
            event = declaration(parse_entry(row.raw))
            if event is not None:
                declared.append(Declared(row.seq, parse_policy(event.policy), event.required))
        except (LedgerError, ValueError, TypeError, AttributeError) as error:
            damage.append(Damage("rule_broken", row.seq, f"it declares no witnesses that could be read: {error}"))
    return declared, damage


def check_declared(opened: Checkpoints, declared: Sequence[Declared]) -> list[Damage]:
    """While the log says that its witnesses are required, no checkpoint is published without their quorum."""
    lacking = []
    for size, found in opened.items():
        rules = next((each for each in reversed(declared) if each.seq < size), None)
        if rules is not None and rules.required:
            cosigners = [*(each.key for each in found.cosignatures), *found.unsupported]
            if not rules.policy.is_met(cosigners):
                lacking.append((size, rules.policy.lacking(cosigners)))
    if not lacking:
        return []
    size, missing = lacking[0]
    more = f", and {len(lacking) - 1} larger ones" if lacking[1:] else ""
    detail = f"the log says that its witnesses are required, yet checkpoint of size {size}{more} lacks them: {missing}"
    return [Damage("quorum_not_met", None, detail, unmet=True)]


def check_witnesses(
    opened: Checkpoints,
    declarations: Sequence[Declared],
    verdict: Verdict,
    policy: Policy | None,
    now: int | None,
    max_age: int | None,
) -> bool:
    """Count cosignatures on the newest checkpoint; whether a quorum is as new as ``max_age`` seconds before ``now``.

    The policy from outside decides; that which the log declares is its operator's own word.
    """
    opened = {size: counted(each, now) for size, each in opened.items()}
    modes = _modes(declarations)
    declared = declarations[-1] if declarations else None
    required = declared.required if declared else None
    rules = policy or (declared.policy if declared else None)
    if rules is None or rules.quorum == NO_QUORUM:
        verdict.witnessing = Witnessing(required, modes)
        verdict.not_checked["fork"] = tell_unwitnessed(rules)
        if max_age is not None:
            verdict.damage.append(_stale("no cosignature has an age: the policy asks for no witness"))
        return False
    met = {size: at for size, each in opened.items() if (at := _met_at(rules, each.cosignatures)) is not None}
    largest = max(met, default=None)
    whose: Literal["given", "declared"] = "declared" if policy is None else "given"
    at = None if largest is None else met[largest]
    verdict.witnessing = Witnessing(required, modes, whose, rules.digest, largest, at)
    if policy is None:
        verdict.not_checked["fork"] = _told_of_declared(opened, declarations[-1], largest)
        return False
    if not opened:
        verdict.asked.add("fork")
        verdict.not_checked["fork"] = "no checkpoint is signed that witnesses could have seen"
        return False
    newest = opened[max(opened)]
    earlier = "no earlier one has a quorum" if largest is None else f"the last with a quorum is of size {largest}"
    return meets_quorum(verdict, policy, newest, f"; {earlier}") and _is_fresh(newest, policy, verdict, now, max_age)


def _modes(declarations: Sequence[Declared]) -> tuple[tuple[int, bool], ...]:
    """From which entry on its witnesses were required, or not required any more."""
    modes: list[tuple[int, bool]] = []
    for each in declarations:
        if not modes or modes[-1][1] != each.required:
            modes.append((each.seq, each.required))
    return tuple(modes)


def _is_fresh(
    newest: CosignedCheckpoint, policy: Policy, verdict: Verdict, now: int | None, max_age: int | None
) -> bool:
    if now is None or max_age is None:
        return False
    fresh = [each.key for each in newest.cosignatures if now - max_age <= each.time]
    if not policy.is_met(fresh):
        size = newest.checkpoint.size
        verdict.damage.append(_stale(f"checkpoint of size {size}: no quorum cosigned it in the last {max_age} seconds"))
        return False
    verdict.checked.append("freshness")
    return True


def _stale(detail: str) -> Damage:
    return Damage("stale_cosignature", None, detail, unmet=True)


def _met_at(policy: Policy, cosignatures: Sequence[Cosignature]) -> int | None:
    """The latest time such that the cosignatures from then on make the quorum; None where all of them do not."""
    for time in sorted({each.time for each in cosignatures}, reverse=True):
        if policy.is_met(each.key for each in cosignatures if each.time >= time):
            return time
    return None


def _told_of_declared(opened: Checkpoints, declared: Declared, largest: int | None) -> str:
    """What the log's own declaration is worth, in words."""
    mode = "fail-closed" if declared.required else "fail-open"
    if largest is not None and largest == max(opened):
        state = f"its quorum has cosigned size {largest}"
    else:
        last = "no checkpoint has it" if largest is None else f"the last with it is of size {largest}"
        state = f"the newest checkpoint lacks its quorum, {last}"
    return (
        f"the log declares witnesses ({mode}), {state}; "
        "that is its operator's policy: --policy counts those that you trust"
    )
