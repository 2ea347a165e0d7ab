"""What a ledger takes, measured on this machine, and by calculation what one of many years would.

``python bench/sizing.py`` calculates from the figures in bench/sizing.json and writes them into docs/sizing.md;
``--check`` only says whether the page is up to date. ``--measure`` measures anew first, for some minutes.
``--per-day``, ``--years`` and the prices print the calculation for others, and write nothing.
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

from affidavit.api.settings import ledger_place
from affidavit.bench.machine import load, machine_facts
from affidavit.bench.postgres import newest_version, running_server
from affidavit.bench.recording import recording_batches, recording_singly
from affidavit.bench.site import record_site
from affidavit.bench.windows import interleave, median_of, timed
from affidavit.bench.workload import BATCH, evaluations
from affidavit.ledger.application import Ledger
from affidavit.ledger.audit.audit import Against, audit
from affidavit.ledger.store.place import Place
from affidavit.ledger.store.sqlite.schema import KEYS_FILE, LEDGER_FILE, VIEWS_FILE
from affidavit.projections.registry import REGISTRY

MEASURED = Path(__file__).with_name("sizing.json")
PAGE = Path(__file__).parents[1] / "docs" / "sizing.md"
BEGIN = "<!-- figures: written by bench/sizing.py -->"
END = "<!-- end of figures -->"

TABLES = ("entries", "boxes", "tiles", "checkpoints")
_BUSY = 1.5
_NEW_RUNS = 900_000
_WINDOWS = 20
_SINGLES = 100
_RUNS, _EVENTS = 300, 40_000
_CHECKPOINTS = 500
_HASH = 32
_TILE = 256
_DAY = 86_400
_DAYS_IN_YEAR = 365.25
_SQLITE_PAGES = 2**32 - 2
_SQLITE_PAGE = 4096
_POSTGRESQL_TABLE = 32 * 2**40


@dataclass(frozen=True)
class Plan:
    """What is asked for. Prices are assumptions, in one currency, and the same for all ten years.

    ``peak`` is how much more comes in the busiest second than on average. ``verifying`` processes work on a
    verification. ``signatures`` are the most checkpoints in a second: a server signs at most every half second.
    ``copying`` is the rate of a backup in bytes a second.
    """

    per_day: int = 10_000_000
    years: float = 10.0
    peak: float = 10.0
    signatures: float = 2.0
    verifying: int = 16
    copying: float = 200e6
    block_price: float = 0.08
    object_price: float = 0.023
    core_price: float = 0.04


@dataclass(frozen=True)
class Sized:
    """What it takes. Sizes are bytes, times seconds; prices are of the last month, and of one verification."""

    entries: int
    per_second: float
    peak_per_second: float
    checkpoints: int
    evidence: float
    keys: float
    views: float
    entry_table: float
    tile_files: int
    tile_bytes: float
    verify_one: float
    verify_all: float
    backup: float
    block_month: float
    object_month: float
    verify_price: float


def calculate(plan: Plan, measured: Mapping[str, Any]) -> Sized:
    """From what one store took: ``bytes`` of each table for one of what it holds, and ``rates``."""
    each, rates = measured["bytes"], measured["rates"]
    entries = round(plan.per_day * plan.years * _DAYS_IN_YEAR)
    per_second = plan.per_day / _DAY
    checkpoints = round(min(per_second, plan.signatures) * plan.years * _DAYS_IN_YEAR * _DAY)
    evidence = entries * sum(each[table] for table in ("entries", "boxes", "tiles"))
    evidence += checkpoints * each["checkpoints"]
    keys, views = entries * each["keys"], entries * each["views"]
    hashes, files = _tiles(entries)
    tile_bytes = hashes * _HASH + entries * (each["raw"] + 2)
    verify_one = entries / rates["verify"]["value"]
    return Sized(
        entries=entries,
        per_second=per_second,
        peak_per_second=per_second * plan.peak,
        checkpoints=checkpoints,
        evidence=evidence,
        keys=keys,
        views=views,
        entry_table=entries * each["entries_heap"],
        tile_files=files + entries // _TILE,
        tile_bytes=tile_bytes,
        verify_one=verify_one,
        verify_all=verify_one / plan.verifying,
        backup=(evidence + keys) / plan.copying,
        block_month=(evidence + keys + views) / 1e9 * plan.block_price,
        object_month=tile_bytes / 1e9 * plan.object_price,
        verify_price=verify_one / 3600 * plan.core_price,
    )


def _tiles(entries: int) -> tuple[int, int]:
    """(hashes, files) of the full tiles of every level."""
    hashes = files = 0
    level = entries
    while level >= _TILE:
        files += level // _TILE
        hashes += level // _TILE * _TILE
        level //= _TILE
    return hashes, files


def markdown(document: Mapping[str, Any]) -> str:
    """The measured figures, and what follows from them."""
    stores: Mapping[str, Any] = document["stores"]
    names = list(stores)
    plan = Plan()
    sized = {name: calculate(plan, found) for name, found in stores.items()}
    lines = ["", f"Measured at {document['at']}, load {document['load']:.1f} before, on:", ""]
    lines += [f"- {name}: {fact}" for name, fact in document["machine"].items()]
    if document["load"] > _BUSY:
        lines += [
            "",
            "**The machine had other work meanwhile.** Sizes do not depend on that; rates do, and what follows",
        ]
        lines += ["from them: they are lower, and verifying takes longer here, than on a machine of its own."]
    lines += ["", "### Bytes for each entry", "", _head("of", names)]
    for key, what in _BYTES.items():
        lines.append(_line(what, [f"{found['bytes'][key]:,.1f}" for found in stores.values()]))
    lines += ["", _of_workload(stores), "", "### Rates, a second", "", _head("what", names)]
    for key, what in _RATES.items():
        cells = [_rate(found["rates"][key]) for found in stores.values()]
        lines.append(_line(what, cells))
    lines += ["", "### Calculated", "", f"{plan.per_day:,} entries a day for {plan.years:g} years:", ""]
    lines.append(_head("what", names))
    for name, what in _SIZED.items():
        lines.append(_line(what, [_cell(name, getattr(found, name)) for found in sized.values()]))
    lines += ["", *_limits(sized), "", "Assumed:", ""]
    lines += [f"- `{each.name}` = {_assumed(getattr(plan, each.name))}" for each in fields(plan)]
    return "\n".join(lines) + "\n\n"


_BYTES = {
    "raw": "the entry itself, as it is hashed",
    "entries": "table `entries` with its indexes",
    "boxes": "sealed fields",
    "tiles": "tiles of hashes",
    "keys": "keys and aliases",
    "views": "read models",
    "checkpoints": "for each checkpoint, not entry: its note",
}
_RATES = {
    "singles": "appends, one event in a commit, one client",
    "batches": "appends, 1,000 events in a commit, one client",
    "verify": "verified entries, one process",
}
_SIZED = {
    "entries": "entries",
    "per_second": "entries a second on average",
    "peak_per_second": "entries a second in the busiest second",
    "checkpoints": "checkpoints",
    "evidence": "evidence: entries, boxes, tiles, checkpoints",
    "keys": "keys and aliases",
    "views": "read models, which can be thrown away",
    "tile_files": "files, served as static tiles and bundles",
    "tile_bytes": "bytes of them",
    "verify_one": "verify, one process",
    "verify_all": "verify, all `verifying` processes, if they scale",
    "backup": "one full copy at `copying` bytes a second",
    "block_month": "price of a month of block storage at the end, one copy",
    "object_month": "price of a month of object storage for the tiles at the end",
    "verify_price": "price of the processor time of one full verification",
}
_IN_BYTES = ("evidence", "keys", "views", "tile_bytes")
_IN_SECONDS = ("verify_one", "verify_all", "backup")
_IN_MONEY = ("block_month", "object_month", "verify_price")


def _head(first: str, names: list[str]) -> str:
    return f"| {first} | {' | '.join(names)} |\n|---|{'---|' * len(names)}"


def _line(what: str, cells: list[str]) -> str:
    return f"| {what} | {' | '.join(cells)} |"


def _rate(found: Mapping[str, float]) -> str:
    return f"{found['value']:,.0f} ({found['low']:,.0f} – {found['high']:,.0f}, n = {found['n']:.0f})"


def _assumed(value: float) -> str:
    return f"{value:,.0f}" if value >= 1 else f"{value:g}"


def _cell(name: str, value: float) -> str:
    if name in _IN_BYTES:
        return f"{value / 1e12:,.2f} TB"
    if name in _IN_SECONDS:
        return f"{value / _DAY:,.1f} days" if value > 2 * _DAY else f"{value / 3600:,.1f} hours"
    return f"{value:,.2f}" if name in _IN_MONEY else f"{value:,.0f}"


def _of_workload(stores: Mapping[str, Any]) -> str:
    size = next(iter(stores.values()))["entries"]
    return (
        f"Of {size:,} entries: optimisation runs with their calls, and sessions that are graded and judged, their "
        "texts sealed (`bench/site.py`)."
    )


def _limits(sized: Mapping[str, Sized]) -> Iterator[str]:
    """What the databases themselves cannot hold."""
    most = {"SQLite": _SQLITE_PAGES * _SQLITE_PAGE}
    for name, found in sized.items():
        if name in most:
            bound, what, taken = most[name], "database of 4 KiB pages", found.evidence
        else:
            bound, what, taken = _POSTGRESQL_TABLE, "table of 8 KiB pages", found.entry_table
        verdict = "does not hold this" if taken > bound else "holds this"
        yield (
            f"- {name}: one {what} has at most {bound / 1e12:,.1f} TB, and {taken / 1e12:,.1f} TB are needed: "
            f"it **{verdict}**."
        )


def measure() -> dict[str, Any]:
    """What bench/sizing.json holds."""
    with tempfile.TemporaryDirectory(prefix="affidavit-bench-") as scratch:
        folder = Path(scratch)
        document: dict[str, Any] = {
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "load": load(),
            "machine": machine_facts(folder),
            "stores": {},
        }
        with _server() as server:
            addresses = {"SQLite": str(folder / "ledger")}
            if server is not None:
                addresses[f"PostgreSQL {server.version}"] = f"{server.url()}&ledger=sized"
            for name, address in addresses.items():
                document["stores"][name] = _measured(ledger_place(address), folder / "keys")
    return document


@contextmanager
def _server() -> Iterator[Any]:
    version = newest_version()
    if version is None:
        yield None
        return
    with running_server(version) as server:
        yield server


def _measured(place: Place, keys: Path) -> dict[str, Any]:
    with Ledger.create(place, keys, REGISTRY, sign_in_background=False) as ledger:
        record_site(ledger, _RUNS, _EVENTS)
        for event in islice(evaluations(_NEW_RUNS), _CHECKPOINTS):
            ledger.record(event)
            entries = ledger.sign().size
        with ledger.recorder.reading() as reader:
            raw = sum(len(row.raw) for row in reader.entries()) / entries
            checkpoints = len(reader.checkpoints())
    sizes = table_sizes(place)
    each = {name: size / (checkpoints if name == "checkpoints" else entries) for name, size in sizes.items()}
    verify = interleave({"verify": lambda: _verify(place)}, _WINDOWS)["verify"]
    with Ledger(place, keys, REGISTRY, sign_in_background=False) as ledger:
        events = evaluations(2 * _NEW_RUNS)
        appends = interleave(
            {
                "singles": recording_singly(ledger, events, _SINGLES),
                "batches": recording_batches(ledger, evaluations(3 * _NEW_RUNS)),
            },
            _WINDOWS,
        )
    rates = {
        "singles": [_SINGLES / taken for taken in appends["singles"]],
        "batches": [BATCH / taken for taken in appends["batches"]],
        "verify": [entries / taken for taken in verify],
    }
    return {
        "entries": entries,
        "checkpoints": checkpoints,
        "bytes": {"raw": raw, **each},
        "rates": {name: asdict(median_of(found)) for name, found in rates.items()},
    }


def _verify(place: Place) -> float:
    with place.snapshot() as reader:
        taken = timed(lambda: _require_ok(audit(reader, REGISTRY, Against()).verdict))
    return taken


def _require_ok(verdict: str) -> None:
    if verdict != "ok":
        raise RuntimeError(f"verdict {verdict}")


def table_sizes(place: Place) -> dict[str, float]:
    """Bytes of each table with its indexes; of ``keys`` and ``views`` as a whole; of the entries' rows alone."""
    from affidavit.ledger.store.postgres.place import PostgresPlace

    return _sizes_in_postgres(place) if isinstance(place, PostgresPlace) else _sizes_in_folder(Path(str(place)))


