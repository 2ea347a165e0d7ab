"""Rows by column. Choosing rows copies nothing; a column is copied when it is read, and then that column only.

The rows of a long window have some twenty columns of which a figure reads two or three, for each of several sets.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

Column = NDArray[Any]


class Columns:
    """Chosen rows of a structured array, with other values in some columns. What they are read from must not change."""

    __slots__ = ("_chosen", "_of", "_own", "_size")

    def __init__(self, rows: NDArray[Any]) -> None:
        self._of: NDArray[Any] | Columns = rows
        self._chosen: Column | slice | None = None
        self._own: dict[str, Column] = {}
        self._size = len(rows)

    def __len__(self) -> int:
        return self._size

    @overload
    def __getitem__(self, key: str) -> Column: ...
    @overload
    def __getitem__(self, key: Column | slice) -> Columns: ...
    def __getitem__(self, key: str | Column | slice) -> Column | Columns:
        """A column by its name; else the rows of a mask, of indices in their order, or of a slice."""
        if not isinstance(key, str):
            return self._rows(key)
        known = self._own.get(key)
        if known is None:
            whole = self._of[key]
            known = self._own[key] = np.ascontiguousarray(whole if self._chosen is None else whole[self._chosen])
        return known

    def __iter__(self) -> Iterator[Mapping[str, Any]]:
        """Row by row, for the few that a page lists."""
        columns = {name: self[name] for name in self._names()}
        for place in range(self._size):
            yield {name: column[place] for name, column in columns.items()}

    def replacing(self, name: str, values: Column) -> Columns:
        """The same rows with other values in one column."""
        found = self._rows(slice(None))
        found._own[name] = values
        return found

    def _rows(self, key: Column | slice) -> Columns:
        found = object.__new__(Columns)
        found._of = self
        found._own = {}
        if isinstance(key, slice):
            found._chosen = key
            found._size = len(range(*key.indices(self._size)))
        else:
            found._chosen = np.flatnonzero(key) if key.dtype == np.bool_ else key
            found._size = len(found._chosen)
        return found

    def _names(self) -> tuple[str, ...]:
        return self._of._names() if isinstance(self._of, Columns) else tuple(self._of.dtype.names or ())
