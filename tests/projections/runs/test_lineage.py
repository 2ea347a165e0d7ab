"""Families of runs: ancestors of any depth, and trees that say what they leave out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, create_engine

from affidavit.projections.runs.lineage import Family, ancestors_of, branch_counts, family_of
from affidavit.projections.runs.view import METADATA, RUNS


@contextmanager
def views(*branches: tuple[str, str | None]) -> Iterator[Connection]:
    """Runs in order of recording, each with its parent; the seq of the first is 0."""
    engine = create_engine("sqlite://")
    METADATA.create_all(engine)
    with engine.connect() as connection:
        for seq, (run, parent) in enumerate(branches):
            iteration = None if parent is None else seq
            connection.execute(
                RUNS.insert(), {"seq": seq, "run": run, "parent_run": parent, "parent_iteration": iteration}
            )
        yield connection
    engine.dispose()


def shown(family: Family) -> list[tuple[str, int]]:
    return [(kin.run, kin.generation) for kin in family.members]


TREE = (("root", None), ("a", "root"), ("b", "root"), ("a1", "a"), ("a2", "a"), ("b1", "b"), ("a11", "a1"))


def test_ancestors_of_any_depth_are_found() -> None:
    chain = [("0", None), *((str(n), str(n - 1)) for n in range(1, 3000))]
    with views(*chain) as connection:
        assert ancestors_of(connection, 3000, ["2999", "1"]) == {
            "2999": tuple(str(n) for n in reversed(range(2999))),
            "1": ("0",),
        }


def test_runs_that_descend_from_one_another_have_an_end() -> None:
    with views(("a", "c"), ("b", "a"), ("c", "b"), ("self", "self")) as connection:
        assert ancestors_of(connection, 9, ["a", "self"]) == {"a": ("c", "b"), "self": ()}
        assert {run for run, _ in shown(family_of(connection, 9, "a", 10))} == {"a", "b", "c"}
        assert shown(family_of(connection, 9, "self", 10)) == [("self", 0)]


def test_a_family_is_everything_below_the_oldest_ancestor() -> None:
    with views(*TREE) as connection:
        whole = [("root", 0), ("a", 1), ("a1", 2), ("a11", 3), ("a2", 2), ("b", 1), ("b1", 2)]
        for run in ("root", "a2", "b1"):
            family = family_of(connection, 9, run, 10)
            assert shown(family) == whole
            assert (family.older, family.is_cut, family.unknown_parent) == (0, False, None)
        assert branch_counts(connection, 9, ["root", "a", "a11"]) == {"root": 2, "a": 2}


def test_as_of_an_earlier_size_there_are_fewer() -> None:
    with views(*TREE) as connection:
        assert shown(family_of(connection, 4, "a1", 10)) == [("root", 0), ("a", 1), ("a1", 2), ("b", 1)]
        assert family_of(connection, 3, "a1", 10).members == ()
        assert branch_counts(connection, 4, ["a"]) == {"a": 1}


def test_a_large_family_is_cut_and_keeps_the_run_and_its_line() -> None:
    wide = (("root", None), *((f"child {n}", "root") for n in range(50)), ("deep", "child 49"))
    with views(*wide) as connection:
        family = family_of(connection, 99, "deep", 10)
        assert family.is_cut
        assert len(family.members) == 10
        assert {"root", "child 49", "deep"} <= {kin.run for kin in family.members}
        assert family_of(connection, 99, "root", 52).is_cut is False


def test_a_long_line_is_cut_at_its_old_end() -> None:
    chain = [("0", None), *((str(n), str(n - 1)) for n in range(1, 30))]
    with views(*chain) as connection:
        family = family_of(connection, 30, "29", 10)
        assert shown(family) == [(str(n), n) for n in range(20, 30)]
        assert family.older == 20


def test_a_parent_that_is_not_on_the_ledger_is_told() -> None:
    with views(("a", "lost"), ("b", "a")) as connection:
        family = family_of(connection, 9, "b", 10)
        assert (shown(family), family.unknown_parent) == ([("a", 0), ("b", 1)], "lost")
        assert family_of(connection, 9, "lost", 10).members == ()
