"""How a ledger's server stands: its settings, who follows it, and who may do what."""

from __future__ import annotations

from typing import Any

from psycopg import Connection

from ...errors import Unavailable
from ..condition import DatabaseCondition, Slot, Standby
from .connecting import Login
from .description import EXPECTED, described
from .rights import acts_as, excess_of_rights, lack_of_rights, why_unbound

_SETTINGS = (
    "autovacuum",
    "data_checksums",
    "fsync",
    "full_page_writes",
    "log_min_duration_statement",
    "log_parameter_max_length",
    "log_statement",
    "max_connections",
    "max_slot_wal_keep_size",
    "reserved_connections",
    "superuser_reserved_connections",
    "synchronous_commit",
    "synchronous_standby_names",
    "wal_level",
)
_END_OF_LOG = "CASE WHEN pg_is_in_recovery() THEN pg_last_wal_receive_lsn() ELSE pg_current_wal_lsn() END"
_STANDBYS = f"""
SELECT coalesce(application_name, ''), state, sync_state, pg_wal_lsn_diff({_END_OF_LOG}, flush_lsn)::bigint,
    extract(epoch FROM flush_lag)::double precision FROM pg_stat_replication ORDER BY 1, pid
"""
_SLOTS = f"""
SELECT slot_name::text, active, wal_status, pg_wal_lsn_diff({_END_OF_LOG}, restart_lsn)::bigint
FROM pg_replication_slots ORDER BY 1
"""
_SIZE = """
SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = ANY(%s) AND c.relkind = 'r'
"""
_UNGUARDED = """
SELECT t.tgname::text
FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %s AND NOT t.tgisinternal AND t.tgenabled <> 'A'
"""


def database_condition(db: Connection[Any], login: Login) -> DatabaseCondition:
    """Look, as the user who logged in, and change nothing. ``Unavailable`` where no ledger lies here."""
    names = login.names
    if db.execute("SELECT 1 FROM pg_namespace WHERE nspname = %s", (names.schema,)).fetchone() is None:
        raise Unavailable(f"no ledger in {login}; `affidavit init` makes one")
    settings = db.execute("SELECT name, setting FROM pg_settings WHERE name = ANY(%s)", (list(_SETTINGS),)).fetchall()
    return DatabaseCondition(
        version=db.info.server_version,
        settings={str(name): str(value) for name, value in settings},
        recovering=bool(_one(db, "SELECT pg_is_in_recovery()")),
        connections=int(_one(db, "SELECT coalesce(sum(numbackends), 0) FROM pg_stat_database")),
        size=int(_one(db, _SIZE, list(names.schemas))),
        user=str(_one(db, "SELECT session_user")),
        acts_as=acts_as(db, names),
        excess=excess_of_rights(db, names),
        lacking=lack_of_rights(db, names),
        unbound=why_unbound(db, names),
        missing_guards=_missing_guards(db, names.schema),
        standbys=tuple(Standby(*row) for row in db.execute(_STANDBYS.encode()).fetchall()),
        slots=tuple(Slot(*row) for row in db.execute(_SLOTS.encode()).fetchall()),
    )


def _missing_guards(db: Connection[Any], schema: str) -> tuple[str, ...]:
    """The triggers that are not there, or that some sessions may pass over, and the function that they call."""
    missing = {name for kind, name, _ in EXPECTED - described(db, schema) if kind in ("trigger", "function")}
    return tuple(sorted(missing | {str(name) for (name,) in db.execute(_UNGUARDED, (schema,)).fetchall()}))


def _one(db: Connection[Any], statement: str, *values: object) -> Any:
    row = db.execute(statement.encode(), values).fetchone()
    return None if row is None else row[0]
