"""Rules: which versions are in force, and a full-text search over them (SQLite FTS5, ranked by bm25).

The index is a cache beside the view's tables, made anew when it is not that of the newest rule. Where those lie in
another database, SQLite indexes the rules in memory, so that a search finds the same in the same order; that index
stays with the connection, for the next search of the same rules.
"""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection

MAX_WORDS = 64
"""Words of a question that are searched for; the rest of a long one adds little."""

_KEPT = "rules_index"
_INDEX = "CREATE VIRTUAL TABLE {name} USING fts5(title, text, tags, tokenize='porter unicode61 remove_diacritics 2')"
_ADD = "INSERT INTO {name} (rowid, title, text, tags) VALUES (?, ?, ?, ?)"
_RANK = (
    "SELECT rowid AS seq, bm25({index}, 2.0, 1.0, 1.0) AS rank FROM {index} WHERE {index} MATCH ? ORDER BY rank, rowid"
)
_IN_FORCE = (
    "SELECT r.* FROM rules r JOIN (SELECT rule, max(seq) AS newest FROM rules WHERE seq < ? GROUP BY rule) n "
    "ON r.seq = n.newest"
)


@dataclass(frozen=True, slots=True)
class _Indexed:
    """Which entries of the log published the rules that are indexed, and where; closed with what keeps it."""

    seqs: tuple[int, ...]
    db: sqlite3.Connection

    def __del__(self) -> None:
        self.db.close()


def list_rules(views: Connection, size: int, *, retired: bool = False) -> list[dict[str, Any]]:
    """The newest version of each rule, by id; those that are retired only where asked for."""
    rows = views.exec_driver_sql(f"{_IN_FORCE} ORDER BY r.rule", (size,)).mappings()
    return [_rule(row) for row in rows if retired or not row["retired"]]


def search_rules(
    views: Connection,
    size: int,
    query: str,
    *,
    top_k: int,
    agent_version: str | None = None,
    kinds: Sequence[str] | None = None,
    tags: Sequence[str] | None = None,
) -> list[dict[str, Any]]:
    """Rules in force that share a word with ``query``, the best first, at most ``top_k`` of each kind.

    A rule that names no agent version is for all of them.
    """
    words = list(dict.fromkeys(re.findall(r"\w+", query.lower())))[:MAX_WORDS]
    if not words:
        return []
    rules = {rule["seq"]: rule for rule in list_rules(views, size)}
    asked = " OR ".join(f'"{word}"' for word in words)
    if views.dialect.name == "sqlite":
        ranked = _ranked(views, _index(views, size, rules.values()), asked)
    else:
        ranked = _index_in_memory(views, rules).execute(_RANK.format(index="rules_index"), (asked,)).fetchall()
    found: list[dict[str, Any]] = []
    counts: dict[str, int] = {}
    for seq, rank in ranked:
        rule = rules[seq]
        if agent_version is not None and rule["agent_version"] not in (None, agent_version):
            continue
        if kinds is not None and rule["kind"] not in kinds:
            continue
        if tags and not set(tags) & set(rule["tags"]):
            continue
        counts[rule["kind"]] = counts.get(rule["kind"], 0) + 1
        if counts[rule["kind"]] <= top_k:
            found.append({**rule, "score": -rank})
    return found


def by_kind(rules: Sequence[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Rules as the peer's search answers: one list for each kind, with the fields that its clients need."""
    answer: dict[str, list[dict[str, Any]]] = {"profiles": [], "agent_playbooks": [], "user_playbooks": []}
    for rule in rules:
        shown = {
            **{name: value for name, value in rule.items() if name != "text"},
            "content": rule["text"],
            "agent_version": rule["agent_version"] or "",
        }
        match rule["kind"]:
            case "profile":
                profile = {"profile_id": rule["rule"], "user_id": "", "generated_from_request_id": ""}
                answer["profiles"].append({**profile, "last_modified_timestamp": rule["created_at"], **shown})
            case "user_playbook":
                named = {"user_playbook_id": rule["seq"], "request_id": "", "playbook_name": rule["title"]}
                answer["user_playbooks"].append({**named, **shown})
            case _:
                named = {"agent_playbook_id": rule["seq"], "playbook_name": rule["title"]}
                answer["agent_playbooks"].append({**named, "playbook_status": "approved", **shown})
    return answer


def _ranked(views: Connection, index: str, asked: str) -> Sequence[Any]:
    return views.exec_driver_sql(_RANK.format(index=index), (asked,)).all()


def _index(views: Connection, size: int, rules: Iterable[dict[str, Any]]) -> str:
    """The table that indexes the rules in force at ``size``: the kept one, or one for a moment in the past."""
    newest, last, count = views.exec_driver_sql(
        "SELECT max(seq) FILTER (WHERE seq < ?), max(seq), count(*) FROM rules", (size,)
    ).one()
    if newest != last:
        views.exec_driver_sql("DROP TABLE IF EXISTS temp.rules_then")
        _fill(views, "temp.rules_then", rules)
        return "rules_then"
    views.exec_driver_sql("CREATE TABLE IF NOT EXISTS rules_indexed (newest INTEGER, count INTEGER)")
    if views.exec_driver_sql("SELECT newest, count FROM rules_indexed").first() != (newest, count):
        views.exec_driver_sql("DROP TABLE IF EXISTS rules_index")
        _fill(views, "rules_index", rules)
        views.exec_driver_sql("DELETE FROM rules_indexed")
        views.exec_driver_sql("INSERT INTO rules_indexed VALUES (?, ?)", (newest, count))
        views.commit()
    return "rules_index"


def _index_in_memory(views: Connection, rules: Mapping[int, dict[str, Any]]) -> sqlite3.Connection:
    """A database that indexes these rules: the one of the search before, if that was of the same."""
    seqs = tuple(rules)
    kept: _Indexed | None = views.info.get(_KEPT)
    if kept is not None and kept.seqs == seqs:
        return kept.db
    db = sqlite3.connect(":memory:", check_same_thread=False)  # its connection is one thread's after another's
    db.execute(_INDEX.format(name="rules_index"))
    db.executemany(_ADD.format(name="rules_index"), _rows(rules.values()))
    views.info[_KEPT] = _Indexed(seqs, db)
    return db


def _fill(views: Connection, name: str, rules: Iterable[dict[str, Any]]) -> None:
    views.exec_driver_sql(_INDEX.format(name=name))
    rows = _rows(rules)
    if rows:
        views.exec_driver_sql(_ADD.format(name=name), rows)


def _rows(rules: Iterable[dict[str, Any]]) -> list[tuple[Any, ...]]:
    return [(rule["seq"], rule["title"], rule["text"], " ".join(rule["tags"])) for rule in rules]


def _rule(row: Any) -> dict[str, Any]:
    return {
        "rule": row["rule"],
        "kind": row["kind"],
        "title": row["title"],
        "text": row["text"],
        "tags": json.loads(row["tags"]),
        "agent_version": row["agent_version"],
        "retired": bool(row["retired"]),
        "created_at": int(datetime.fromisoformat(row["at"]).astimezone(UTC).timestamp()),
        "seq": row["seq"],
    }
