"""The weaknesses under "Integrity": what stands is never changed or lost. At once: ``test_integrity_at_once.py``."""

from __future__ import annotations

import json
import random
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from affidavit.api.models.bodies import read_chat
from affidavit.api.models.chat import Prepared
from affidavit.api.optimize.running import Provenance, branch_from, start
from affidavit.api.run_store import RunStore
from affidavit.domain.model_calls import ModelAnswered, ModelRequested
from affidavit.domain.optimization.events import DuelJudged, PromptEvaluated, RewriteProposed
from affidavit.ledger.application import Ledger
from affidavit.ledger.audit.audit import Against, audit
from affidavit.ledger.audit.verdict import Verdict
from affidavit.ledger.store.sqlite.reader import SqliteReader, open_snapshot
from affidavit.projections.directories.directory import build_run_directory
from affidavit.projections.registry import REGISTRY
from affidavit.tests.folders import folder_of

from .conftest import Bench, Shell, calls_of, plan_of, watched

# W1: no hash, no chain.


@contextmanager
def changed(db: sqlite3.Connection, table: str, column: str, key: tuple[Any, ...], value: bytes) -> Iterator[None]:
    """The row has another value, and the table's triggers are as they were."""
    triggers = db.execute(
        "SELECT name, sql FROM sqlite_master WHERE type='trigger' AND tbl_name=?", (table,)
    ).fetchall()
    where = {"entries": "seq=?", "boxes": "seq=? AND field=?"}[table]
    (before,) = db.execute(f"SELECT {column} FROM {table} WHERE {where}", key).fetchone()

    def write(now: bytes) -> None:
        for name, _ in triggers:
            db.execute(f"DROP TRIGGER {name}")
        db.execute(f"UPDATE {table} SET {column}=? WHERE {where}", (now, *key))
        for _, sql in triggers:
            db.execute(sql)

    write(value)
    try:
        yield
    finally:
        write(before)