def _sizes_in_folder(folder: Path) -> dict[str, float]:
    found: dict[str, float] = dict.fromkeys((*TABLES, "entries_heap"), 0.0)
    with closing(sqlite3.connect(folder / LEDGER_FILE)) as db:
        for table, name, size in db.execute(
            "SELECT m.tbl_name, m.name, (SELECT sum(pgsize) FROM dbstat d WHERE d.name = m.name) FROM sqlite_master m "
            "WHERE m.type IN ('table', 'index') AND m.name NOT LIKE 'sqlite_stat%'"
        ):
            if table in found and size is not None:
                found[table] += size
            if name == "entries":
                found["entries_heap"] = size
    for name, file in (("keys", KEYS_FILE), ("views", VIEWS_FILE)):
        found[name] = (folder / file).stat().st_size
    return found


def _sizes_in_postgres(place: Any) -> dict[str, float]:
    names = place.login.names
    with closing(place.login.connect()) as db:

        def one(statement: str, *values: object) -> float:
            return float(db.execute(statement, values).fetchone()[0])

        found = {table: one("SELECT pg_total_relation_size(%s)", f"{names.schema}.{table}") for table in TABLES}
        found["entries_heap"] = one("SELECT pg_relation_size(%s)", f"{names.schema}.entries")
        for name, schemas in (("keys", [names.keys]), ("views", [names.views, names.reader_views])):
            found[name] = one(
                "SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0) FROM pg_class c JOIN pg_namespace n "
                "ON n.oid = c.relnamespace WHERE n.nspname = ANY(%s) AND c.relkind = 'r'",
                schemas,
            )
    return found


