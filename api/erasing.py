"""Erasing a run or a person: which keys go, in which order, and what no erasure here can reach.

What hangs on a thing is erased before the thing itself, by which it is found. So whoever repeats the command after a
crash finds what is left, and an erasure that is half done says so by still knowing the run or the name.
"""

from __future__ import annotations

import json
import secrets
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import Connection

from ..domain.errors import Refused
from ..domain.event import Meta
from ..domain.optimization.events import RunStarted
from ..ledger.application import Acknowledged, Ledger
from ..ledger.entries.entry import parse_entry
from ..ledger.errors import Unavailable
from ..ledger.events import ImportCompleted
from ..ledger.files import sync_folder
from ..ledger.store.opening import EventReader
from ..ledger.store.reader import LedgerReader
from ..ledger.store.scopes import ScopeKeys
from ..ledger.store.sqlite.schema import KEYS_FILE
from .moment import LiveLedger
from .reviews import REVIEWER, stream_of_reviews
from .scoring import NAMED_SESSION

USER = "user"
SUBJECT_KINDS = (USER, "actor", REVIEWER)
"""The kinds of alias by which a person may be known: as a user, as who records, as who signs reviews."""

_COPIES = (
    "what was written out before: packs, exports, rebuilt folders that were not named, results of `optimize`, and the "
    "files that were imported",
    "what was sent to a model, with whoever runs it",
    "names and texts in the memory of processes that run now, until they end",
)


class Plan(NamedTuple):
    """The erasure scopes to erase, in order, and in words what stays readable all the same."""

    scopes: tuple[str, ...]
    stays: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Erasure:
    """One scope whose key is destroyed, and the entries that say so."""

    scope: str
    requested: Acknowledged
    executed: Acknowledged


def plan_run(ledger: Ledger, run: str) -> Plan:
    """A run with its reviews, and with the list of its import's files where that names no other run that lives.

    ``Refused``: ``run_known``, ``scope_erased`` where nothing of it is left to erase.
    """
    with ledger.recorder.reading() as reader:
        events = ledger.event_reader(reader)
        if next(reader.stream(f"run/{run}"), None) is None:
            raise Refused("run_known", f"run {run!r} is not on this ledger; `affidavit runs` lists those that are")
        reviews = [str(found.meta["scope"]) for found in events.stream(stream_of_reviews(run)) if "scope" in found.meta]
        imports, shared = _imports_of(events, ledger.scopes, run)
        branches = [
            child
            for stream in reader.streams("run")
            if (child := stream.removeprefix("run/")) != run
            and _parent(reader, stream) == run
            and ledger.scopes.cipher(stream) is not None
        ]
    stays = ["its configuration's open fields, scores, token counts, verdicts of its reviews and random aliases"]
    stays += [f"{scope}: paths and SHA-256 of its files, beside those of runs that live" for scope in shared]
    stays += [f"run {child}: it branched off and holds what it took over; erase it too" for child in branches]
    return Plan(_living(ledger, [*reviews, *imports, f"run/{run}"]), (*stays, ledger.place.key_copies, *_COPIES))


def plan_subject(live: LiveLedger, name: str, kinds: Sequence[str] = SUBJECT_KINDS) -> Plan:
    """Everything that lies under a person of this name, of each of the ``kinds``; no scope where none is known."""
    ledger = live.ledger
    known = [
        (kind, alias, scope)
        for kind in kinds
        for alias, scope in ledger.find_aliases(kind, name) or ledger.find_aliases(kind, name.strip())
    ]
    scopes: list[str] = []
    for kind, alias, _ in known:
        if kind == USER:
            scopes += _named_sessions(live, alias)  # while their names can be read
    with ledger.recorder.reading() as reader:
        imports = [stream for stream in reader.streams("import") if ledger.scopes.cipher(stream) is not None]
    stays = (
        f"{', '.join(alias for _, alias, _ in known)}: random aliases, which nothing links to a name any more",
        *(f"{scope}: digests of imported files, and findings, which may name ids" for scope in imports),
        "sources, agent versions, citations, verdicts and numbers, so that every figure and proof still holds",
        "questions that were asked without naming anybody: they lie under their day, as retrieval/YYYY-MM-DD",
        ledger.place.key_copies,
        *_COPIES,
    )
    return Plan(_living(ledger, [*scopes, *(scope for _, _, scope in known)]), stays)


