"""The data set that prompts are optimised on: conversations to answer, and what a good answer says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from ..errors import Refused

NO_USER_MESSAGE = "(no user message)"
"""Stands as the input of a row that has no message of the user."""


def _with_role_and_content(message: dict[str, str]) -> dict[str, str]:
    if message.keys() != {"role", "content"}:
        raise ValueError(f"expected role and content, found {', '.join(sorted(message)) or 'nothing'}")
    return message


Message = Annotated[dict[str, str], AfterValidator(_with_role_and_content)]
"""``{"role": …, "content": …}``, as a model is asked."""


class DataRow(BaseModel):
    """One sample: the messages to answer, oldest first, and the reference answer, None where there is none.

    ``id`` says which sample it is, in every evaluation of a run.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(min_length=1)
    messages: tuple[Message, ...] = Field(min_length=1)
    ideal: str | None = None

    @property
    def input(self) -> str:
        """The user's last message, ``NO_USER_MESSAGE`` where there is none."""
        said = (message["content"] for message in reversed(self.messages) if message["role"] == "user")
        return next(said, NO_USER_MESSAGE)


@dataclass(frozen=True, slots=True)
class Dataset:
    """Rows in the order of their file. ``Refused`` (``dataset_rows``) without rows, and where two share an id."""

    rows: tuple[DataRow, ...]

    def __post_init__(self) -> None:
        if not self.rows:
            raise Refused("dataset_rows", "data set: expected at least one row, found none")
        known: set[str] = set()
        for row in self.rows:
            if row.id in known:
                raise Refused("dataset_rows", f"data set: expected each id once, found {row.id!r:.80} again")
            known.add(row.id)

    @property
    def missing_ideals(self) -> tuple[str, ...]:
        """The ids of the rows without a reference."""
        return tuple(row.id for row in self.rows if row.ideal is None)

    @property
    def has_ideals(self) -> bool:
        """Whether every row has a reference."""
        return not self.missing_ideals
