"""The flow graph: rows of cards, arrows, phases, curves, branches."""

from __future__ import annotations

from dataclasses import replace
from xml.etree import ElementTree

import pytest

from affidavit.api.pages.charts.flow import DENSE, NARROW, ROOMY, Card, Look, Pill, brief, flow_graph

SVG = "{http://www.w3.org/2000/svg}"


def _cards(count: int) -> list[Card]:
    cards = [Card(0, "baseline", "Baseline", "/runs/1/iterations/0", 0.1, role="end")]
    cards += [
        Card(n, str(n), f"Iteration {n}", f"/runs/1/iterations/{n}", 0.5, delta=0.1, made_from=n - 1)
        for n in range(1, count + 1)
    ]
    return [*cards, Card(None, "final", "Final", "#significance", 0.6, role="end")]


def _read(cards: list[Card], look: Look = ROOMY) -> ElementTree.Element:
    return ElementTree.fromstring(flow_graph(cards, look, "Run 1"))


def _links(drawn: ElementTree.Element) -> list[str | None]:
    return [link.get("href") for link in drawn.iter(f"{SVG}a")]


@pytest.mark.parametrize("count", [0, 1, 3, 5, 100])
@pytest.mark.parametrize("look", [ROOMY, DENSE, NARROW])
def test_every_card_is_a_link_inside_the_picture(count: int, look: Look) -> None:
    drawn = _read(_cards(count), look)
    assert _links(drawn) == [*(f"/runs/1/iterations/{n}" for n in range(count + 1)), "#significance"]
    assert drawn.get("role") == "group"
    _, _, width, height = map(float, str(drawn.get("viewBox")).split())
    for box in drawn.iter(f"{SVG}rect"):
        x, y, w, h = (float(str(box.get(name))) for name in ("x", "y", "width", "height"))
        assert x >= 0
        assert x + w <= width
        assert y >= 0
        assert y + h <= height


def test_no_two_cards_overlap() -> None:
    boxes = [
        tuple(float(str(box.get(name))) for name in ("x", "y", "width", "height"))
        for box in _read(_cards(30)).iter(f"{SVG}rect")
        if "box" in str(box.get("class"))
    ]
    for n, (x, y, w, h) in enumerate(boxes):
        for other_x, other_y, _, _ in boxes[n + 1 :]:
            assert abs(other_x - x) >= w or abs(other_y - y) >= h


def test_a_card_made_from_another_than_the_one_before_says_so_and_gets_a_curve() -> None:
    cards = _cards(4)
    plain = flow_graph(cards, ROOMY, "Run 1")
    cards[4] = replace(cards[4], made_from=2)
    drawn = flow_graph(cards, ROOMY, "Run 1")
    assert "← 2" not in plain
    assert "← 2" in drawn
    assert "stroke-accent" in drawn
    assert drawn.count("dots") == plain.count("dots") + 1


def test_phases_lie_behind_their_cards_in_every_row() -> None:
    cards = [
        replace(card, phase=1 if card.number < 4 else 2, axis="few") if card.number else card for card in _cards(8)
    ]
    labels = [text.text for text in _read(cards).iter(f"{SVG}text") if str(text.text).startswith("Phase")]
    assert labels == ["Phase 1 · few", "Phase 2 · few", "Phase 2 · few"]


def test_branches_hang_below_the_card_that_they_left() -> None:
    cards = _cards(2)
    pills = tuple(Pill(f"⎇ {n}", f"Branch {n}", f"/runs/{n}") for n in range(5))
    cards[1] = replace(cards[1], pills=pills, more=Pill("2 more", "2 more", "/runs/lineage/1"))
    drawn = _read(cards)
    assert _links(drawn)[-4:] == ["/runs/0", "/runs/1", "/runs/2", "/runs/lineage/1"]


def test_marks_stand_as_words() -> None:
    cards = _cards(2)
    cards[2] = replace(cards[2], is_best=True, is_full=True)
    told = [text.text for text in _read(cards).iter(f"{SVG}text")]
    assert {"★ best", "◈ full"} <= set(told)
    assert "▲ +0.1000" in told


def test_texts_are_inert() -> None:
    cards = [Card(1, "<script>", '"><script>x</script>', 'javascript:"', None, no_delta="</svg>", axis="<b>", phase=1)]
    drawn = flow_graph(cards, ROOMY, "<title>")
    assert "<script" not in drawn
    ElementTree.fromstring(drawn)


@pytest.mark.parametrize(
    ("count", "told"), [(0, "0"), (999, "999"), (1000, "1.0k"), (11_485, "11k"), (2_500_000, "2.5M")]
)
def test_counts_in_few_characters(count: int, told: str) -> None:
    assert brief(count) == told


@pytest.mark.parametrize(
    ("delta", "beats_noise", "told", "tone"),
    [
        (0.1, True, "▲ +0.1000", "text-good"),
        (-0.1, True, "▼ −0.1000", "text-bad"),
        (0.1, False, "▲ +0.1000", "text"),
        (0.004, False, "● +0.0040", "text"),
    ],
)
@pytest.mark.parametrize("role", ["step", "end"])
def test_a_difference_is_coloured_only_where_it_is_more_than_noise(
    delta: float, beats_noise: bool, told: str, tone: str, role: str
) -> None:
    card = Card(1, "1", "One", "/1", 0.5, delta=delta, beats_noise=beats_noise, role=role)
    found = next(text for text in _read([card]).iter(f"{SVG}text") if text.text == told)
    assert str(found.get("class")).split()[0] == tone