def erase_scopes(
    ledger: Ledger, scopes: Sequence[str], reason: str, note: str | None = None, meta: Meta | None = None
) -> Iterator[Erasure]:
    """Erase scopes one after the other as they are asked for; what somebody else has erased meanwhile is passed over.

    The entries bear one ``correlation``, and their notes lie under one scope. ``Refused`` as ``Ledger.erase``.
    """
    together = secrets.token_hex(8)
    shared = Meta(correlation=together) | (meta or Meta())
    if note is not None:
        shared["scope"] = f"erasure/{together}"
    for scope in scopes:
        try:
            erased = Erasure(scope, *ledger.erase(scope, reason, note, shared))
        except Refused as refused:
            if refused.rule != "scope_erased":
                raise
        else:
            yield erased


def purge_directory(ledger: Ledger, root: Path, run: str) -> Path | None:
    """Remove a run's directory from a folder that `affidavit rebuild` wrote; what was removed, None if it is not there.

    ``Refused`` (``directory_of_run``) where what has its name is no directory of this run.
    """
    with ledger.recorder.reading() as reader:
        started = next(iter(ledger.event_reader(reader).stream(f"run/{run}"))).event
    if not isinstance(started, RunStarted):
        return None
    runs = root / "runs"
    path = runs / started.directory
    if not path.exists() and not path.is_symlink():
        return None
    if path.is_symlink() or _run_id(path) != run:
        raise Refused("directory_of_run", f"{path}: expected a directory with a config.json of run {run}")
    try:
        shutil.rmtree(path)
        sync_folder(runs)
    except OSError as error:
        raise Unavailable(f"{path}: {error.strerror}") from error
    return path


def stray_copies(scope: str) -> list[Path]:
    """Copies of a key database, which a reading command that was killed left in the folder for temporary files.

    Only those that hold the key of ``scope``; a command that is just reading has one, too.
    """
    found = []
    for path in sorted(Path(tempfile.gettempdir()).glob(f"affidavit-*/{KEYS_FILE}*")):
        with suppress(OSError):
            if scope.encode() in path.read_bytes():
                found.append(path)
    return found


def _living(ledger: Ledger, scopes: Sequence[str]) -> tuple[str, ...]:
    """Those that have a key, each once. ``Refused`` (``scope_erased``) where there were some and none lives."""
    living = tuple(scope for scope in dict.fromkeys(scopes) if ledger.scopes.cipher(scope) is not None)
    if scopes and not living:
        raise Refused("scope_erased", f"scope {scopes[-1]!r} was erased before, or nothing was sealed under it")
    return living


def _imports_of(events: EventReader, scopes: ScopeKeys, run: str) -> tuple[list[str], list[str]]:
    """The scopes of imports that list files of a run: those that list no other run that lives, and the others."""
    alone: list[str] = []
    shared: list[str] = []
    for stream in events.reader.streams("import"):
        for recorded in events.stream(stream):
            if isinstance(recorded.event, ImportCompleted) and isinstance(recorded.event.detail, dict):
                named = {str(found["run"]) for found in recorded.event.detail.get("runs", ()) if "run" in found}
                if run in named:
                    others = any(scopes.cipher(f"run/{other}") is not None for other in named - {run})
                    (shared if others else alone).append(stream)
    return alone, shared


def _parent(reader: LedgerReader, stream: str) -> object:
    """The run that a run branched from, as its first entry says in the open."""
    return next((parse_entry(row.raw)["data"].get("parent_run") for row in reader.stream(stream)), None)


def _named_sessions(live: LiveLedger, user: str) -> list[str]:
    """The scopes of session ids of this user that outside scorers have named, and that lie under no person."""
    with live.moment() as moment:
        names = [*moment.names_of(_sessions(moment.views, user)).values()]
    return [scope for name in names if name is not None for _, scope in live.ledger.find_aliases(NAMED_SESSION, name)]


def _sessions(views: Connection, user: str) -> Iterator[str]:
    yield from views.exec_driver_sql(
        'SELECT session FROM requests WHERE "user" = ? UNION SELECT session FROM results WHERE "user" = ?', (user, user)
    ).scalars()


def _run_id(path: Path) -> str | None:
    try:
        document = json.loads((path / "config.json").read_bytes())
    except (OSError, ValueError):
        return None
    return document.get("run_id") if isinstance(document, dict) else None
