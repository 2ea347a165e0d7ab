"""Messages and turns: whatever a span holds can be read, and a turn that was a message becomes it again."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from affidavit.api.adapters.otel.messages import make_message, make_turn, read_messages, signature

_TEXTS = st.text(max_size=5)
_PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | _TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXTS, inner, max_size=3),
    max_leaves=8,
)
_KEYS = st.sampled_from(
    ["role", "parts", "content", "tool_calls", "type", "name", "arguments", "message", "affidavit", "id", "response"]
)
_ANYTHING = st.recursive(
    _PLAIN, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=4), max_leaves=12
)
_PARTS = st.one_of(
    st.fixed_dictionaries({"type": st.just("text"), "content": _TEXTS}),
    st.fixed_dictionaries({"type": st.just("reasoning"), "content": _TEXTS}),
    st.fixed_dictionaries(
        {"type": st.just("tool_call"), "name": _TEXTS, "arguments": st.dictionaries(_TEXTS, st.integers(), max_size=2)},
        optional={"id": _TEXTS},
    ),
    st.fixed_dictionaries({"type": st.just("tool_call_response"), "id": _TEXTS, "response": _TEXTS}),
    st.fixed_dictionaries({"type": st.just("blob"), "mime_type": _TEXTS, "content": _TEXTS}),
)
MESSAGES = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "assistant", "system", "tool", "model", "developer"])},
    optional={"finish_reason": st.sampled_from(["stop", "length"]), "name": _TEXTS},
).flatmap(lambda said: st.lists(_PARTS, min_size=1, max_size=3).map(lambda parts: {**said, "parts": parts}))


@given(inputs=_ANYTHING, outputs=_ANYTHING)
def test_whatever_a_span_holds_is_read_or_counted(inputs: Any, outputs: Any) -> None:
    said = read_messages({"gen_ai.input.messages": inputs, "gen_ai.output.messages": outputs}, ())
    for message in (*said.inputs, *said.outputs):
        turn, _ = make_turn(message, 0)
        assert isinstance(turn["content"], str)
        assert make_message(turn)["parts"]
        assert isinstance(signature(message), bytes)


@given(message=MESSAGES, answer=st.booleans())
def test_a_turn_becomes_the_message_again_that_it_was(message: dict[str, Any], answer: bool) -> None:
    (read,) = read_messages({"gen_ai.input.messages": json.dumps([message])}, ()).inputs
    turn, _ = make_turn(read, 0, answer=answer)
    assert make_message(turn) == message


def test_what_a_turn_has_beside_its_words_survives() -> None:
    turn = {
        "role": "Agent",
        "content": "On its way.",
        "created_at": 5,
        "shadow_content": "In a week.",
        "citations": [{"kind": "playbook", "real_id": "refunds"}],
        "tools_used": [{"tool_name": "pay"}],
    }
    message = make_message(turn)
    assert (message["role"], message["parts"]) == ("assistant", [{"type": "text", "content": "On its way."}])
    assert make_turn(message, 5, answer=True) == (turn, [])
