"""The history of the configuration: what was changed when, and what was in force from then on."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import Connection


def config_history(views: Connection, size: int, *, limit: int = 100, offset: int = 0) -> list[dict[str, Any]]:
    """Changes of the configuration, the newest first."""
    rows = views.exec_driver_sql(
        "SELECT * FROM configs WHERE seq < ? ORDER BY seq DESC LIMIT ? OFFSET ?", (size, limit, offset)
    ).mappings()
    return [
        {
            "seq": row["seq"],
            "at": row["at"],
            "changed": json.loads(row["changed"]),
            "shadow_comparison_judge_prompt_version": row["pin"],
            "eval_sample_n_per_stratum": row["eval_sample_n_per_stratum"],
            "eval_concurrency_limit": row["eval_concurrency_limit"],
            "sampling_rate": _number(row["sampling_rate"]),
            "evaluation_only_sampling_rate": _number(row["evaluation_only_sampling_rate"]),
        }
        for row in rows
    ]


def _number(shortest: str | None) -> float | None:
    return None if shortest is None else float(shortest)
