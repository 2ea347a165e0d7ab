"""What is published in these tests."""

from __future__ import annotations

from typing import Any

LOCAL = "http://127.0.0.1:8128"

Entry = dict[str, Any]


def a_request(request_id: str | None = "r1", *, user: str = "u1", session: str = "s1", **more: Any) -> dict[str, Any]:
    """A publish request: a question, and an answer with its shadow."""
    return {
        "request_id": request_id,
        "user_id": user,
        "session_id": session,
        "source": "prod",
        "interaction_data_list": [
            {"role": "User", "content": "Where is my parcel?"},
            {"role": "Agent", "content": "In Bern.", "shadow_content": "I do not know."},
        ],
        **more,
    }
