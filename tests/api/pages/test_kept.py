from __future__ import annotations

from affidavit.api.pages.kept import Kept


def test_a_thing_is_made_once_until_its_state_changes() -> None:
    kept, made = Kept(), iter(range(10))

    def asked(state: int, key: str = "a") -> int:
        return kept.of("rows", key, lambda: next(made), state=state)

    assert [asked(1), asked(1), asked(1, "b"), asked(2), asked(2)] == [0, 0, 1, 2, 2]
    assert asked(1) == 3


def test_of_a_kind_those_asked_for_last_are_kept() -> None:
    kept = Kept()
    made: list[tuple[str, int]] = []

    def asked(kind: str, key: int) -> int:
        def make() -> int:
            made.append((kind, key))
            return key

        return kept.of(kind, key, make, most=2)

    for kind, key in (("x", 1), ("x", 2), ("y", 1), ("x", 1), ("x", 3), ("x", 1), ("x", 2), ("y", 1)):
        assert asked(kind, key) == key
    assert made == [("x", 1), ("x", 2), ("y", 1), ("x", 3), ("x", 2)]


def test_what_is_made_may_ask_for_more_of_its_kind() -> None:
    kept = Kept()
    assert kept.of("sums", 2, lambda: 1 + kept.of("sums", 1, lambda: 1)) == 2


def test_of_two_who_make_the_same_both_get_the_first() -> None:
    kept = Kept()
    first: list[object] = []

    def slow() -> object:
        first.append(kept.of("records", None, object))  # somebody else was faster
        return object()

    assert kept.of("records", None, slow) is first[0]
