"""The runner: feeds the log to views in batches, each batch and its tracking in one transaction.

A view is disposable: where its database is missing, of another version, or ahead of the log, it is made
anew from zero. Reading commands never write the ledger's folder; they bring a scratch copy up to date.
"""

from __future__ import annotations

import heapq
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import groupby, islice
from pathlib import Path
from typing import Any

from sqlalchemy import (
    URL,
    Column,
    Connection,
    Engine,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    create_engine,
    event,
)
from sqlalchemy.exc import DatabaseError
from sqlalchemy.schema import CreateIndex, CreateTable

from ..ledger.errors import Unavailable
from ..ledger.files import hold_lock, lock_file
from ..ledger.store.opening import EventReader
from ..ledger.store.sqlite.schema import VIEWS_FILE, VIEWS_LOCK_FILE
from .evaluation.view import EVALUATION_VIEW
from .reviews_view import REVIEWS_VIEW
from .runs_view import RUNS_VIEW
from .view import NO_ROWS, Row, View, extend_digest

VIEWS: tuple[View, ...] = (RUNS_VIEW, EVALUATION_VIEW, REVIEWS_VIEW)
BATCH = 2000

_TRACKING = Table(
    "tracking",
    MetaData(),
    Column("view", Text, primary_key=True),
    Column("version", Integer, nullable=False),
    Column("size", Integer, nullable=False),
    Column("digest", LargeBinary, nullable=False),
)


def catch_up(engine: Engine, events: EventReader, views: tuple[View, ...] = VIEWS) -> int:
    """Bring every view up to the log's present size, which is returned.

    A view database that does not read, or does not fit the log, is thrown away and made anew.
    """
    try:
        return _catch_up(engine, events, views)
    except DatabaseError:
        engine.dispose()
        Path(str(engine.url.database)).unlink(missing_ok=True)
    try:
        return _catch_up(engine, events, views)
    except DatabaseError as error:
        raise Unavailable(f"{engine.url.database}: the views cannot be made: {error.orig}") from error


def _catch_up(engine: Engine, events: EventReader, views: tuple[View, ...]) -> int:
    size = events.reader.head().size
    reached: defaultdict[int, list[View]] = defaultdict(list)
    for view in views:
        _prepare(engine, view, size)
        with engine.connect() as connection:
            reached[tracked(connection, view)[0]].append(view)
    for start, together in reached.items():
        if start < size:
            _feed(engine, together, events, start, size)
        if start == 0:
            _index(engine, together)
    return size


def has_caught_up(engine: Engine, size: int, views: tuple[View, ...] = VIEWS) -> bool:
    """Whether every view says that it has reached ``size``; for who has caught up with them before.

    It is one query, and does not ask whether their tables are whole.
    """
    try:
        with engine.connect() as connection:
            rows = connection.exec_driver_sql("SELECT view, version, size FROM tracking").all()
    except DatabaseError:
        return False
    reached = {name: (version, upto) for name, version, upto in rows}
    return all(reached.get(view.name) == (view.version, size) for view in views)


def tracked(connection: Connection, view: View) -> tuple[int, bytes]:
    """(size, digest) that a view has reached."""
    row = connection.execute(_TRACKING.select().where(_TRACKING.c.view == view.name)).one()
    return row.size, row.digest


def stored_digest(connection: Connection, view: View) -> bytes:
    """The digest of the rows as they are stored, whatever was tracked of them."""
    merged = heapq.merge(*(_stored(connection, table) for table in view.metadata.tables.values()), key=_seq)
    digest = NO_ROWS
    for _, rows in groupby(merged, key=_seq):
        digest = extend_digest(digest, list(rows))
    return digest


def _stored(connection: Connection, table: Table) -> Iterator[Row]:
    for row in connection.execute(table.select().order_by(table.c.seq)):
        yield table, tuple(row)


def _seq(row: Row) -> int:
    return int(row[1][0])


@contextmanager
def open_views(folder: Path) -> Iterator[Engine]:
    """The views of the ledger in ``folder``, for writers to bring up to date; one writer at a time."""
    with lock_file(folder / VIEWS_LOCK_FILE):
        engine = views_engine(folder / VIEWS_FILE)
        try:
            yield engine
        except DatabaseError as error:
            raise Unavailable(f"{folder / VIEWS_FILE}: {error.orig}") from error
        finally:
            engine.dispose()


