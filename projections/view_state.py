"""How far the stored views have come, without bringing them further."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from sqlalchemy import Engine, create_engine
from sqlalchemy.exc import DatabaseError

from ..ledger.errors import Unavailable
from ..ledger.store.place import Place, ViewsFile
from .columns import tables_there
from .runner import VIEWS, views_engine


@dataclass(frozen=True, slots=True)
class ViewState:
    """A stored view: whether it is of the version that this program makes, and of how many entries."""

    name: str
    is_current: bool
    size: int


def view_states(place: Place) -> list[ViewState]:
    """Those that are stored, of the views that this program has; none where none are. Changes nothing.

    ``Unavailable`` where they do not read, which is no loss: they are made anew.
    """
    views = place.views
    if isinstance(views, ViewsFile):
        if not views.path.is_file():
            return []
        uri = f"{views.path.absolute().as_uri()}?mode=ro"
        engine = create_engine("sqlite://", creator=lambda: sqlite3.connect(uri, uri=True))
    else:
        engine = views_engine(views)
    try:
        return _states(engine)
    except DatabaseError as error:
        raise Unavailable(f"the views of {place}: {error.orig}") from error
    finally:
        engine.dispose()


def _states(engine: Engine) -> list[ViewState]:
    with engine.connect() as connection:
        if "tracking" not in tables_there(connection):
            return []
        rows = connection.exec_driver_sql("SELECT view, version, size FROM tracking").all()
    found = {name: (version, size) for name, version, size in rows}
    return [
        ViewState(view.name, found[view.name][0] == view.version, found[view.name][1])
        for view in VIEWS
        if view.name in found
    ]
