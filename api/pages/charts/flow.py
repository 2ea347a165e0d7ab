"""The flow graph of a run: its iterations in rows of cards, what each was made from, and where branches left.

It reads like text, row by row. Phases are areas behind the cards, a curve below them leads from an iteration to a later
one that was made from it, and branches hang below the card that they left after. Each card is a link that says in words
what it shows, so the picture is a group of links and no image.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from markupsafe import Markup

from ....domain.optimization.effects import THRESHOLD
from ..formats import score, signed
from .svg import element

SERIES = 6
_MOST_PILLS = 3


@dataclass(frozen=True, slots=True)
class Look:
    """The measures of a layout, in pixels, and how many cards a row has."""

    columns: int
    width: int
    height: int
    gap: int
    margin: int
    compact: bool = False


ROOMY = Look(6, 166, 112, 32, 22)
MIDDLE = Look(4, 148, 112, 26, 18)
NARROW = Look(2, 140, 112, 24, 12)
DENSE = Look(9, 108, 90, 20, 20, compact=True)
NARROW_DENSE = Look(3, 94, 90, 14, 10, compact=True)


@dataclass(frozen=True, slots=True)
class Pill:
    """A link that hangs below a card: a branch, or the run that this one left."""

    label: str
    told: str
    href: str


@dataclass(frozen=True, slots=True)
class Card:
    """What a card shows. ``told`` says it in words. ``beats_noise`` colours ``delta``.

    ``made_from`` is the number of the card it was made from.

    ``filled`` is how much of the bar at its lower edge the score fills, from 0 to 1.

    ``role`` is ``end`` for the baseline and the outcome, which were scored on other samples than the iterations.
    """

    number: int | None
    head: str
    told: str
    href: str
    score: float | None
    delta: float | None = None
    beats_noise: bool = False
    no_delta: str = ""
    val: str = ""
    cost: str = ""
    size: str = ""
    made_from: int | None = None
    phase: int | None = None
    axis: str | None = None
    role: str = "step"
    is_best: bool = False
    is_full: bool = False
    is_shared: bool = False
    filled: float | None = None
    pills: Sequence[Pill] = field(default_factory=tuple)
    more: Pill | None = None


@dataclass(frozen=True, slots=True)
class _Place:
    card: Card
    row: int
    x: float
    y: float
    hang: float


def flow_graph(cards: Sequence[Card], look: Look, title: str, class_: str = "") -> Markup:
    """The picture, as wide as its rows are."""
    rows = [cards[start : start + look.columns] for start in range(0, len(cards), look.columns)]
    places: list[_Place] = []
    y = 6.0
    for row, inside in enumerate(rows):
        y += _above(inside)
        hang = 16.0 if _has_arcs(inside) else 0.0
        places += [
            _Place(card, row, look.margin + column * (look.width + look.gap), y, hang)
            for column, card in enumerate(inside)
        ]
        y += look.height + _below(inside) + 14
    columns = min(look.columns, len(cards))
    width = 2 * look.margin + columns * look.width + (columns - 1) * look.gap
    return element(
        "svg",
        *_areas(places, look),
        *_edges(places, look),
        *_arcs(places, look),
        *(_drawn(place, look) for place in places),
        *(pill for place in places for pill in _pills(place, look)),
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {width} {round(y)}",
        width=width,
        height=round(y),
        role="group",
        aria_label=title,
        class_=f"picture wide flow {class_}".strip(),
    )


def brief(count: int) -> str:
    """A count in few characters: 950, 9.9k, 12k, 3.4M."""
    for unit, sign in ((1_000_000, "M"), (1_000, "k")):
        if count >= unit:
            value = count / unit
            return f"{value:.1f}{sign}" if value < 10 else f"{value:.0f}{sign}"
    return str(count)


def _above(inside: Sequence[Card]) -> float:
    return 32.0 if any(card.phase for card in inside) else 14.0


def _below(inside: Sequence[Card]) -> float:
    pills = max((min(len(card.pills), _MOST_PILLS) + (card.more is not None) for card in inside), default=0)
    return (22.0 if _has_arcs(inside) else 8.0) + 30.0 * pills


def _has_arcs(inside: Sequence[Card]) -> bool:
    numbers = {card.number for card in inside}
    return any(_leaps(card) and card.made_from in numbers for card in inside)


def _leaps(card: Card) -> bool:
    """Whether a card was made from another than the one before it."""
    return card.number is not None and card.made_from is not None and card.made_from != card.number - 1


def _areas(places: Sequence[_Place], look: Look) -> Iterator[Markup]:
    """A tinted area behind the cards of a phase, in each row that it is in."""
    pad = min(9.0, look.gap / 2 - 1)
    start = 0
    while start < len(places):
        first = places[start]
        end = start
        while end + 1 < len(places) and (places[end + 1].card.phase, places[end + 1].row) == (
            first.card.phase,
            first.row,
        ):
            end += 1
        if first.card.phase is not None:
            inside = [place.card for place in places if place.row == first.row]
            width = places[end].x + look.width - first.x + 2 * pad
            series = (first.card.phase - 1) % SERIES + 1
            yield element(
                "rect",
                x=first.x - pad,
                y=first.y - 30,
                width=width,
                height=look.height + 38 + (14 if _has_arcs(inside) else 0),
                rx=12,
                class_=f"band fill-series-{series}",
            )
            label = f"{first.card.phase} · {first.card.axis or 'phase'}"
            room = int((width - 16) / 7.2)
            yield element(
                "text",
                _cut(f"Phase {label}" if len(label) + 6 <= room else label, room),
                x=first.x - pad + 9,
                y=first.y - 14,
                class_="text bold",
            )
        start = end + 1


def _edges(places: Sequence[_Place], look: Look) -> Iterator[Markup]:
    """From each card to the next in time: dotted where the next one was made from another."""
    for one, other in pairwise(places):
        apart = _leaps(other.card) or other.card.role == "end" or one.card.role == "end"
        class_ = f"fill-none stroke-soft{' dots' if apart else ''}"
        middle = look.height / 2
        start, end = one.x + look.width, other.x
        if one.row == other.row:
            drawn = f"M{start:.0f},{one.y + middle:.0f}H{end - 5:.0f}"
        else:
            half = min(look.margin, look.gap) / 2 + 1
            turn = other.y - (25 if other.card.phase is None else 38)
            drawn = (
                f"M{start:.0f},{one.y + middle:.0f}h{half - 5:.0f}q5,0 5,5V{turn - 5:.0f}q0,5 -5,5"
                f"H{end - half + 5:.0f}q-5,0 -5,5V{other.y + middle - 5:.0f}q0,5 5,5H{end - 5:.0f}"
            )
        yield element("path", d=drawn, stroke_width=1.5, class_=class_)
        yield _head(end, other.y + middle, "right")


def _arcs(places: Sequence[_Place], look: Look) -> Iterator[Markup]:
    """From what a card was made from, where that is not the card before it and stands in the same row."""
    by_number: dict[int | None, _Place] = {
        place.card.number: place for place in places if place.card.number is not None
    }
    for place in places:
        origin = by_number.get(place.card.made_from)
        if origin is None or origin.row != place.row or not _leaps(place.card):
            continue
        bottom = place.y + look.height
        start, end = origin.x + look.width * 0.6, place.x + look.width * 0.35
        deep = bottom + 22
        drawn = f"M{start:.0f},{bottom:.0f}C{start:.0f},{deep:.0f} {end:.0f},{deep:.0f} {end:.0f},{bottom + 6:.0f}"
        yield element("path", d=drawn, stroke_width=1.5, class_="fill-none stroke-accent")
        yield _head(end, bottom, "up", "fill-accent")


def _drawn(place: _Place, look: Look) -> Markup:
    card, x, y = place.card, place.x, place.y
    inner = [element("title", card.told), *_body(card, x, y, look)]
    return element("a", *inner, href=card.href)


def _body(card: Card, x: float, y: float, look: Look) -> Iterator[Markup]:
    if card.is_best:
        tint, line, thick = "fill-good-tint", "stroke-good", 2.5
    elif card.role == "end":
        tint, line, thick = "fill-tint", "stroke-soft", 1.25
    else:
        tint, line, thick = "fill-raised", "stroke-soft", 1.25
    dashed = " dash" if card.is_shared else ""
    box = {"x": x, "y": y, "width": look.width, "height": look.height, "rx": 26 if card.role == "end" else 9}
    yield element("rect", **box, stroke_width=thick, class_=f"box {tint} {line}{dashed}")
    if card.role == "end":
        yield from _ending(card, x, y, look)
        return
    left, right = x + (9 if look.compact else 13), x + look.width - (8 if look.compact else 12)
    if card.phase is not None:
        series = (card.phase - 1) % SERIES + 1
        yield element("rect", x=x + 1, y=y + 10, width=4, height=look.height - 20, rx=2, class_=f"fill-series-{series}")
    origin = f" ← {card.made_from}" if _leaps(card) else ""
    line_y = [18, 38, 56, 72] if look.compact else [23, 49, 71, 91]
    yield element(
        "text", card.head, element("tspan", origin, class_="text-accent"), x=left, y=y + line_y[0], class_="text bold"
    )
    yield element(
        "text", score(card.score), x=left, y=y + line_y[1], class_=f"text figure{' dense' if look.compact else ''}"
    )
    if card.size and not look.compact:
        yield element("text", card.size, x=right, y=y + line_y[0], class_="text-soft small end")
    if card.delta is None:
        yield element("text", card.no_delta, x=left, y=y + line_y[2], class_="text-soft")
    else:
        yield element("text", _delta(card.delta), x=left, y=y + line_y[2], class_=f"{_tone(card)} bold")
    yield element("text", card.cost, x=left, y=y + line_y[3], class_="text-soft small")
    if card.val and not look.compact:
        yield element("text", card.val, x=right, y=y + line_y[3], class_="text-soft small end")
    if card.filled is not None:
        track = look.width - (left - x) - 12
        bar = {"x": left, "y": y + look.height - 11, "height": 3.5, "rx": 1.75}
        yield element("rect", **bar, width=track, class_="fill-line")
        if card.filled > 0:
            yield element(
                "rect",
                **bar,
                width=max(3.5, card.filled * track),
                class_=f"fill-{'good' if card.is_best else 'accent'}",
            )
    yield from _marks(card, x + look.width, y, look)


def _ending(card: Card, x: float, y: float, look: Look) -> Iterator[Markup]:
    middle = x + look.width / 2
    offsets = [23, 45, 62, 77] if look.compact else [30, 57, 78, 96]
    yield element("text", card.head, x=middle, y=y + offsets[0], class_="text bold middle")
    if card.score is not None:
        dense = " dense" if look.compact else ""
        yield element("text", score(card.score), x=middle, y=y + offsets[1], class_=f"text figure middle{dense}")
    if card.delta is not None:
        yield element("text", _delta(card.delta), x=middle, y=y + offsets[2], class_=f"{_tone(card)} bold middle")
    elif card.no_delta:
        yield element("text", card.no_delta, x=middle, y=y + offsets[2], class_="text-soft small middle")
    if card.cost:
        yield element("text", card.cost, x=middle, y=y + offsets[3], class_="text-soft small middle")
    yield from _marks(card, x + look.width - 14, y, look)


def _delta(delta: float) -> str:
    return f"{'▲' if delta > THRESHOLD else '▼' if delta < -THRESHOLD else '●'} {signed(delta)}"


def _tone(card: Card) -> str:
    if not card.beats_noise or not card.delta:
        return "text"
    return "text-good" if card.delta > 0 else "text-bad"


def _marks(card: Card, right: float, y: float, look: Look) -> Iterator[Markup]:
    """Small labels on the upper edge: the reported prompt, and a full evaluation among batches."""
    marks = [("★ best", "★", "good")] * card.is_best + [("◈ full", "◈", "accent")] * card.is_full
    for long, short, tone in marks:
        text = short if look.compact else long
        width = 22 if look.compact else 52
        right -= width + 4
        yield element(
            "rect",
            x=right,
            y=y - 9,
            width=width,
            height=18,
            rx=9,
            stroke_width=1.25,
            class_=f"fill-paper stroke-{tone}",
        )
        yield element("text", text, x=right + width / 2, y=y + 4, class_=f"text-{tone} bold small middle")


def _pills(place: _Place, look: Look) -> Iterator[Markup]:
    hung = [*place.card.pills[:_MOST_PILLS]]
    if place.card.more is not None:
        hung.append(place.card.more)
    x, y = place.x + 12, place.y + look.height
    for n, pill in enumerate(hung):
        top = y + place.hang + 10 + 30 * n
        start = y if n == 0 else top - 18
        yield element(
            "path",
            d=f"M{x - 4:.0f},{start:.0f}V{top + 7:.0f}q0,5 5,5h5",
            stroke_width=1.5,
            class_="fill-none stroke-series-3",
        )
        yield element(
            "a",
            element("title", pill.told),
            element(
                "rect",
                x=x + 6,
                y=top,
                width=look.width - 18,
                height=24,
                rx=12,
                stroke_width=1.25,
                class_="box fill-paper stroke-series-3",
            ),
            element("text", _cut(pill.label, int((look.width - 34) / 6.9)), x=x + 15, y=top + 16, class_="text small"),
            href=pill.href,
        )


def _head(x: float, y: float, way: str, class_: str = "fill-soft") -> Markup:
    points = (
        f"{x - 7:.0f},{y - 4:.0f} {x:.0f},{y:.0f} {x - 7:.0f},{y + 4:.0f}"
        if way == "right"
        else f"{x - 4:.0f},{y + 8:.0f} {x:.0f},{y + 1:.0f} {x + 4:.0f},{y + 8:.0f}"
    )
    return element("polygon", points=points, class_=class_)


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: max(1, most - 1)] + "…"
