"""What a published request becomes."""

from __future__ import annotations

from typing import Any

import pytest

from affidavit.domain.errors import Refused
from affidavit.domain.evaluation.events import InteractionPublished, RequestPublished
from affidavit.domain.evaluation.publication import Aliases, Publication, carries_content, publish, speaker_of

ALIASES = Aliases(*(f"{kind}-{0:016x}" for kind in ("user", "session", "request")))


def a_publication(*turns: dict[str, Any], dropped: int = 0) -> Publication:
    return Publication("u1", "s1", "r1", "prod", "v1", True, 1000, {"user_id": "u1"}, turns, dropped)


@pytest.mark.parametrize(
    ("role", "speaker"),
    [
        ("Agent", "agent"),
        (" ASSISTANT ", "agent"),
        ("System", "system"),
        ("tool", "system"),
        ("internal", "system"),
        ("User", "user"),
        ("bot", "user"),
        ("", "user"),
    ],
)
def test_a_role_says_who_speaks(role: str, speaker: str) -> None:
    assert speaker_of(role) == speaker


@pytest.mark.parametrize(
    ("entry", "carries"),
    [
        ({}, False),
        ({"content": " \n"}, False),
        ({"role": "agent", "created_at": 5}, False),
        ({"tools_used": []}, False),
        ({"user_action": "none", "user_action_description": "x"}, False),
        ({"user_action": "click"}, True),
        ({"shadow_content": "a"}, True),
        ({"expert_content": "a"}, True),
        ({"interacted_image_url": "http://a"}, True),
        ({"image_encoding": "aGk="}, True),
        ({"citations": [{}]}, True),
        ({"retrieved_learnings": [{}]}, True),
    ],
)
def test_an_entry_carries_content_if_it_says_anything(entry: dict[str, Any], carries: bool) -> None:
    assert carries_content(entry) is carries


def test_a_request_becomes_its_envelope_and_its_turns() -> None:
    cited = {"kind": "profile", "real_id": "7", "tag": "p1"}

    question = {"content": "hi", "created_at": 5}
    reply = {"role": "agent", "shadow_content": " ", "citations": [cited]}
    envelope, first, second = publish(a_publication(question, reply, dropped=1), ALIASES)

    assert isinstance(envelope, RequestPublished)
    assert isinstance(first, InteractionPublished)
    assert isinstance(second, InteractionPublished)
    assert (envelope.interactions, envelope.dropped, envelope.evaluation_only) == (2, 1, True)
    assert (first.created_at, second.created_at) == (5, 1000)
    assert (first.index, second.index) == (0, 1)
    assert (first.has_shadow, second.has_shadow) == (False, True)
    assert [(found.kind, found.rule, found.title) for found in second.citations] == [("profile", "7", "")]


def test_citations_that_no_entry_holds_are_refused_by_name() -> None:
    cited = [{"kind": "playbook", "real_id": "\x00" * 9_900}]

    publish(a_publication({"citations": cited}), ALIASES)
    with pytest.raises(Refused, match=r"interaction_data_list\[1\]\.citations"):
        publish(a_publication({"content": "a"}, {"citations": cited * 2}), ALIASES)
