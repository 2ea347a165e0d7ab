"""Seals: what a projection was over the first N entries, put on the ledger, and the replay that checks it.

``projection.sealed`` holds the digest of a view's rows, ``run.sealed`` the manifest of a run directory as
rebuilt in the native profile. Only rows of integers and text are sealed, nothing that a statistics library
computed.
"""

from __future__ import annotations

from typing import TypeVar

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from ..domain.errors import AffidavitError, Refused
from ..domain.event import Event, Withheld
from ..domain.optimization.events import RunSealed
from ..domain.optimization.run import RunState, decide, evolve
from ..ledger.audit.stretches import Damage
from ..ledger.errors import Malformed
from ..ledger.events import ProjectionSealed
from ..ledger.store.opening import EventReader
from .directories.directory import build_run_directory
from .directories.manifest import compare_manifest, manifest
from .directories.native import NATIVE_VERSION
from .runner import VIEWS, stored_digest, tracked
from .runs.record import fold_run
from .view import NO_ROWS, View, digest_of

SEALED_PROFILE = "native"

E = TypeVar("E", bound=Event)


def seal_view(view: View, events: EventReader, upto: int) -> ProjectionSealed | None:
    """The seal of a view over the first ``upto`` entries; None where its newest seal says the same, or it is empty.

    It is computed from the log alone, onwards from the newest seal: no read model decides what is sealed.
    """
    stream = f"projection/{view.name}"
    newest = newest_event(events, stream, ProjectionSealed, events.reader.next_pos(stream) - 1)
    start, digest = 0, NO_ROWS
    if newest is not None and newest.version == view.version and newest.upto <= upto:
        start, digest = newest.upto, bytes.fromhex(newest.digest)
    grown = digest_of(view, events.events(start, upto, view.types), digest)
    if grown == digest:
        return None
    return ProjectionSealed(name=view.name, version=view.version, upto=upto, digest=grown.hex())


def seal_run(events: EventReader, run: str, upto: int) -> RunSealed | None:
    """The seal of a run's native directory over the first ``upto`` entries; None where its newest says the same."""
    files = _rebuild(events, run, upto)
    if files is None:
        raise Refused("run_known", f"run {run!r} is not on this ledger")
    sealed = manifest(files).as_json()
    newest = newest_event(events, f"run/{run}", RunSealed)
    if newest is not None and (newest.version, newest.manifest) == (NATIVE_VERSION, sealed):
        return None
    return RunSealed(
        profile=SEALED_PROFILE,
        version=NATIVE_VERSION,
        upto=upto,
        files=len(files),
        bytes=sum(map(len, files.values())),
        manifest=sealed,
    )


def newest_event(events: EventReader, stream: str, kind: type[E], start: int = 0) -> E | None:
    """The last event of a kind in a stream from position ``start`` on, opened, or None."""
    found = None
    for recorded in events.stream(stream, start=start):
        if isinstance(recorded.event, kind):
            found = recorded.event
    return found


def check_seals(events: EventReader, size: int) -> tuple[list[Damage], list[str]]:
    """Replay the newest seal of every view and run directory among the first ``size`` entries.

    Also asks of every run whether each event was allowed after those before it. Returns the damage and, in
    words, what could not be checked.
    """
    views: dict[str, tuple[int, ProjectionSealed]] = {}
    runs: dict[str, int] = {}
    damage: list[Damage] = []
    unknown: list[str] = []
    states: dict[str, RunState] = {}
    for recorded in events.events(0, size):
        event = recorded.event
        if recorded.stream.startswith("run/") and isinstance(event, Event):
            state = states.setdefault(recorded.stream, RunState())
            try:
                evolve(state, decide(state, event))
            except Refused as error:
                damage.append(Damage("rule_broken", recorded.seq, str(error)))
        if isinstance(event, ProjectionSealed):
            views[event.name] = (recorded.seq, event)
        elif isinstance(event, RunSealed):
            runs[recorded.stream] = recorded.seq
    if damage:
        return damage, ["runs that break their rules do not replay"]
    if not views and not runs:
        return [], ["no projection is sealed on this ledger"]
    for seq, seal in views.values():
        _check_view(events, seq, seal, damage, unknown)
    for stream, seq in runs.items():
        try:
            _check_run(events, stream, seq, damage, unknown)
        except (AffidavitError, KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            damage.append(Damage("projection_mismatch", seq, f"{stream} does not rebuild: {error!r}"))
    return damage, unknown


def check_views(engine: Engine, events: EventReader) -> list[Damage]:
    """Compare stored views with a replay of the log: nothing is believed because it lies in a database.

    The views must have been copied before the log was opened, so that they cannot be ahead of it.
    """
    damage = []
    is_file = engine.dialect.name == "sqlite"
    named = "views.db" if is_file else "views"
    remedy = "the file may be deleted, and is made anew" if is_file else "they may be dropped, and are made anew"
    for view in VIEWS:
        try:
            with engine.connect() as connection:
                size, digest = tracked(connection, view)
                stored = stored_digest(connection, view)
        except (SQLAlchemyError, ValueError, TypeError, Malformed) as error:
            reason = getattr(error, "orig", error)
            damage.append(Damage("projection_mismatch", None, f"{named}: view {view.name} does not read: {reason}"))
            continue
        replayed = digest_of(view, events.events(0, size, view.types)) if size <= events.reader.head().size else b""
        if {stored, digest} != {replayed}:
            damage.append(
                Damage(
                    "projection_mismatch",
                    None,
                    f"{named}: the rows of view {view.name} are not what {size} entries give; {remedy}",
                )
            )
    return damage


def _check_view(
    events: EventReader, seq: int, seal: ProjectionSealed, damage: list[Damage], unknown: list[str]
) -> None:
    view = next((view for view in VIEWS if (view.name, view.version) == (seal.name, seal.version)), None)
    if view is None:
        unknown.append(f"projection {seal.name} version {seal.version} is not known here")
        return
    if seal.upto > seq:
        damage.append(Damage("projection_mismatch", seq, f"it seals {seal.upto} entries, and is entry {seq}"))
        return
    replayed = digest_of(view, events.events(0, seal.upto, view.types)).hex()
    if replayed != seal.digest:
        damage.append(
            Damage(
                "projection_mismatch",
                seq,
                f"projection {seal.name} over {seal.upto} entries: sealed {seal.digest}, replayed {replayed}",
            )
        )


def _check_run(events: EventReader, stream: str, seq: int, damage: list[Damage], unknown: list[str]) -> None:
    recorded = events.event(seq)
    seal = recorded.event if recorded is not None else None
    if not isinstance(seal, RunSealed):
        return
    if isinstance(seal.manifest, Withheld):
        unknown.append(f"{stream}: its sealed manifest is {seal.manifest.why}")
        return
    if (seal.profile, seal.version) != (SEALED_PROFILE, NATIVE_VERSION):
        unknown.append(f"{stream}: profile {seal.profile} version {seal.version} is not known here")
        return
    files = _rebuild(events, stream.removeprefix("run/"), seal.upto) or {}
    changes = compare_manifest(seal.manifest["files"], files)
    if changes:
        named = ", ".join(str(change) for change in changes[:5])
        damage.append(
            Damage("projection_mismatch", seq, f"{stream} over {seal.upto} entries does not rebuild as sealed: {named}")
        )


def _rebuild(events: EventReader, run: str, upto: int) -> dict[str, bytes] | None:
    record = fold_run(events.stream(f"run/{run}", before=upto))
    return None if record is None else build_run_directory(record, SEALED_PROFILE)
