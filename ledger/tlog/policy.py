"""Policies: whose signatures make a checkpoint good (C2SP tlog-policy).

::

    log ledger.example/acme/prod+f41694c7+AWLm… https://ledger.example/log
    #affidavit-range ledger.example/acme/prod+f41694c7+AWLm… 0 4096
    log ledger.example/acme/prod+42ac9f67+AbMt…
    #affidavit-range ledger.example/acme/prod+42ac9f67+AbMt… 3097 -
    witness w1 witness.example/w1+3e755455+BODc… https://witness.example
    witness w2 …
    group both all w1 w2
    quorum both

A log may have several keys, one after another. The comment ``#affidavit-range <vkey> <first> <last>`` narrows one of
them to checkpoints of size first to last, both included; ``-`` for no end. Other readers of the file pass over it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from hashlib import sha256

from ..errors import Malformed
from .checkpoint import parse_number
from .note import ED25519, ED25519_COSIGNATURE, ML_DSA_44_COSIGNATURE, VerifierKey, parse_vkey, print_vkey

NO_QUORUM = "none"

_RANGE = "#affidavit-range"
_OWN_COMMENT = re.compile(r"#[ \t]*affidavit", re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_BLANK = re.compile(r"[ \t]+")


@dataclass(frozen=True, slots=True)
class PolicyLog:
    """A log's key; it speaks for checkpoints of size ``first`` to ``last``, both included, None for no end."""

    key: VerifierKey
    url: str | None = None
    first: int = 0
    last: int | None = None

    def covers(self, size: int) -> bool:
        """Whether the key speaks for checkpoints of this size."""
        return self.first <= size and (self.last is None or size <= self.last)


@dataclass(frozen=True, slots=True)
class PolicyWitness:
    """A witness; ``name`` has a meaning within the policy only, ``url`` is its submission prefix."""

    name: str
    key: VerifierKey
    url: str | None = None


@dataclass(frozen=True, slots=True)
class PolicyGroup:
    """``threshold`` of the members, witnesses or earlier groups, stand for all of them."""

    name: str
    threshold: int
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Policy:
    """What ``parse_policy`` has read: its rules hold, such as that every name is defined before it is used.

    ``quorum`` names a witness or a group, or is ``none``: then no cosignature is asked for, and a fork not excluded.
    """

    logs: tuple[PolicyLog, ...]
    witnesses: tuple[PolicyWitness, ...]
    groups: tuple[PolicyGroup, ...]
    quorum: str

    @property
    def digest(self) -> str:
        """The SHA-256, in hex, of the text that ``print_policy`` gives: comments and spacing do not count."""
        return sha256(print_policy(self).encode()).hexdigest()

    def log_keys(self, origin: str, size: int) -> list[VerifierKey]:
        """Return the keys that may sign for a log at this checkpoint size; none where the policy knows none."""
        return [log.key for log in self.logs if log.key.name == origin and log.covers(size)]

    def is_met(self, keys: Iterable[VerifierKey]) -> bool:
        """Whether these keys, whose cosignatures have been verified, make the quorum."""
        return self.quorum == NO_QUORUM or self.quorum in self._reached(keys)

    def lacking(self, keys: Iterable[VerifierKey]) -> str:
        """Return in words how far these keys are from the quorum; empty where they make it."""
        reached = self._reached(keys)
        if self.quorum == NO_QUORUM or self.quorum in reached:
            return ""
        for group in self.groups:
            if group.name == self.quorum:
                missing = [member for member in group.members if member not in reached]
                found = len(group.members) - len(missing)
                return f"{found} of {group.threshold} needed in group {group.name}; without {', '.join(missing)}"
        return f"0 of 1 needed; without witness {self.quorum}"

    def without_addresses(self) -> Policy:
        """Return the same rules for who checks offline, and for the ledger: no URLs."""
        return replace(
            self,
            logs=tuple(replace(log, url=None) for log in self.logs),
            witnesses=tuple(replace(witness, url=None) for witness in self.witnesses),
        )

    def _reached(self, keys: Iterable[VerifierKey]) -> set[str]:
        """Return the names of the witnesses and groups that have cosigned."""
        known = set(keys)
        reached = {witness.name for witness in self.witnesses if witness.key in known}
        for group in self.groups:  # members come before their group
            if sum(member in reached for member in group.members) >= group.threshold:
                reached.add(group.name)
        return reached


def parse_policy(text: str | bytes) -> Policy:
    """Read a policy file.

    Raises ``Malformed``, with the number of the line, for everything that tlog-policy refuses; also for text that is
    not UTF-8, a public key in two roles, a log key that is not of type 0x01, a witness key not of 0x04 or 0x06, and
    a comment of ours that is not exact: what was meant to narrow a key must not be passed over.
    """
    reader = _Reader()
    lines = _decode(text).split("\n")
    if lines.pop():
        raise Malformed("policy: last line does not end in a newline, and so may be cut off")
    for number, line in enumerate(lines, 1):
        try:
            reader.read(line)
        except Malformed as error:
            raise Malformed(f"policy, line {number}: {error}") from error
    return reader.finish()


