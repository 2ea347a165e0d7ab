"""What endangers a ledger in PostgreSQL: the server's settings, those who follow it, and rights."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from ...ledger.store.condition import DatabaseCondition, Slot, Standby
from .finding import Check, Finding, Level, listed, print_bytes

CONNECTIONS = 40
"""What a process that has a ledger open takes at most."""

_OLDEST = 15
_BEHIND = 64 * 2**20
_DELAY = 10.0
_HELD = 2**30

_VERSION = Check(
    "server_version",
    "server_version",
    f"{_OLDEST} or later",
    "the statements of a ledger are tried on these versions",
    "move to a later PostgreSQL; install its minor releases as they appear, which is not checked here",
)
_RECOVERY = Check(
    "server_role",
    "pg_is_in_recovery()",
    "a primary",
    "a standby only reads: nothing can be appended",
    "name the primary in the address, or all hosts with target_session_attrs=read-write; or promote this one, once the "
    "old primary cannot come back",
)
_STANDBYS = Check(
    "standbys",
    "synchronous_standby_names and pg_stat_replication",
    "at least one standby that is synchronous and streams",
    "with one, what was acknowledged lies on two machines; named and not there, every append waits",
    "set up a standby and name it in synchronous_standby_names (docs/failover.md), or start the one that is named",
)
_LAG = Check(
    "standby_lag",
    "pg_stat_replication",
    f"less than {print_bytes(_BEHIND)} and {_DELAY:.0f} seconds behind",
    "appends wait for a synchronous standby; another one that is behind lacks as much when it is promoted",
    "look at its disk and the network between the two",
)
_SLOTS = Check(
    "replication_slots",
    "pg_replication_slots",
    "every slot is read",
    "a slot that nobody reads holds back the server's log until the disk is full; destroyed keys stay in it as long",
    "start who reads it, or SELECT pg_drop_replication_slot('…'); bound it with max_slot_wal_keep_size",
)
_CONNECTIONS = Check(
    "connections",
    "max_connections, and those that are taken",
    f"{CONNECTIONS} for each process that has a ledger open, and some left",
    "where none is left, a process that starts or reconnects is refused",
    "raise max_connections, or run fewer processes; PgBouncer serves in session mode only",
)
_LOGGED = Check(
    "statements_logged",
    "log_statement, log_min_duration_statement, log_parameter_max_length",
    "statements that write are not logged with their values",
    "values hold entries and wrapped keys: copies in the server's log are reached by no erasure",
    "set log_parameter_max_length = 0, or log_statement = none and log_min_duration_statement = -1",
)
_GUARDS = Check(
    "guards",
    "the triggers of the schema",
    "every table of evidence refuses UPDATE, DELETE and TRUNCATE, in every session",
    "they are what stops a slip of whoever owns the tables",
    "find out who dropped or disabled them; verify the ledger; copy it into one that is made anew",
)
_EXCESS = Check(
    "rights_excess",
    "who may change or owns tables of evidence",
    "the owner, whom nobody logs in as; the writer inserts and moves the head",
    "who may change evidence can damage it, which verify finds, but does not undo",
    "REVOKE it; docs/postgresql.md says which role may what",
)
_LACK = Check(
    "rights_lacking",
    "what the roles of the ledger may do",
    "the writer inserts, both read, as they were made",
    "what a role may not do fails when it is needed",
    "GRANT it again; docs/postgresql.md says which role may what",
)
_LOGIN = Check(
    "login",
    "the user who logs in",
    "a user who is a member of the writer or the reader, and of nothing more",
    "rights and triggers do not bind a superuser or the owner: a slip of a service can damage evidence",
    "log in as a user of its own, to whom the writer is granted, or the reader where it only reads",
)


class Setting(NamedTuple):
    """``fine`` are the values that are; any other is as bad as ``level`` says."""

    name: str
    fine: tuple[str, ...]
    level: Level
    why: str
    advice: str


SETTINGS = (
    Setting(
        "fsync",
        ("on",),
        "danger",
        "without it a power cut takes what was acknowledged, and may leave a database that does not start",
        "set fsync = on, and reload",
    ),
    Setting(
        "full_page_writes",
        ("on",),
        "danger",
        "without it a power cut in the middle of a page leaves one that is half old",
        "set full_page_writes = on, and reload",
    ),
    Setting(
        "data_checksums",
        ("on",),
        "warning",
        "with them the server notices a page that the disk has changed; without, verify does, when it is run",
        "pg_checksums --enable while the server is stopped",
    ),
    Setting(
        "autovacuum",
        ("on",),
        "warning",
        "every commit leaves an old version of the head row, which somebody has to clear away",
        "set autovacuum = on, and reload",
    ),
    Setting(
        "wal_level",
        ("replica", "logical"),
        "warning",
        "with less there is no standby, and no backup that can be brought up to a moment",
        "set wal_level = replica, and restart",
    ),
    Setting(
        "synchronous_commit",
        ("on", "remote_apply"),
        "warning",
        "with less a commit is told before it is durable here or there; who appends sets `on` where it finds off or "
        "local, and keeps remote_write, with which a power cut of the standby takes what it had not written yet",
        "set synchronous_commit = on, and reload",
    ),
)


def check_server(found: DatabaseCondition) -> Iterator[Finding]:
    """One finding for each of them, in a fixed order."""
    yield _VERSION.found("ok" if found.version >= _OLDEST * 10_000 else "danger", _print_version(found.version))
    yield _RECOVERY.found(*(("danger", "a standby, in recovery") if found.recovering else ("ok", "a primary")))
    yield from _check_settings(found.settings.get)
    yield _check_standbys(found)
    yield _check_lag(found.standbys)
    yield _check_slots(found.slots, found.settings.get("max_slot_wal_keep_size", "-1"))
    yield _check_connections(found)
    yield _check_logged(found)
    yield _GUARDS.none_of("danger", [f"{name} is missing or off" for name in found.missing_guards], "all are there")
    yield _EXCESS.none_of("danger", found.excess, "nobody may do more")
    yield _LACK.none_of("danger", found.lacking, "they may do what they need to")
    yield _check_login(found)


def _check_settings(get: Callable[[str], str | None]) -> Iterator[Finding]:
    for each in SETTINGS:
        check = Check(each.name, f"setting {each.name}", " or ".join(each.fine), each.why, each.advice)
        value = get(each.name)
        if value is None:
            yield check.found("not_checked", "the server does not say")
        else:
            yield check.found("ok" if value in each.fine else each.level, value)


def _check_standbys(found: DatabaseCondition) -> Finding:
    named = found.settings.get("synchronous_standby_names", "")
    streaming = [f"{each.name} ({each.sync_state})" for each in found.standbys if each.state == "streaming"]
    if any(each.state is None for each in found.standbys):
        return _STANDBYS.found("not_checked", f"user {found.user} may not see them; GRANT pg_monitor TO {found.user}")
    if not named:
        others = f"; {listed(streaming)} follow without being waited for" if streaming else ""
        return _STANDBYS.found("warning", f"none is named: what is acknowledged lies on one machine{others}")
    if not any(each.state == "streaming" and each.sync_state in ("sync", "quorum") for each in found.standbys):
        return _STANDBYS.found("danger", f"`{named}` is named, and no synchronous one streams: appends wait")
    return _STANDBYS.found("ok", listed(streaming))


def _check_lag(standbys: tuple[Standby, ...]) -> Finding:
    told = [
        f"{each.name}: {print_bytes(each.behind)} behind"
        + (f", {each.delay:.1f} seconds" if each.delay is not None else "")
        for each in standbys
        if each.behind is not None
    ]
    if not standbys:
        return _LAG.found("ok", "nobody follows")
    if not told:
        return _LAG.found("not_checked", "this user may not see how far they are; GRANT pg_monitor to it")
    late = any((each.behind or 0) > _BEHIND or (each.delay or 0) > _DELAY for each in standbys)
    return _LAG.found("warning" if late else "ok", listed(told))


def _check_slots(slots: tuple[Slot, ...], bound: str) -> Finding:
    idle = [each for each in slots if not each.active]
    lost = any(each.status in ("lost", "unreserved") for each in slots)
    told = [f"{each.name} holds {print_bytes(each.held or 0)} ({each.status}), and nobody reads it" for each in idle]
    filling = bound == "-1" and any((each.held or 0) > _HELD for each in idle)
    if lost and not idle:
        return _SLOTS.found("warning", "a slot has lost what it was to hold: who reads it must be set up again")
    return _SLOTS.none_of("danger" if filling else "warning", told, f"{len(slots)} of {len(slots)} are read")


def _check_connections(found: DatabaseCondition) -> Finding:
    most = int(found.settings.get("max_connections", "0"))
    kept = sum(
        int(found.settings.get(name, "0")) for name in ("superuser_reserved_connections", "reserved_connections")
    )
    usable = most - kept
    told = f"{usable} for users, {found.connections} are taken: room for {max(0, usable) // CONNECTIONS} processes"
    return _CONNECTIONS.found("warning" if usable < CONNECTIONS or found.connections > 0.8 * usable else "ok", told)


def _check_logged(found: DatabaseCondition) -> Finding:
    get = found.settings.get
    names = ("log_statement", "log_min_duration_statement", "log_parameter_max_length")
    told = ", ".join(f"{name} = {get(name)}" for name in names)
    logs = get("log_statement") in ("mod", "all") or get("log_min_duration_statement") != "-1"
    return _LOGGED.found("warning" if logs and get("log_parameter_max_length") != "0" else "ok", told)


def _check_login(found: DatabaseCondition) -> Finding:
    if found.unbound:
        return _LOGIN.found("warning", listed(found.unbound))
    if not found.acts_as:
        return _LOGIN.found("danger", f"user {found.user} may act as none of the ledger's roles")
    writes = any(role.endswith("_writer") for role in found.acts_as)
    return _LOGIN.found("ok", f"user {found.user} may {'append and read' if writes else 'read, and not append'}")


def _print_version(number: int) -> str:
    return f"{number // 10_000}.{number % 10_000}"
