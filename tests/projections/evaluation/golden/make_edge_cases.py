"""Make edge_cases.json: one dataset with the cases where overviews go wrong, and the peer's answers by its algorithm.

``python -m affidavit.tests.projections.evaluation.golden.make_edge_cases``; git must then show no change.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from affidavit.bench.peer_overview import DAY, WEEK, peer_overview

FILE = Path(__file__).with_name("edge_cases.json")
TO = 1_704_326_400  # a Thursday, 00:00 UTC, where days and weeks of the peer begin
CURRENT = TO - WEEK
PRIOR = CURRENT - WEEK


def build() -> dict[str, Any]:
    made = _Rows()
    # Rows exactly at, and one second beside, each bound of each window.
    for name, at in {"to": TO, "after": TO + 1, "c": CURRENT, "c-1": CURRENT - 1, "p": PRIOR, "p-1": PRIOR - 1}.items():
        made.session("u1", f"at-{name}", at, success=name in ("to", "c", "p"), corrections=3)
    made.session("u1", "midnight", TO - DAY, success=True, turns=2)
    made.session("u1", "midnight-1", TO - DAY - 1, success=False, turns=4)  # a failure with turns
    made.session("u1", "no-turns", TO - 100, success=True, turns=None)
    # Two users with one session id, of different sources; one cites a rule twice, and under two kinds.
    made.session(
        "u1", "shared", TO - 200, source="a", success=True, cited=[("playbook", "7", ""), ("playbook", "7", "T")]
    )
    made.session("u2", "shared", TO - 200, source="b", success=False, cited=[("user_playbook", "7", "Other")])
    # The source of the first request holds: at the same second the least request id, later ones do not count.
    made.session("u3", "tie", TO - 300, source="b", success=True, request="0b")
    made.request("u3", "tie", TO - 300, "a", request="0a")
    made.request("u3", "tie", TO - 299, "late", request="00")
    # Created out of order: the list's order is not the time's.
    made.request("u4", "disorder", TO - 400, "second", request="z")
    made.session("u4", "disorder", TO - 500, source="first", success=True)
    # Rows twice for a session; two agent versions; two times, of which the first decides for rules.
    made.session("u5", "twice", TO - 600, success=True, cited=[("profile", "3", "")])
    made.result("u5", "twice", TO - 600, success=False)
    made.result("u5", "twice", TO - 600, success=False, version="v2")
    made.session("u5", "two-times", TO - 700, success=True, cited=[("profile", "4", "Four")])
    made.result("u5", "two-times", TO - 650, success=False)
    # Rows whose session has no request, no id, no user.
    made.result("ghost", "deleted", TO - 800, success=False)
    made.result("", "nobody", TO - 810, success=True)
    made.result("u6", "", TO - 820, success=True)
    # Failure types, as they come.
    for n, (kind, success) in enumerate(
        [("system_error", False), (" System_Error ", False), ("SYSTEM_ERROR", True), ("", False), (None, False)]
    ):
        made.session("u7", f"type-{n}", TO - 900 - n, success=success, failure_type=kind, escalated=n % 2 == 0)
    for n, corrections in enumerate((0, 4, 5, 6, 40)):
        made.session("u8", f"corrections-{n}", TO - 1000 - n, success=True, corrections=corrections)
    # Rules whose nets tie, and more than five of them.
    for n in range(8):
        made.session("u9", f"rule-{n}", TO - 2000 - n, success=n % 4 != 3, cited=[("agent_playbook", str(n), "")])
    for scorer, run, session, value, at in (
        ("accuracy", "r1", "shared", 1.0, CURRENT),  # in both windows, with the peer
        ("accuracy", "r2", None, -1.5, TO),
        ("accuracy", "r3", "nowhere", 0.25, TO - 1),
        ("accuracy", "r4", "twice", 1e-9, PRIOR),
        ("before", "r5", None, 1.0, PRIOR + 5),
        ("Ünïcode", "r6", "tie", 0.1, TO + 1),
    ):
        made.score(scorer, run, session, value, at)
    for n, (at, fraction, offset, better, version) in enumerate(
        [
            (TO, "", "+00:00", "1", "v1.1.0"),
            (TO, ".000001", "+00:00", "1", "v1.1.0"),  # outside by a microsecond
            (CURRENT, ".999999", "+00:00", "2", "v1.1.0"),
            (TO - 5, "", "+00:00", "tie", "v1.1.0"),
            (TO - 6, "", "+00:00", "1", "v1.0.0"),
            (TO - DAY, "", "+00:00", "2", "v1.1.0"),
        ]
    ):
        made.verdict(at, fraction, offset, better, version, first=n % 2 == 0)
    requests: list[dict[str, Any]] = [
        {"from_ts": TO - 30 * DAY, "to_ts": TO},
        {"from_ts": TO - 30 * DAY, "to_ts": TO, "bucket": "day", "include_shadow": False},
        {"from_ts": TO, "to_ts": TO, "bucket": "day"},
        {"from_ts": TO - 1, "to_ts": TO},
        {"from_ts": TO - DAY, "to_ts": TO, "bucket": "day"},
        {"from_ts": 0, "to_ts": 5},
        {"from_ts": 0, "to_ts": TO + 1000},
        {"from_ts": TO * 1000, "to_ts": TO * 1000},
        {
            "from_ts": PRIOR,
            "to_ts": TO,
            "source_sets": [
                {"label": " blank ", "sources": [""]},
                {"label": "both", "sources": ["a", "b"]},
                {"label": "none", "sources": ["never_seen"]},
            ],
        },
    ]
    return {"dataset": made.rows, "requests": requests, "answers": [peer_overview(made.rows, r) for r in requests]}


class _Rows:
    def __init__(self) -> None:
        self.rows: dict[str, Any] = {
            kind: [] for kind in ("requests", "interactions", "results", "verdicts", "imported_scores")
        }

    def session(
        self,
        user: str,
        session: str,
        at: int,
        *,
        source: str = "",
        request: str | None = None,
        cited: list[tuple[str, str, str]] | None = None,
        **graded: Any,
    ) -> None:
        self.request(user, session, at, source, request=request, cited=cited)
        self.result(user, session, at, **graded)

    def request(
        self,
        user: str,
        session: str,
        at: int,
        source: str,
        *,
        request: str | None = None,
        cited: list[tuple[str, str, str]] | None = None,
    ) -> None:
        name = request or f"r{len(self.rows['requests'])}"
        self.rows["requests"].append(
            {"request_id": name, "user_id": user, "session_id": session, "created_at": at, "source": source}
            | {"agent_version": "v1", "evaluation_only": False}
        )
        self.rows["interactions"].append(
            {"interaction_id": len(self.rows["interactions"]) + 1, "request_id": name, "created_at": at}
            | {"role": "Agent", "content": "x", "shadow_content": " "}
            | {"citations": [{"kind": kind, "real_id": rule, "title": title} for kind, rule, title in cited or ()]}
        )

    def result(
        self,
        user: str,
        session: str,
        at: int,
        *,
        success: bool,
        version: str = "v1",
        failure_type: str | None = None,
        corrections: int = 0,
        turns: int | None = 1,
        escalated: bool = False,
    ) -> None:
        self.rows["results"].append(
            {"result_id": len(self.rows["results"]) + 1, "user_id": user, "session_id": session, "created_at": at}
            | {"agent_version": version, "is_success": success, "failure_type": failure_type, "failure_reason": None}
            | {"evaluation_name": "agent_success", "number_of_correction_per_session": corrections}
            | {"user_turns_to_resolution": turns if success or turns != 1 else None, "is_escalated": escalated}
            | {"tags": None, "regular_vs_shadow": None}
        )

    def score(self, scorer: str, run: str, session: str | None, value: float, at: int) -> None:
        self.rows["imported_scores"].append(
            {"source": "braintrust", "source_run_id": run, "session_id": session, "scorer_name": scorer}
            | {"value": value, "ts": at}
        )

    def verdict(self, at: int, fraction: str, offset: str, better: str, version: str, *, first: bool) -> None:
        moment = datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S")
        self.rows["verdicts"].append(
            {"verdict_id": len(self.rows["verdicts"]) + 1, "interaction_id": "1", "session_id": "at-to"}
            | {"agent_version": "v1", "reflexio_is_request_1": first, "better_request": better}
            | {"is_significantly_better": False, "comparison_reason": None, "judge_prompt_version": version}
            | {"created_at": f"{moment}{fraction}{offset}"}
        )


if __name__ == "__main__":
    FILE.write_text(json.dumps(build(), ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
