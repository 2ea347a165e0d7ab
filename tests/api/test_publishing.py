"""The publisher: shared commits, repeats across processes, and nobody waits for ever."""

from __future__ import annotations

import multiprocessing
import threading
from pathlib import Path

import pytest

from affidavit.api.publishing import Published, Publisher
from affidavit.domain.errors import Refused
from affidavit.domain.evaluation.publication import Publication
from affidavit.ledger.application import Edge, Ledger
from affidavit.ledger.errors import Unavailable
from affidavit.projections.registry import REGISTRY

TAKEN = "request_id_taken"


def a_publication(request_id: str, text: str = "hi", user: str = "u1") -> Publication:
    return Publication(user, "s1", request_id, "prod", "v1", False, 1000, {"user_id": user}, [{"content": text}])


def _publish_many(folder: str, name: str, answers: multiprocessing.SimpleQueue[list[str]]) -> None:
    told = []
    with (
        Ledger(Path(folder) / "ledger", Path(folder) / "keys", REGISTRY, sign_in_background=False) as ledger,
        Publisher(ledger) as publisher,
    ):
        for future in [publisher.submit(a_publication(f"r{n}", user=name)) for n in range(40)]:
            try:
                told.append(future.result().request.leaf_hash.hex())
            except Refused as error:
                told.append(error.rule)
    answers.put(told)


@pytest.mark.parametrize("names", [("u1", "u1"), ("u1", "u2")])
def test_a_request_id_is_recorded_once_among_processes(ledger: Ledger, tmp_path: Path, names: tuple[str, str]) -> None:
    """Two processes publish the same ids: with the same payload both are acknowledged, with another one is refused."""
    context = multiprocessing.get_context("spawn")
    answers: multiprocessing.SimpleQueue[list[str]] = context.SimpleQueue()
    processes = [context.Process(target=_publish_many, args=(str(tmp_path), name, answers)) for name in names]
    for process in processes:
        process.start()
    one, two = answers.get(), answers.get()
    for process in processes:
        process.join()

    with ledger.recorder.reading() as reader:
        recorded = [row.stream for row in reader.entries() if row.type_name == "request.published.v1"]
    assert len(recorded) == len(set(recorded)) == 40
    if names[0] == names[1]:
        assert one == two
    else:
        refused = [(first == TAKEN, second == TAKEN) for first, second in zip(one, two, strict=True)]
        assert set(refused) <= {(True, False), (False, True)}


def test_those_who_wait_share_a_commit(ledger: Ledger) -> None:
    gate = threading.Event()
    record, commits = ledger.record, []

    def held(*events: object) -> object:
        gate.wait()
        commits.append(len(events))
        return record(*events)  # type: ignore[arg-type]

    ledger.record = held  # type: ignore[assignment]
    with Publisher(ledger) as publisher:
        waiting = [publisher.submit(a_publication(f"r{n}")) for n in range(50)]
        gate.set()
        published: list[Published] = [future.result() for future in waiting]

    assert len(commits) <= 2
    assert sorted(found.request.seq for found in published) == list(range(1, 101, 2))


def test_who_goes_away_takes_nobody_along(ledger: Ledger) -> None:
    gate = threading.Event()
    naming = ledger.naming
    ledger.naming = lambda: (gate.wait(), naming())[1]  # type: ignore[method-assign]
    with Publisher(ledger) as publisher:
        waiting = [publisher.submit(a_publication(f"r{n}")) for n in range(5)]
        waiting[3].cancel()
        gate.set()

        assert [future.result().request_id for future in waiting if not future.cancelled()] == ["r0", "r1", "r2", "r4"]


def test_one_who_cannot_be_recorded_fails_alone(ledger: Ledger) -> None:
    with Publisher(ledger) as publisher:
        good, bad = publisher.submit(a_publication("r1")), publisher.submit(a_publication("r2", "\ud800"))

        assert good.result().request.seq == 1
        with pytest.raises(Exception, match=r"surrogate|utf-8|str is not valid"):
            bad.result()


def test_too_many_who_wait_are_told_so_at_once(ledger: Ledger) -> None:
    gate = threading.Event()
    naming = ledger.naming
    ledger.naming = lambda: (gate.wait(), naming())[1]  # type: ignore[method-assign]
    with Publisher(ledger, max_waiting=6) as publisher:
        waiting = [publisher.submit(a_publication(f"r{n}")) for n in range(3)]
        with pytest.raises(Unavailable, match="wait to be recorded"):
            _ = [publisher.submit(a_publication(f"s{n}")) for n in range(5)]
        gate.set()

        assert all(future.result() for future in waiting)


def test_closing_records_what_waits_and_takes_nothing_more(ledger: Ledger) -> None:
    publisher = Publisher(ledger)
    waiting = [publisher.submit(a_publication(f"r{n}")) for n in range(10)]
    publisher.close()

    assert all(future.done() for future in waiting)
    with pytest.raises(Unavailable, match="closed"):
        publisher.publish(a_publication("r99"))


def test_a_disk_that_does_not_serve_fails_all_and_the_next_is_served(ledger: Ledger) -> None:
    record = ledger.record

    def broken(*events: object) -> object:
        raise Unavailable("disk full")

    with Publisher(ledger) as publisher:
        ledger.record = broken  # type: ignore[assignment]
        with pytest.raises(Unavailable, match="disk full"):
            publisher.publish(a_publication("r1"))
        ledger.record = record  # type: ignore[method-assign]
        assert publisher.publish(a_publication("r1")).repeated is False


def test_a_request_id_repeated_within_one_batch_is_one_request(ledger: Ledger, edge: Edge) -> None:
    with Publisher(ledger) as publisher:
        futures = [publisher.submit(a_publication("r1", text)) for text in ("a", "a", "b")]

        assert futures[0].result().request == futures[1].result().request
        with pytest.raises(Refused, match="another payload"):
            futures[2].result()