def print_policy(policy: Policy) -> str:
    """Return the file that ``parse_policy`` reads: logs with their ranges, witnesses, groups, quorum."""
    lines = []
    for log in policy.logs:
        vkey = print_vkey(log.key)
        lines.append(_line("log", vkey, log.url))
        if (log.first, log.last) != (0, None):
            lines.append(_line(_RANGE, vkey, str(log.first), "-" if log.last is None else str(log.last)))
    lines += [_line("witness", each.name, print_vkey(each.key), each.url) for each in policy.witnesses]
    lines += [_line("group", each.name, str(each.threshold), *each.members) for each in policy.groups]
    lines.append(_line("quorum", policy.quorum))
    return "".join(lines)


class _Reader:
    """The policy so far, line by line."""

    def __init__(self) -> None:
        self._logs: dict[VerifierKey, PolicyLog] = {}
        self._witnesses: dict[str, PolicyWitness] = {}
        self._groups: dict[str, PolicyGroup] = {}
        self._quorum: str | None = None
        self._public_keys: set[bytes] = set()
        self._members: set[str] = set()
        self._ranges: dict[VerifierKey, tuple[int, int | None]] = {}

    def read(self, line: str) -> None:
        words = _BLANK.sub(" ", line).strip(" ").split(" ")
        match words:
            case [""]:
                pass
            case [_, *_] if words[0].startswith("#"):
                if _OWN_COMMENT.match(line.lstrip(" \t")):
                    self._read_range(words)
            case ["log", vkey, *rest] if len(rest) <= 1:
                key = self._new_key(vkey, ED25519)
                self._logs[key] = PolicyLog(key, _first(rest))
            case ["witness", name, vkey, *rest] if len(rest) <= 1:
                self._check_new(name)
                key = self._new_key(vkey, ED25519_COSIGNATURE, ML_DSA_44_COSIGNATURE)
                self._witnesses[name] = PolicyWitness(name, key, _first(rest))
            case ["group", name, threshold, *members] if members:
                self._check_new(name)
                self._groups[name] = PolicyGroup(name, _threshold(threshold, len(members)), tuple(members))
                self._take_members(name, members)
            case ["quorum", name]:
                self._read_quorum(name)
            case _:
                raise Malformed(f"found {line[:80]!r}, expected a log, witness, group or quorum line or a comment")

    def finish(self) -> Policy:
        if self._quorum is None:
            raise Malformed("policy: no quorum line; 'quorum none' asks for no cosignature")
        for key, (first, last) in self._ranges.items():
            if key not in self._logs:
                raise Malformed(f"policy: {_RANGE} for {print_vkey(key)}, which no log line names")
            self._logs[key] = replace(self._logs[key], first=first, last=last)
        logs, witnesses, groups = self._logs.values(), self._witnesses.values(), self._groups.values()
        return Policy(tuple(logs), tuple(witnesses), tuple(groups), self._quorum)

    def _read_range(self, words: list[str]) -> None:
        match words:
            case [word, vkey, first, last] if word == _RANGE:
                key = parse_vkey(vkey)
                span = parse_number(first), None if last == "-" else parse_number(last)
            case _:
                raise Malformed(f"comment of this product: expected '{_RANGE} <vkey> <first> <last or ->'")
        if span[1] is not None and span[1] < span[0]:
            raise Malformed(f"{_RANGE}: last size {span[1]} is below the first, {span[0]}")
        if key in self._ranges:
            raise Malformed(f"{_RANGE}: a second one for {vkey}")
        self._ranges[key] = span

    def _read_quorum(self, name: str) -> None:
        if self._quorum is not None:
            raise Malformed("quorum: a second one")
        if name != NO_QUORUM:
            self._check_defined(name)
        self._quorum = name

    def _new_key(self, vkey: str, *algorithms: int) -> VerifierKey:
        key = parse_vkey(vkey)
        if key.algorithm not in algorithms:
            expected = " or ".join(f"{algorithm:#04x}" for algorithm in algorithms)
            raise Malformed(f"key of {key.name!r}: type is {key.algorithm:#04x}, expected {expected}")
        if key.public_key in self._public_keys:
            raise Malformed(f"key of {key.name!r}: its public key is on an earlier line too")
        self._public_keys.add(key.public_key)
        return key

    def _check_new(self, name: str) -> None:
        if name == NO_QUORUM or name in self._witnesses or name in self._groups:
            raise Malformed(f"name {name!r} is taken")

    def _check_defined(self, name: str) -> None:
        if name not in self._witnesses and name not in self._groups:
            raise Malformed(f"name {name!r} is not defined on an earlier line")

    def _take_members(self, group: str, members: list[str]) -> None:
        for member in members:
            self._check_defined(member)
            if member == group or member in self._members:
                raise Malformed(f"group {group!r}: {member!r} is a member already")
            self._members.add(member)


def _threshold(text: str, members: int) -> int:
    threshold = {"any": 1, "all": members}.get(text)
    if threshold is None:
        threshold = parse_number(text)
    if not 1 <= threshold <= members:
        raise Malformed(f"group: threshold is {threshold}, expected 1 to {members}")
    return threshold


def _first(words: list[str]) -> str | None:
    return words[0] if words else None


def _decode(text: str | bytes) -> str:
    try:
        # What is text already must have a form as bytes, for the digest.
        decoded = text.decode() if isinstance(text, bytes) else text.encode().decode()
    except UnicodeError as error:
        raise Malformed("policy: expected UTF-8") from error
    found = _CONTROL.search(decoded)
    if found:
        raise Malformed(f"policy: control character {found.group()!r} at character {found.start()}")
    return decoded


def _line(*words: str | None) -> str:
    return " ".join(word for word in words if word is not None) + "\n"
