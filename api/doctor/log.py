"""What the log itself tells: how it grows, what is unsigned, its clock, erasures, anchors, witnesses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

from ...ledger.audit.witnesses import read_declarations
from ...ledger.entries.entry import format_at
from ...ledger.errors import LedgerError
from ...ledger.folds.anchors import ANCHOR_STREAM
from ...ledger.store.folding import read_anchors, read_erasures, read_identity, read_moved
from ...ledger.store.reader import LedgerReader
from ...ledger.tlog.cosignature import open_cosigned
from ...projections.view_state import ViewState
from ..anchoring import anchor_seconds, first_not_anchored, recorded_at
from .finding import Check, Finding, print_bytes, print_duration

DAY = 86_400
DAYS = 7
"""How many days back the growth is looked at, at most."""

_LEAST_SECONDS = 3600
_LEAST_ENTRIES = 100
_SOON, _TOO_SOON = 30.0, 7.0
_LITTLE, _TOO_LITTLE = 2**30, 2**28
_AHEAD = 1.0
_LATE, _TOO_LATE = 600, DAY
_OLD_ANCHOR = 7 * DAY
_VIEWS_BEHIND = 10_000

_DISK = Check(
    "disk",
    "free disk, and how fast the ledger fills it",
    f"more than {_SOON:.0f} days and {print_bytes(_LITTLE)} are left",
    "on a full disk nothing is acknowledged any more; nothing is lost either",
    "give it a larger disk in time; docs/sizing.md says what a ledger takes",
)
_MOVED = Check(
    "moved",
    "the newest entry, which ends a log that moved",
    "the log goes on here",
    "a log that moved is closed: nothing more is appended here, and what is read here is old",
    "use the ledger where it moved to (docs/moving.md); keep this copy, or throw it away once that one is verified",
)
_GROWTH = Check(
    "growth",
    f"the times of the last {DAYS} days' entries",
    "enough entries to tell",
    "what is planned for has to be as large as what comes",
    "compare it with docs/sizing.md",
)
_CLOCK = Check(
    "clock",
    "the time of the newest entry, and this machine's",
    "the newest entry is not of a time to come",
    "times of entries never run backwards: until the clock has caught up, all bear that one",
    "keep it in step with chrony or systemd-timesyncd; whether it is now is not checked here: `timedatectl`",
)
_CLOCK_FINDINGS = Check(
    "clock_findings",
    "what the log says of a clock that stood behind",
    f"nothing in the last {DAYS} days",
    "a clock that jumps makes times of entries worth less",
    "keep it in step with chrony or systemd-timesyncd, and let it be slewed, not stepped; docs/timestamps.md says how "
    "times are proven",
)
_TAIL = Check(
    "unsigned_tail",
    "entries since the newest checkpoint",
    f"none older than {_LATE // 60} minutes",
    "until a checkpoint is signed nobody outside can notice that an entry was changed",
    "start who signs: `affidavit serve`, or `affidavit seal` once; look why it does not, in its log",
)
_ERASURE = Check(
    "erasure",
    "requests in the stream of erasures",
    "each is carried out",
    "what was to be erased can be opened yet",
    "open the ledger for appending, which finishes it: `affidavit seal`",
)
_ANCHORS = Check(
    "anchors",
    "the newest timestamp, and the schedule",
    "one since the last entries, as often as the schedule says",
    "entries after the newest anchor bear only the times that this machine gave them",
    "`affidavit anchor`, or AFFIDAVIT_TSA for `affidavit serve` (docs/timestamps.md); look why it fails at "
    "/healthz/anchors",
)
_WITNESSES = Check(
    "witnesses",
    "cosignatures on the newest checkpoint, and the witnesses that the log declares",
    "those that the log declares have cosigned it",
    "without them the operator could show different histories to different people",
    "look whether they answer (docs/witnessing.md)",
)
_VIEWS = Check(
    "views",
    "how far the stored read models have come",
    f"of this version, and not {_VIEWS_BEHIND:,} entries behind",
    "who reads next waits until they have caught up; ahead of the log, they were derived from entries that are gone",
    "start `affidavit serve`, which keeps them up to date; where they are ahead, the ledger is an older copy",
)


@dataclass(frozen=True, slots=True)
class Room:
    """What the ledger takes, in bytes, and what is free for it; None where that cannot be seen, and ``unseen`` why."""

    size: int
    free: int | None
    unseen: str = ""


def check_log(reader: LedgerReader, now: int, room: Room | None, environment: Mapping[str, str]) -> Iterator[Finding]:
    """One finding for each of them, in a fixed order. ``now`` is in microseconds since 1970."""
    size = reader.head().size
    moved = read_moved(reader)
    yield _MOVED.found("ok", "it goes on here") if moved is None else _MOVED.found("warning", str(moved))
    growth = measure_growth(reader, now)
    yield _check_growth(growth)
    if room is not None:
        yield _check_disk(room, size, growth)
    yield _check_clock(reader.head().at, now)
    yield _check_clock_findings(reader.clock_finding_at(), now)
    yield _check_tail(reader, size, now)
    yield _check_erasure(reader)
    yield _check_anchors(reader, size, now, environment)
    yield _check_witnesses(reader)


@dataclass(frozen=True, slots=True)
class Growth:
    """``entries`` in the last ``seconds``; ``days`` has the entries of each whole day of them, the newest first."""

    entries: int
    seconds: float
    days: tuple[int, ...]

    @property
    def per_day(self) -> float | None:
        """The mean, or as many as came in the last day where these are more: a load that has just begun goes on.

        None where there is too little to tell from.
        """
        if self.seconds < _LEAST_SECONDS or self.entries < _LEAST_ENTRIES:
            return None
        return max(self.entries / self.seconds * DAY, *self.days[:1], 0)


def measure_growth(reader: LedgerReader, now: int) -> Growth:
    """How the log has grown lately, by the times of its entries."""
    size = reader.head().size
    if size == 0:
        return Growth(0, 0.0, ())
    age = (now - microseconds(recorded_at(reader, 0))) / 1_000_000
    seconds = min(max(0.0, age), DAYS * DAY)
    ends = [reader.size_at(format_at(max(0, now - n * DAY * 1_000_000))) for n in range(int(seconds // DAY) + 1)]
    before = reader.size_at(format_at(max(0, now - int(seconds * 1_000_000)))) if seconds == DAYS * DAY else 0
    return Growth(size - before, seconds, tuple(later - earlier for later, earlier in pairwise(ends)))


def check_views(states: list[ViewState], size: int) -> Finding:
    """Of the log of ``size`` entries."""
    if not states:
        return _VIEWS.found("ok", "none are stored: whoever needs one makes it")
    ahead = [each for each in states if each.size > size]
    if ahead:
        return _VIEWS.found("danger", f"{ahead[0].name} is of {ahead[0].size:,} entries, and the log has {size:,}")
    old = [each.name for each in states if not each.is_current]
    if old:
        return _VIEWS.found("warning", f"{', '.join(old)}: of another version, and made anew at the next use")
    behind = max(size - each.size for each in states)
    return _VIEWS.found("warning" if behind > _VIEWS_BEHIND else "ok", f"{behind:,} entries behind")


def microseconds(at: str) -> int:
    """The time of an entry, in microseconds since 1970."""
    return round(datetime.fromisoformat(at).timestamp() * 1_000_000)


def _check_growth(growth: Growth) -> Finding:
    if growth.per_day is None:
        told = f"{growth.entries:,} entries in {print_duration(growth.seconds)}: too little to tell from"
        return _GROWTH.found("not_checked", told)
    told = f"up to {growth.per_day:,.0f} entries a day, from {growth.entries:,} in {print_duration(growth.seconds)}"
    if growth.days:
        told += f"; of {len(growth.days)} whole days the least had {min(growth.days):,}, the most {max(growth.days):,}"
    return _GROWTH.found("ok", told)


def _check_disk(room: Room, size: int, growth: Growth) -> Finding:
    each = room.size / size if size else 0.0
    told = f"{print_bytes(room.size)} for {size:,} entries"
    if size >= _LEAST_ENTRIES:
        told += f", {each:,.0f} bytes each"
    daily = None if growth.per_day is None else growth.per_day * each
    if daily is not None:
        told += f"; grows by {print_bytes(daily)} a day"
    if room.free is None:
        return _DISK.found("not_checked", f"{told}; {room.unseen}")
    told = f"{print_bytes(room.free)} free; {told}"
    days = room.free / daily if daily else float("inf")
    if daily:
        told += f", full in {days:,.0f} days"
    if days < _TOO_SOON or room.free < _TOO_LITTLE:
        return _DISK.found("danger", told)
    return _DISK.found("warning" if days < _SOON or room.free < _LITTLE else "ok", told)


def _check_clock(at: str, now: int) -> Finding:
    if not at:
        return _CLOCK.found("ok", "the log is empty")
    ahead = (microseconds(at) - now) / 1_000_000
    if ahead > _AHEAD:
        return _CLOCK.found("danger", f"the newest entry is {print_duration(ahead)} ahead of this machine's clock")
    return _CLOCK.found("ok", f"the newest entry is of {print_duration(max(0.0, -ahead))} ago")


def _check_clock_findings(at: str | None, now: int) -> Finding:
    if at is None:
        return _CLOCK_FINDINGS.found("ok", "the log has none")
    recent = now - microseconds(at) < DAYS * DAY * 1_000_000
    return _CLOCK_FINDINGS.found("warning" if recent else "ok", f"the newest was recorded at {at}")


def _check_tail(reader: LedgerReader, size: int, now: int) -> Finding:
    latest = reader.latest_checkpoint()
    signed = 0 if latest is None else latest[0]
    if signed >= size:
        return _TAIL.found("ok", f"all {size:,} are signed")
    age = (now - microseconds(recorded_at(reader, signed))) / 1_000_000
    told = f"{size - signed:,} of {size:,}, the oldest of {print_duration(max(0.0, age))} ago"
    return _TAIL.found("danger" if age > _TOO_LATE else "warning" if age > _LATE else "ok", told)


def _check_erasure(reader: LedgerReader) -> Finding:
    unfinished = read_erasures(reader).unfinished
    told = [
        f"entry {seq} asked for the erasure of {scope!r}, and no entry says that it was done"
        for seq, scope in unfinished.items()
    ]
    return _ERASURE.none_of("danger", told, "each is carried out")


def _check_anchors(reader: LedgerReader, size: int, now: int, environment: Mapping[str, str]) -> Finding:
    scheduled = bool(environment.get("AFFIDAVIT_TSA"))
    every = anchor_seconds() if scheduled else None
    schedule = f"one is due every {print_duration(every)}" if every is not None else "this machine has no schedule"
    end = reader.next_pos(ANCHOR_STREAM)
    anchors = read_anchors(reader, start=max(0, end - 1))
    if not anchors:
        if every is None:
            return _ANCHORS.found("not_checked", "the log has none, and no AFFIDAVIT_TSA is set")
        return _ANCHORS.found("warning", f"the log has none, and {schedule}")
    newest = anchors[-1]
    told = f"entry {newest.seq} anchors the first {newest.size:,} of {size:,}, at {newest.time}; {schedule}"
    first = first_not_anchored(newest)
    if first >= size:
        return _ANCHORS.found("ok", f"{told}; nothing was recorded since")
    waiting = (now - microseconds(recorded_at(reader, first))) / 1_000_000
    return _ANCHORS.found("warning" if waiting > (2 * every if every else _OLD_ANCHOR) else "ok", told)


def _check_witnesses(reader: LedgerReader) -> Finding:
    declared, damage = read_declarations(reader)
    if damage:
        return _WITNESSES.found("danger", damage[0].detail)
    if not declared:
        return _WITNESSES.found("not_checked", "the log declares none")
    rules = declared[-1]
    latest = reader.latest_checkpoint()
    if latest is None or latest[0] <= rules.seq:
        return _WITNESSES.found("ok", "no checkpoint is signed since they were declared")
    mode = "required" if rules.required else "not required"
    size, note = latest
    try:
        identity = read_identity(reader, size)
        keys = [witness.key for witness in rules.policy.witnesses]
        opened = open_cosigned(note, identity.keys_at(size), keys, identity.origin_at(size))
    except LedgerError as error:
        return _WITNESSES.found("danger", f"checkpoint of size {size}: {error}")
    signers = [*(each.key for each in opened.cosignatures), *opened.unsupported]
    if rules.policy.is_met(signers):
        return _WITNESSES.found("ok", f"{len(signers)} of {len(keys)} cosigned size {size:,} ({mode})")
    lacking = f"checkpoint of size {size}: {rules.policy.lacking(signers)} ({mode})"
    return _WITNESSES.found("danger" if rules.required else "warning", lacking)
