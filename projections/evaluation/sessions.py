"""The evaluated sessions of a window, by pages: what an overview lists whole."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from sqlalchemy import Connection

from .graded import load_graded, one_a_session
from .segments import ESCALATED, FLIPPED, NONE, SUCCESS, alias_of
from .windows import Windows


def list_sessions(
    views: Connection,
    size: int,
    *,
    from_at: int,
    to_at: int,
    source: str | None,
    limit: int,
    offset: int,
    names_of: Callable[[Iterable[str]], dict[str, str | None]],
) -> dict[str, Any]:
    """Sessions whose first request came in the window, each with the result that was recorded last; newest first.

    Only the names of this page are opened; a name that is erased or closed is null, its alias is there.
    """
    graded = load_graded(views, Windows(from_at, to_at, from_at, from_at, 1), size)
    if source is not None:
        graded = graded.of_sources([source])
    single = one_a_session(graded.trend)
    order = np.lexsort((single["seq"], single["at"]))[::-1]
    page = single[order[offset : offset + limit]]
    users = graded.users_of(page)
    sessions = [alias_of("session", number) for number in page["session"].tolist()]
    named = names_of([*sessions, *users])
    return {
        "sessions": [
            {
                "session_id": named.get(session),
                "user_id": named.get(user),
                "session": session,
                "user": user,
                "source": graded.texts[int(row["source"])],
                "started_at": int(row["at"]),
                "is_success": bool(row["flags"] & SUCCESS),
                "is_escalated": bool(row["flags"] & ESCALATED),
                "number_of_correction_per_session": int(row["corrections"]),
                "user_turns_to_resolution": None if row["turns"] == NONE else int(row["turns"]),
                "source_flipped": bool(row["flags"] & FLIPPED),
                "made": graded.texts[int(row["made"])],
                "result_seq": int(row["seq"]),
            }
            for row, session, user in zip(page, sessions, users, strict=True)
        ],
        "total": len(single),
        "limit": limit,
        "offset": offset,
        "has_more": offset + len(page) < len(single),
    }