@contextmanager
def copied_views(folder: Path) -> Iterator[Engine]:
    """The views as they are stored, in a scratch copy; empty where there are none."""
    path = folder / VIEWS_FILE
    with tempfile.TemporaryDirectory(prefix="affidavit-") as scratch:
        copy = Path(scratch) / VIEWS_FILE
        with hold_lock(folder / VIEWS_LOCK_FILE):
            for suffix in ("", "-journal"):  # what a kill left half done is rolled back in the copy
                with suppress(FileNotFoundError):
                    shutil.copyfile(path.with_name(path.name + suffix), copy.with_name(copy.name + suffix))
        engine = views_engine(copy)
        try:
            yield engine
        finally:
            engine.dispose()


@contextmanager
def scratch_views(folder: Path, events: EventReader) -> Iterator[Connection]:
    """The views up to date, in a scratch copy, so that reading changes no byte of the ledger's folder."""
    with copied_views(folder) as engine:
        try:
            catch_up(engine, events)
        except DatabaseError as error:
            raise Unavailable(f"the views of {folder} cannot be made: {error.orig}; verify the ledger") from error
        with engine.connect() as connection:
            yield connection


def views_engine(path: Path) -> Engine:
    """The database of views at ``path``, made where there is none."""
    engine = create_engine(URL.create("sqlite", database=str(path.absolute())))

    @event.listens_for(engine, "connect")
    def _set(connection: Any, _: object) -> None:
        connection.execute("PRAGMA synchronous=NORMAL")

    return engine


def _prepare(engine: Engine, view: View, size: int) -> None:
    """Make the tables, anew where what is there is of another version or of a longer log."""
    with engine.begin() as connection:
        _TRACKING.create(connection, checkfirst=True)
        row = connection.execute(_TRACKING.select().where(_TRACKING.c.view == view.name)).one_or_none()
        there = {name for (name,) in connection.exec_driver_sql("SELECT name FROM sqlite_master")}
        tables = view.metadata.sorted_tables
        whole = all(table.name in there and all(index.name in there for index in table.indexes) for table in tables)
        if row is not None and row.version == view.version and row.size <= size and whole:
            return
        view.metadata.drop_all(connection)
        _drop_caches(connection)
        for table in tables:
            connection.execute(CreateTable(table))
        connection.execute(_TRACKING.delete().where(_TRACKING.c.view == view.name))
        connection.execute(
            _TRACKING.insert(), {"view": view.name, "version": view.version, "size": 0, "digest": NO_ROWS}
        )


def _drop_caches(connection: Connection) -> None:
    """Drop what others keep beside the views: it was derived from rows that are made anew."""
    known = {_TRACKING.name, *(name for view in VIEWS for name in view.metadata.tables)}
    found = connection.exec_driver_sql(
        # Virtual tables first: theirs are dropped with them.
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' "
        "ORDER BY sql NOT LIKE 'CREATE VIRTUAL%'"
    ).all()
    virtual = [
        name
        for (name,) in connection.exec_driver_sql("SELECT name FROM sqlite_master WHERE sql LIKE 'CREATE VIRTUAL%'")
    ]
    for (name,) in found:
        if name not in known and not any(name.startswith(f"{table}_") for table in virtual):
            connection.exec_driver_sql(f'DROP TABLE "{name}"')


def _index(engine: Engine, views: list[View]) -> None:
    """Make the indexes, once the rows are there: entering rows one by one into an index of random keys takes longer.

    A view without its indexes is one whose making was cut short, and is made anew.
    """
    with engine.begin() as connection:
        for view in views:
            for table in view.metadata.sorted_tables:
                for index in table.indexes:
                    connection.execute(CreateIndex(index, if_not_exists=True))


def _feed(engine: Engine, views: list[View], events: EventReader, start: int, stop: int) -> None:
    """Feed views that have reached the same size. Events of types that none of them takes are not decoded."""
    with engine.connect() as connection:
        digests = [tracked(connection, view)[1] for view in views]
    types = frozenset().union(*(view.types for view in views))
    inserts = {table: str(table.insert().compile(engine)) for view in views for table in view.metadata.tables.values()}
    source = events.events(start, stop, types)
    while start < stop:
        batch = list(islice(source, BATCH))
        start = batch[-1].seq + 1 if len(batch) == BATCH else stop
        with engine.begin() as connection:
            for number, view in enumerate(views):
                added: defaultdict[Table, list[tuple[Any, ...]]] = defaultdict(list)
                digest = digests[number]
                for recorded in batch:
                    rows = view.rows(recorded) if recorded.type_name in view.types else ()
                    if rows:
                        digest = extend_digest(digest, rows)
                        for table, values in rows:
                            added[table].append(values)
                digests[number] = digest
                for table, found in added.items():
                    connection.exec_driver_sql(inserts[table], found)
                if view.added is not None:
                    view.added(connection, added)
                connection.execute(
                    _TRACKING.update().where(_TRACKING.c.view == view.name), {"size": start, "digest": digest}
                )
