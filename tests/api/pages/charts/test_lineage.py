"""The family picture: a row and a length for each run, branches that leave where they left, a shape for each status."""

from __future__ import annotations

import itertools
import re
from xml.etree import ElementTree

from affidavit.api.pages.charts.lineage import Came, lay_out, lineage_picture
from affidavit.projections.runs.lineage import Kin

SVG = "{http://www.w3.org/2000/svg}"
FAMILY = [
    Kin("root", 0, None, None, 0),
    Kin("a", 1, "root", 2, 1),
    Kin("a1", 3, "a", 1, 2),
    Kin("b", 2, "root", 3, 1),
    Kin("b1", 4, "b", 9, 2),
]
LENGTHS = {"root": 5, "a": 4, "a1": 0, "b": 2, "b1": 1}


def drawn(family: list[Kin], lengths: dict[str, int], asked: str = "") -> ElementTree.Element:
    came_to = {kin.run: Came("completed", None, lengths[kin.run]) for kin in family}
    return ElementTree.fromstring(lineage_picture(lay_out(family, lengths), asked, came_to))


def test_each_run_stands_below_its_parent_from_the_iteration_where_it_left() -> None:
    limbs = lay_out(FAMILY, LENGTHS)
    assert [(limb.kin.run, limb.depth, limb.parent, limb.start, limb.length) for limb in limbs] == [
        ("root", 0, None, 0, 5),
        ("b", 1, 0, 3, 2),
        ("b1", 2, 1, 5, 1),
        ("a", 1, 0, 2, 4),
        ("a1", 2, 3, 3, 0),
    ], "the branch that left last is nearest; one that left after more than there is leaves at the end"


def test_siblings_turn_off_the_same_line_and_children_off_their_own_parents() -> None:
    turns = [
        tuple(map(float, found[0]))
        for path in drawn(FAMILY, LENGTHS).findall(f"{SVG}path")
        if (found := re.findall(r"M([\d.]+),([\d.]+)V", path.get("d", "")))
    ]
    rows = [y for _, y in turns]
    assert rows[0] == rows[2], "b and a leave the line of root"
    assert turns[0][0] > turns[2][0], "b a later iteration of it"
    assert len(set(rows)) == 3, "b1 and a1 leave lines of their own"


def test_a_line_of_sixty_branches_and_a_family_of_a_hundred_stay_readable() -> None:
    chain = [Kin("0", 0, "lost", 1, 0), *(Kin(str(n), n, str(n - 1), 4, n) for n in range(1, 60))]
    wide = [Kin("0", 0, None, None, 0), *(Kin(str(n), n, "0", n % 7, 1) for n in range(1, 100))]
    for family in (chain, wide):
        root = drawn(family, {kin.run: 5 for kin in family})
        places = [(float(text.get("x", 0)), float(text.get("y", 0))) for text in root.findall(f"{SVG}text")]
        assert [y - before for (_, before), (_, y) in itertools.pairwise(places)] == [30] * (len(family) - 1)
        assert max(x for x, _ in places) + 300 < float(root.get("width", 0)) < 1400
    assert [limb.depth for limb in lay_out(chain, {})] == list(range(60))


def test_a_run_of_very_many_iterations_keeps_the_picture_narrow() -> None:
    assert float(drawn(FAMILY, {**LENGTHS, "root": 1_000_000}).get("width", 0)) < 800


def test_the_picture_names_each_run_and_draws_each_status_in_its_own_shape() -> None:
    statuses = ("completed", "failed", "open", "interrupted", "completed")
    came_to = {kin.run: Came(status, 0.25, LENGTHS[kin.run]) for kin, status in zip(FAMILY, statuses, strict=True)}
    root = ElementTree.fromstring(lineage_picture(lay_out(FAMILY, LENGTHS), "a1", came_to))
    texts = ["".join(text.itertext()) for text in root.findall(f"{SVG}text")]
    assert [text.partition(" ")[0] for text in texts] == ["root", "b", "b1", "a", "a1"]
    assert texts[4] == "a1 (this run) · open · Δ +0.2500 · left after iteration 1"
    assert len(root.findall(f"{SVG}rect")) == 1
    assert len(root.findall(f"{SVG}g/{SVG}path")) == 1
    assert root.get("role") == "img"


def test_a_run_with_a_hostile_name_stays_text() -> None:
    family = [Kin("<script>alert(1)</script>" * 3, 0, None, None, 0)]
    made = lineage_picture(lay_out(family, {}), "x", {family[0].run: Came("odd<status>", None, 0)})
    assert "<script" not in made
    ElementTree.fromstring(made)
