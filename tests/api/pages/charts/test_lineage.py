"""The family picture: rows in order, lanes that turn off for all but the last branch, a shape for each status."""

from __future__ import annotations

from xml.etree import ElementTree

from affidavit.api.pages.charts.lineage import lay_out, lineage_picture
from affidavit.projections.lineage import Kin

SVG = "{http://www.w3.org/2000/svg}"
FAMILY = [
    Kin("root", 0, None, None, 0),
    Kin("a", 1, "root", 2, 1),
    Kin("a1", 3, "a", 1, 2),
    Kin("b", 2, "root", 3, 1),
    Kin("b1", 4, "b", 1, 2),
]


def test_the_last_branch_goes_on_straight_and_the_others_turn_off() -> None:
    assert [(limb.kin.run, limb.lane, limb.parent) for limb in lay_out(FAMILY)] == [
        ("root", 0, None),
        ("a", 1, 0),
        ("a1", 1, 1),
        ("b", 0, 0),
        ("b1", 0, 3),
    ]


def test_a_long_line_of_branches_stays_narrow() -> None:
    chain = [Kin("0", 0, "lost", 1, 0), *(Kin(str(n), n, str(n - 1), 1, n) for n in range(1, 300))]
    assert {limb.lane for limb in lay_out(chain)} == {0}


def test_the_picture_names_each_run_and_draws_each_status_in_its_own_shape() -> None:
    statuses = ("completed", "failed", "open", "interrupted", "completed")
    came_to = {kin.run: (status, 0.25) for kin, status in zip(FAMILY, statuses, strict=True)}
    root = ElementTree.fromstring(lineage_picture(lay_out(FAMILY), "a1", came_to))
    texts = ["".join(text.itertext()) for text in root.findall(f"{SVG}text")]
    assert [text.partition(" ")[0] for text in texts] == ["root", "a", "a1", "b", "b1"]
    assert texts[2] == "a1 (this run) · open · Δ +0.2500 · left after iteration 1"
    assert len(root.findall(f"{SVG}path")) == 4
    assert len(root.findall(f"{SVG}rect")) == 1
    assert len(root.findall(f"{SVG}g/{SVG}path")) == 1
    assert root.get("role") == "img"


def test_a_run_with_a_hostile_name_stays_text() -> None:
    family = [Kin("<script>alert(1)</script>" * 3, 0, None, None, 0)]
    drawn = lineage_picture(lay_out(family), "x", {family[0].run: ("odd<status>", None)})
    assert "<script" not in drawn
    ElementTree.fromstring(drawn)
