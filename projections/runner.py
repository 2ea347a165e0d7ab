"""The runner: feeds the log to views in batches, each batch and its tracking in one transaction.

A view is disposable: where its database is missing, of another version, or ahead of the log, it is made
anew from zero. Of a ledger in a folder, reading commands never write there: they bring a scratch copy up to date. Of
one in PostgreSQL they bring the views themselves up to date, as one writer among others.
"""

from __future__ import annotations

import heapq
import re
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from typing import Any

from sqlalchemy import (
    URL,
    Column,
    Connection,
    Engine,
    LargeBinary,
    MetaData,
    Table,
    create_engine,
    event,
)
from sqlalchemy.exc import DatabaseError, OperationalError
from sqlalchemy.schema import CreateIndex, CreateTable

from ..ledger.errors import Unavailable
from ..ledger.files import hold_lock
from ..ledger.store.opening import EventReader
from ..ledger.store.place import VIEWS as VIEWS_LOCK
from ..ledger.store.place import Place, ViewsFile, ViewsSchema
from .batches import batches
from .columns import TEXT, WHOLE, add_rows, names_there, tables_there
from .evaluation.view import EVALUATION_VIEW
from .reviews_view import REVIEWS_VIEW
from .runs.view import RUNS_VIEW
from .view import NO_ROWS, Row, View, extend_digest, extend_printed

VIEWS: tuple[View, ...] = (RUNS_VIEW, EVALUATION_VIEW, REVIEWS_VIEW)

_READ_ONLY = "25006"
"""SQLSTATE of a write in a transaction that may only read, as each of a standby is."""
_TRACKING = Table(
    "tracking",
    MetaData(),
    Column("view", TEXT, primary_key=True),
    Column("version", WHOLE, nullable=False),
    Column("size", WHOLE, nullable=False),
    Column("digest", LargeBinary, nullable=False),
)


def catch_up(engine: Engine, events: EventReader, views: tuple[View, ...] = VIEWS, *, jobs: int | None = 1) -> int:
    """Bring every view up to the log's present size, which is returned; see ``batches`` for ``jobs``.

    A view database that does not read, or does not fit the log, is thrown away and made anew.
    """
    try:
        return _catch_up(engine, events, views, jobs)
    except DatabaseError as error:
        if engine.dialect.name != "sqlite" and isinstance(error, OperationalError):
            raise _cannot_be_made(engine, error) from error  # the server went away: that is nothing of the views
    try:
        _throw_away(engine)
        return _catch_up(engine, events, views, jobs)
    except DatabaseError as error:
        raise _cannot_be_made(engine, error) from error


def _cannot_be_made(engine: Engine, error: DatabaseError) -> Unavailable:
    return Unavailable(f"{engine.url.database or 'views'}: the views cannot be made: {_said(error)}")


def _said(error: DatabaseError) -> str:
    if getattr(error.orig, "sqlstate", None) == _READ_ONLY:
        return f"{error.orig}; a standby brings no read models up to date: name the primary"
    return str(error.orig)


def _throw_away(engine: Engine) -> None:
    engine.dispose()
    if engine.dialect.name == "sqlite":
        Path(str(engine.url.database)).unlink(missing_ok=True)
        return
    with engine.begin() as connection:
        for name in tables_there(connection):
            connection.exec_driver_sql(f'DROP TABLE "{name}" CASCADE')


def _catch_up(engine: Engine, events: EventReader, views: tuple[View, ...], jobs: int | None) -> int:
    size = events.reader.head().size
    together: defaultdict[int, list[View]] = defaultdict(list)
    digests: dict[str, bytes] = {}
    for view, (reached, digest) in zip(views, _prepare(engine, views, size), strict=True):
        together[reached].append(view)
        digests[view.name] = digest
    for start, fed in together.items():
        if start < size:
            _feed(engine, fed, events, (start, size), [digests[view.name] for view in fed], jobs)
        if start == 0:
            _index(engine, fed)
    return size


def has_caught_up(engine: Engine, size: int, views: tuple[View, ...] = VIEWS) -> bool:
    """Whether every view says that it has reached ``size``; for who has caught up with them before.

    It is one query, and does not ask whether their tables are whole.
    """
    reached = _reached(engine)
    return all(reached.get(view.name) == (view.version, size) for view in views)