def test_w1_one_changed_bit_of_a_run_is_found_and_named(bench: Bench) -> None:
    bench.whole(plan_of("structural", rows=6, max_iterations=1))
    ledger = bench.recording.ledger
    stored = bench.stored()
    chance = random.Random(1)

    def flipped(data: bytes) -> bytes:
        at = chance.randrange(8 * len(data))
        return data[: at // 8] + bytes([data[at // 8] ^ 1 << at % 8]) + data[at // 8 + 1 :]

    with closing(sqlite3.connect(":memory:")) as db:
        with closing(sqlite3.connect(folder_of(ledger) / "ledger.db")) as source:
            source.backup(db)

        def verdict() -> Verdict:
            return audit(SqliteReader(db), REGISTRY, Against(signed=ledger.keys.signed(), scopes=ledger.scopes))

        assert verdict().verdict == "ok"
        flips: list[tuple[str, str, tuple[Any, ...], bytes]] = []
        flips += [("entries", "entry", (row.seq,), row.raw) for row in stored.entries]
        flips += [("entries", "leaf", (row.seq,), row.leaf) for row in stored.entries]
        flips += [("boxes", "box", (seq, name), box) for seq, name, box in stored.boxes]
        for table, column, key, data in chance.sample(flips, 30):
            with changed(db, table, column, key, flipped(data)):
                found = verdict()
            assert found.verdict != "ok", (table, key)
            assert key[0] in {damage.seq for damage in found.damage}, (table, key, found.damage)
        assert verdict().verdict == "ok"


# W2, W3, W5: files overwritten.


@pytest.mark.parametrize("strategy", ["structural", "pdo"])
def test_w2_resuming_and_branching_overwrite_nothing(bench: Bench, strategy: str) -> None:
    run = bench.stopped(plan_of(strategy, rows=6), facts=6)
    stood = bench.stored()
    bench.go_on(run)
    after = bench.stored()
    assert stood.is_kept_by(after)
    assert len(after.entries) > len(stood.entries)
    numbers = [found.number for found in bench.record(run).iterations]
    assert numbers == list(range(1, len(numbers) + 1))  # none twice, no hole
    _, plan = branch_from(bench.recording, run, 1, {"max_iterations": 3, "seed": 5})
    branch = start(bench.recording, plan, Provenance(), (run, 1))
    bench.go_on(branch)
    assert after.is_kept_by(bench.stored())
    assert bench.record(branch).status == "completed"


def test_w3_a_run_that_fails_changes_no_other_run(bench: Bench) -> None:
    run = bench.whole(plan_of(rows=6))
    files, stood, events = build_run_directory(bench.record(run), "native"), bench.stored(), bench.events(run)

    def never(prepared: Prepared) -> None:
        raise OSError("no such network")

    failing = bench.begin(plan_of(rows=6))
    with pytest.raises(OSError, match="no such network"):
        bench.go_on(failing, wrap={"sandbox/target": watched(never)})
    judged = bench.whole(plan_of(rows=6, judge="sandbox/target", metrics=()))  # whose words are no judgement
    assert bench.record(judged).status == "failed"
    assert stood.is_kept_by(bench.stored())
    assert bench.events(run) == events
    assert build_run_directory(bench.record(run), "native") == files


def test_w5_what_every_phase_saw_is_still_there_at_the_end(bench: Bench) -> None:
    run = bench.stopped(plan_of("auto", rows=8, max_iterations=4), facts=10)
    stood = bench.stored()
    seen = {
        found.seq: (found.event.history, found.event.change_summary, found.event.system_prompt)
        for found in bench.events(run)
        if isinstance(found.event, RewriteProposed)
    }
    bench.go_on(run)
    record = bench.record(run)
    assert stood.is_kept_by(bench.stored())
    assert len(record.phases) >= 2
    later = {found.seq: found.event for found in bench.events(run) if isinstance(found.event, RewriteProposed)}
    for seq, texts in seen.items():
        assert (later[seq].history, later[seq].change_summary, later[seq].system_prompt) == texts
    assert all(isinstance(rewrite.history, str) for rewrite in record.rewrites)
    assert len(seen) < len(later) == len(record.rewrites)


# W6: what is not kept.


def test_w6_what_the_peer_drops_is_kept(bench: Bench) -> None:
    run = bench.whole(plan_of("structural", metrics=("rouge", "exact"), judge="sandbox/judge"))
    record, calls = bench.record(run), calls_of(bench.events(run))
    for iteration in record.iterations:
        assert iteration.event.elapsed_seconds is not None
        assert set(iteration.train.scores_by_metric) == {"rouge", "exact_match", "llm_judge"}
        assert iteration.val is not None
        for evaluation in (iteration.train, iteration.val):
            assert isinstance(evaluation.samples, tuple)
            for sample in evaluation.samples:
                assert set(sample.scores) == {"rouge", "exact_match", "llm_judge"}
                assert sample.response
                assert sample.input
    variants = [found for found in record.evaluations if found.purpose == "variant"]
    assert len(variants) >= 2
    assert all(found.score is not None for found in variants)
    assert all(isinstance(rewrite.change_summary, str) and rewrite.rationale for rewrite in record.rewrites)
    texts = [record.prompts[rewrite.prompt] for rewrite in record.rewrites if rewrite.prompt is not None]
    assert all(isinstance(text, str) for text in texts)

    rationales = [
        json.loads(read_chat(str(answer.body)).text or "")["reason"]
        for call, answer in calls
        if call.purpose == "judge" and answer is not None
    ]
    assert rationales
    assert all(rationales)

    consulted = [json.loads(str(call.body)) for call, _ in calls if call.purpose == "reasoning"]
    asked = " ".join(message["content"] for document in consulted for message in document["messages"])
    assert isinstance(record.iterations[0].train.samples, tuple)
    worst = min(record.iterations[0].train.samples, key=lambda sample: sample.score or 0.0)
    assert worst.input in asked
    assert worst.response in asked


def test_w6_duels_are_kept_pair_by_pair(bench: Bench) -> None:
    run = bench.whole(plan_of("pdo", max_iterations=1))
    duels = [found.event for found in bench.events(run) if isinstance(found.event, DuelJudged)]
    assert duels
    for duel in duels:
        assert isinstance(duel.pairs, list)
        assert duel.wins_a + duel.wins_b + duel.ties + duel.undecided == len(duel.pairs)
    assert any("reason" in pair for duel in duels if isinstance(duel.pairs, list) for pair in duel.pairs)


def test_w6_the_iteration_that_converges_is_kept(bench: Bench) -> None:
    run = bench.whole(plan_of(threshold=0.05, max_iterations=5))
    record = bench.record(run)
    assert record.completed is not None
    assert record.completed.reason == "converged"
    last = record.iterations[-1]
    assert last.score is not None
    assert last.score >= 0.05
    assert f"iterations/iter_{last.number:03d}.json" in build_run_directory(record, "native")


# W7: lost by a power cut.


def test_w7_a_request_is_on_the_disk_before_it_is_sent_and_facts_follow_what_they_rest_on(bench: Bench) -> None:
    folder = folder_of(bench.recording.ledger)
    unseen: list[str] = []
    looked = 0

    def look(prepared: Prepared) -> None:
        nonlocal looked
        looked += 1
        with open_snapshot(folder, copy=True) as reader:  # as a process that starts now would find it
            found = list(bench.recording.ledger.event_reader(reader).stream("run/001"))
        bodies = [item.event.body for item in found if isinstance(item.event, ModelRequested)]
        if prepared.body not in bodies:
            unseen.append(prepared.body)

    run = bench.begin(plan_of(rows=6, max_iterations=1))
    bench.go_on(run, wrap={"sandbox/target": watched(look), "reasoner": watched(look)})
    assert looked == len(calls_of(bench.events(run)))
    assert unseen == []
    requested: set[tuple[str, int, int]] = set()
    answered: set[int] = set()
    for found in bench.events(run):
        match found.event:
            case ModelRequested() as event:
                requested.add((event.site, event.occurrence, event.attempt))
            case ModelAnswered() as event:
                assert (event.site, event.occurrence, event.attempt) in requested
                answered.add(found.seq)
            case PromptEvaluated() | RewriteProposed():
                assert found.meta["cause"] in answered


def test_w7_commits_wait_for_the_disk(ledger: Ledger) -> None:
    with ledger.recorder.reading() as reader:
        assert isinstance(reader, SqliteReader)
        assert reader._db.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL


# W10: foreign files.


def test_w10_foreign_files_break_and_pollute_no_listing(shell: Shell) -> None:
    shell.optimize("--max-iterations", "1")
    clean = [shell("runs", "--json"), shell("log", "--json"), shell("show", "001", "--json"), shell("verify", "--json")]
    for name in ("999_2026-11-22T10-00-00", "runs/002_x", "iterations"):
        (shell.ledger / name).mkdir(parents=True)
        (shell.ledger / name / "config.json").write_bytes(b"\xff{")
    for name in (".tmp", "ledger.db.bak", "run.log.jsonl", "checkpoint.json"):
        (shell.ledger / name).write_bytes(b"\x00 no such thing")
    assert [
        shell("runs", "--json"),
        shell("log", "--json"),
        shell("show", "001", "--json"),
        shell("verify", "--json"),
    ] == clean

    shell("rebuild", "--to", "built")
    runs = shell.folder / "built" / "runs"
    before = RunStore(shell.folder / "built").list_runs()
    assert len(before) == 1
    (runs / "empty").mkdir()
    (runs / "notes.txt").write_text("mine")
    for name, config in (("002_junk", b"\xff{"), ("notes", b"{}"), ("003_list", b"[1]")):
        (runs / name).mkdir()
        (runs / name / "config.json").write_bytes(config)
        (runs / name / "result.json").write_bytes(b"\xff")
    (Path(before[0].run_dir) / "iterations" / "iter_001.json.tmp").write_text("{")
    store = RunStore(shell.folder / "built")
    assert store.list_runs() == before
    run = store.get_run("001")
    assert run is not None
    assert [found.iteration for found in run.load_iterations()] == [1]
    told = shell("verify", "--directory", "built", code=1)
    for name in ("empty", "notes.txt", "002_junk", "iter_001.json.tmp"):
        assert name in told


def test_w10_every_entry_says_which_version_of_its_type_it_is(bench: Bench) -> None:
    bench.whole(plan_of(rows=6, max_iterations=1))
    assert all(row.type_name.rpartition(".v")[2].isdecimal() for row in bench.stored().entries)
