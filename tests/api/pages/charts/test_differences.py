"""The bar of one sample's difference."""

from __future__ import annotations

from xml.etree import ElementTree

from affidavit.api.pages.charts.differences import WIDTH, delta_bar


def _bar(delta: float | None, reach: float) -> ElementTree.Element | None:
    return ElementTree.fromstring(delta_bar(delta, reach)).find("rect")


def test_a_gain_goes_to_the_right_and_a_loss_to_the_left_each_as_long_as_it_is_large() -> None:
    gain, loss = _bar(0.5, 1.0), _bar(-1.0, 1.0)
    assert gain is not None
    assert loss is not None
    assert float(gain.attrib["x"]) == WIDTH / 2
    assert float(loss.attrib["x"]) + float(loss.attrib["width"]) == WIDTH / 2
    assert float(loss.attrib["width"]) == 2 * float(gain.attrib["width"])
    assert (gain.attrib["class"], loss.attrib["class"]) == ("fill-good", "fill-bad")


def test_no_difference_has_no_bar_and_nobody_needs_the_picture() -> None:
    assert _bar(0.0, 1.0) is None
    assert _bar(None, 0.0) is None
    assert ElementTree.fromstring(delta_bar(0.25, 1.0)).attrib["aria-hidden"] == "true"