def are_newer(engine: Engine, views: tuple[View, ...] = VIEWS) -> bool:
    """Whether a newer program made one of the views that are stored."""
    reached = _reached(engine)
    return any(reached.get(view.name, (0, 0))[0] > view.version for view in views)


def _reached(engine: Engine) -> dict[str, tuple[int, int]]:
    """By name, the version and size that each view says it has; empty where none can be read."""
    try:
        with engine.connect() as connection:
            rows = connection.exec_driver_sql("SELECT view, version, size FROM tracking").all()
    except DatabaseError:
        return {}
    return {name: (version, size) for name, version, size in rows}


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
    asked = table.select().order_by(table.c.seq).execution_options(stream_results=True)
    with connection.execute(asked) as rows:
        for row in rows:
            yield table, tuple(row)


def _seq(row: Row) -> int:
    return int(row[1][0])


@contextmanager
def open_views(place: Place) -> Iterator[Engine]:
    """The views of a ledger, for writers to bring up to date; one writer at a time."""
    with place.alone(VIEWS_LOCK):
        engine = views_engine(place.views)
        try:
            yield engine
        except DatabaseError as error:
            raise Unavailable(f"the views of {place}: {_said(error)}") from error
        finally:
            engine.dispose()


@contextmanager
def copied_views(place: Place) -> Iterator[Engine | None]:
    """The views as they are stored at this moment, whatever becomes of them meanwhile; None where there are none."""
    views = place.views
    if isinstance(views, ViewsSchema):
        with _one_state(views) as engine:
            yield engine
        return
    with _copied_file(place, views) as copy, ExitStack() as opened:
        yield _disposed(opened, views_engine(copy)) if copy.path.is_file() else None


@contextmanager
def scratch_views(place: Place, events: EventReader, *, jobs: int | None = 1) -> Iterator[Connection]:
    """The views up to date at least with ``events``, to read; of a ledger in a folder in a scratch copy."""
    views = place.views
    with ExitStack() as opened:
        try:
            if isinstance(views, ViewsSchema):
                engine = opened.enter_context(open_views(place))
                # Others may have brought them further than these events go: what is there now is what they are of.
                with place.beside() as reader:
                    catch_up(engine, events.over(reader), jobs=jobs)
            else:
                copy = opened.enter_context(_copied_file(place, views))
                engine = _disposed(opened, views_engine(copy))
                catch_up(engine, events, jobs=jobs)
        except DatabaseError as error:
            raise Unavailable(f"the views of {place} cannot be made: {_said(error)}; verify the ledger") from error
        yield opened.enter_context(engine.connect())


def views_engine(views: ViewsFile | ViewsSchema) -> Engine:
    """The database of views, made where there is none."""
    if isinstance(views, ViewsSchema):
        return _schema_engine(views)
    engine = create_engine(URL.create("sqlite", database=str(views.path.absolute())))

    @event.listens_for(engine, "connect")
    def _set(connection: Any, _: object) -> None:
        connection.execute("PRAGMA synchronous=NORMAL")

    return engine


def _schema_engine(views: ViewsSchema) -> Engine:
    engine = create_engine("postgresql+psycopg://", creator=views.connect, pool_pre_ping=True)

    @event.listens_for(engine, "before_cursor_execute", retval=True)
    def _translate(_: Any, __: Any, statement: str, values: Any, context: Any, ___: bool) -> tuple[str, Any]:
        return (statement if context.compiled is not None else _as_psycopg(statement)), values

    return engine


_PLACE = re.compile(r"%|\?|(?<![:\w]):([a-z_]\w*)")


@lru_cache(maxsize=1024)
def _as_psycopg(statement: str) -> str:
    """A statement with its places for values, ``?`` or ``:name``, as psycopg names them."""
    return _PLACE.sub(lambda found: "%%" if found[0] == "%" else f"%({found[1]})s" if found[1] else "%s", statement)