def with_figures(page: str, document: Mapping[str, Any]) -> str:
    """``page`` with the part between the two marks made anew."""
    before, rest = page.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n{markdown(document)}{END}{after}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--measure", action="store_true", help="measure anew, on a machine that does nothing else")
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 if the page is out of date")
    for each in fields(Plan):
        kind: Callable[[str], Any] = type(each.default)
        parser.add_argument(f"--{each.name.replace('_', '-')}", type=kind, help=f"[default: {each.default:g}]")
    options = vars(parser.parse_args())
    if options["measure"]:
        MEASURED.write_text(json.dumps(measure(), indent=1) + "\n")
    document = json.loads(MEASURED.read_text())
    given = {each.name: options[each.name] for each in fields(Plan) if options[each.name] is not None}
    if given:
        for name, found in document["stores"].items():
            print(name)
            for key, value in asdict(calculate(replace(Plan(), **given), found)).items():
                if key in _SIZED:
                    print(f"  {_SIZED[key]}: {_cell(key, value)}")
        return
    page = PAGE.read_text()
    fresh = with_figures(page, document)
    if not options["check"]:
        PAGE.write_text(fresh)
    elif fresh != page:
        sys.exit(f"{PAGE.name}: not the figures of {MEASURED.name}; run python bench/sizing.py")


if __name__ == "__main__":
    main()
