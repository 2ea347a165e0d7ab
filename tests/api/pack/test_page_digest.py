"""The digest of a page: what changes it, and what it leaves out. That a browser takes the same, test_browser shows."""

from __future__ import annotations

import pytest

from affidavit.api.pack.page_digest import page_digest

PAGE = (
    '<html><head><title>A</title></head><body><p class="x">One <b>two</b></p>'
    '<div id="answer">…</div><script id="evidence">{}</script></body></html>'
)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("One", "Ome"),
        ("two", "tw0"),
        ('class="x"', 'class="y"'),
        ('class="x"', ""),
        ("<b>two</b>", "<i>two</i>"),
        ("<b>two</b>", "two"),
        ("<title>A", "<title>B"),
        ("<p ", "<!-- c --><p "),
        ("One ", "One"),
    ],
)
def test_any_change_of_the_tree_changes_it(old: str, new: str) -> None:
    assert page_digest(PAGE.replace(old, new)) != page_digest(PAGE)


def test_the_evidence_is_left_out() -> None:
    assert page_digest(PAGE.replace("{}", '{"body":""}')) == page_digest(PAGE)


def test_nothing_can_hide_where_the_answer_will_stand() -> None:
    assert page_digest(PAGE.replace("…", "<p>Damaged</p>")) != page_digest(PAGE)
    assert page_digest(PAGE.replace("</div>", "</div><p>More</p>")) != page_digest(PAGE)


def test_a_line_feed_after_pre_is_no_text() -> None:
    assert page_digest("<pre>\nA\nB</pre>") == page_digest("<pre>A\nB</pre>")
    assert page_digest("<pre>\n\nA</pre>") != page_digest("<pre>\nA</pre>")
    assert page_digest("<pre><b>A</b>\nB</pre>") != page_digest("<pre><b>A</b>B</pre>")
