"""What the tests of erasure record and erase, and how they look at what is left."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import Any

from psycopg.sql import SQL, Identifier

from affidavit.domain.event import Meta, NewEvent
from affidavit.domain.optimization.events import SourceKept
from affidavit.ledger.application import Ledger
from affidavit.ledger.audit.audit import Against, audit
from affidavit.ledger.audit.verdict import Verdict
from affidavit.ledger.store.place import Place
from affidavit.ledger.store.postgres.place import PostgresPlace
from affidavit.ledger.store.sqlite.place import FolderPlace
from affidavit.projections.registry import REGISTRY
from affidavit.projections.seals import check_seals

TEXT = "what Ada said"


def said(scope: str, pos: int = 0, stream: str = "source/1") -> NewEvent:
    return NewEvent(stream, pos, SourceKept(name="n", content=TEXT), Meta(scope=scope))


def reopen(ledger: Ledger) -> Ledger:
    return Ledger(ledger.place, ledger.keys.path.parent, REGISTRY, edge=ledger._edge, sign_in_background=False)


def verify(ledger: Ledger, *, keys: bool = True) -> Verdict:
    ledger.sign()
    against = Against(
        signed=ledger.keys.signed(), scopes=ledger.scopes if keys else None, check_projections=check_seals
    )
    with ledger.recorder.reading() as reader:
        return audit(reader, REGISTRY, against)


def content(ledger: Ledger, seq: int) -> object:
    with ledger.recorder.reading() as reader:
        found = ledger.event_reader(reader).event(seq)
    assert found is not None
    assert isinstance(found.event, SourceKept)
    return found.event.content


def erasures(ledger: Ledger) -> list[tuple[int, object]]:
    with ledger.recorder.reading() as reader:
        return [(found.seq, found.event) for found in ledger.event_reader(reader).stream("erasure")]


def change_keys(place: Place, statement: str, *values: object) -> None:
    """Carry out a statement in the key database behind the ledger's back; ``?`` stands for a value."""
    key_rows(place, statement, *values)


def key_rows(place: Place, statement: str, *values: object) -> list[Any]:
    """What a statement answers in the key database; ``?`` stands for a value."""
    if isinstance(place, PostgresPlace):
        with closing(place.login.connect()) as db:
            db.execute(SQL("SET search_path TO {}").format(Identifier(place.login.names.keys)))
            cursor = db.execute(statement.replace("?", "%s").encode(), values)
            return cursor.fetchall() if cursor.description else []
    assert isinstance(place, FolderPlace)
    with closing(sqlite3.connect(place.folder / "keys.db", isolation_level=None)) as keys:
        return keys.execute(statement, values).fetchall()


def named_and_sealed(ledger: Ledger) -> str:
    """Ada's: two sealed texts, at entries 1 and 2, and three aliases."""
    with ledger.naming():
        scope = f"user/{ledger.alias('user', 'Ada')}"
        ledger.alias("session", "s1", scope)
        ledger.alias("request", "r1", scope)
    ledger.record(said(scope), said(scope, 1))
    return scope