@contextmanager
def _one_state(views: ViewsSchema) -> Iterator[Engine | None]:
    """An engine all of whose transactions read the same state; None where there is no view."""
    engine = _schema_engine(views).execution_options(isolation_level="REPEATABLE READ")
    with ExitStack() as opened:
        opened.callback(engine.dispose)
        first = opened.enter_context(engine.connect())
        if _TRACKING.name not in tables_there(first):
            yield None
            return
        snapshot = first.exec_driver_sql("SELECT pg_export_snapshot()").scalar_one()

        @event.listens_for(engine, "begin")
        def _same(connection: Connection) -> None:
            connection.exec_driver_sql(f"SET TRANSACTION SNAPSHOT '{snapshot}'")

        yield engine


@contextmanager
def _copied_file(place: Place, views: ViewsFile) -> Iterator[ViewsFile]:
    """A scratch copy of the views, of nothing where there are none."""
    with tempfile.TemporaryDirectory(prefix="affidavit-") as scratch:
        copy = Path(scratch) / views.path.name
        with hold_lock(views.path.with_name(f"{VIEWS_LOCK}.lock")):
            for suffix in ("", "-journal"):  # what a kill left half done is rolled back in the copy
                with suppress(FileNotFoundError):
                    shutil.copyfile(views.path.with_name(views.path.name + suffix), copy.with_name(copy.name + suffix))
        yield ViewsFile(copy)


def _disposed(opened: ExitStack, engine: Engine) -> Engine:
    opened.callback(engine.dispose)
    return engine


def _prepare(engine: Engine, views: Sequence[View], size: int) -> list[tuple[int, bytes]]:
    """Make the tables, anew where what is there is of another version or of a longer log.

    Returns (size, digest) that each view has reached. It is asked at every look, and so takes few statements.
    """
    with engine.begin() as connection:
        there = names_there(connection)
        if _TRACKING.name not in there:
            _TRACKING.create(connection)
        rows = {row.view: row for row in connection.execute(_TRACKING.select())}
        return [_prepared(connection, view, rows.get(view.name), size, there) for view in views]


def _prepared(connection: Connection, view: View, row: Any, size: int, there: set[str]) -> tuple[int, bytes]:
    tables = view.metadata.sorted_tables
    whole = all(table.name in there and all(index.name in there for index in table.indexes) for table in tables)
    if row is not None and row.version == view.version and row.size <= size and whole:
        return row.size, row.digest
    view.metadata.drop_all(connection)
    _drop_caches(connection)
    for table in tables:
        connection.execute(CreateTable(table))
    connection.execute(_TRACKING.delete().where(_TRACKING.c.view == view.name))
    connection.execute(_TRACKING.insert(), {"view": view.name, "version": view.version, "size": 0, "digest": NO_ROWS})
    return 0, NO_ROWS


def _drop_caches(connection: Connection) -> None:
    """Drop what others keep beside the views: it was derived from rows that are made anew."""
    known = {_TRACKING.name, *(name for view in VIEWS for name in view.metadata.tables)}
    virtual: list[str] = []
    if connection.dialect.name == "sqlite":
        found = connection.exec_driver_sql("SELECT name FROM sqlite_master WHERE sql LIKE 'CREATE VIRTUAL%'")
        virtual = [name for (name,) in found]
    # Virtual tables first: theirs are dropped with them.
    for name in sorted(tables_there(connection), key=lambda name: name not in virtual):
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


def _feed(
    engine: Engine,
    views: list[View],
    events: EventReader,
    span: tuple[int, int],
    digests: list[bytes],
    jobs: int | None,
) -> None:
    """Feed views that have reached the same size, each with its digest, from that size up to another."""
    for reached, made in batches(views, events, *span, jobs):
        with engine.begin() as connection:
            for number, (view, own) in enumerate(zip(views, made, strict=True)):
                for printed in own.printed:
                    digests[number] = extend_printed(digests[number], printed)
                for name, rows in own.added.items():
                    add_rows(connection, name, rows)
                if view.added is not None:
                    tables = view.metadata.tables
                    view.added(connection, defaultdict(list, {tables[name]: rows for name, rows in own.added.items()}))
                connection.execute(
                    _TRACKING.update().where(_TRACKING.c.view == view.name),
                    {"size": reached, "digest": digests[number]},
                )
