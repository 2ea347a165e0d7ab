"""A ledger that is copied is the same log in another store, and closed where it was."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from affidavit.domain.errors import Refused
from affidavit.domain.event import Meta, NewEvent
from affidavit.ledger.application import Ledger
from affidavit.ledger.audit.audit import Against, audit
from affidavit.ledger.continuing import continue_ledger
from affidavit.ledger.errors import Malformed, SigningRefused, Unavailable
from affidavit.ledger.events import ErasureRequested, LedgerArrived, LedgerMoved
from affidavit.ledger.moving import carrying, copying
from affidavit.ledger.moving.carrying import Carrier
from affidavit.ledger.moving.copying import _Source
from affidavit.ledger.store.folding import read_erasures, read_identity, read_moved
from affidavit.ledger.store.place import Place
from affidavit.ledger.store.postgres.place import PostgresPlace
from affidavit.ledger.store.recorder import ChainingRecorder
from affidavit.ledger.store.scopes import ScopeKeys
from affidavit.ledger.store.sqlite.place import FolderPlace
from affidavit.projections.registry import REGISTRY
from affidavit.tests.ledger.moving.worlds import contents, empty_place, fill, move, open_at, require_moved
from affidavit.tests.ledger.store.noting import noted
from affidavit.tests.stored import change_evidence
from affidavit.tests.stores import POSTGRESQL, STORES, Databases, every_store

SQLITE = STORES[0]


class Killed(BaseException):
    """The program ends here."""


@pytest.fixture
def elsewhere(request: pytest.FixtureRequest, databases: Databases, tmp_path: Path) -> Iterator[Place]:
    """An empty place: a folder, unless the test says which store."""
    with empty_place(databases, getattr(request, "param", SQLITE), tmp_path / "elsewhere") as place:
        yield place


@every_store
@pytest.mark.parametrize("elsewhere", STORES, indirect=True)
def test_the_same_log_goes_on_in_the_other_store(ledger: Ledger, elsewhere: Place) -> None:
    fill(ledger)
    ledger.close()
    copied = move(ledger, elsewhere)
    assert not copied.again
    with elsewhere.glance() as reader:
        assert (reader.head().size, reader.head().root()) == (copied.size, copied.root)
        last = list(reader.entries(copied.size - 2))
    assert [row.type_name for row in last] == [LedgerMoved.type_name, LedgerArrived.type_name]
    require_moved(ledger, elsewhere)


@pytest.mark.parametrize("through", STORES)
def test_there_and_back_again(ledger: Ledger, databases: Databases, through: str, tmp_path: Path) -> None:
    fill(ledger)
    ledger.close()
    with empty_place(databases, through, tmp_path / "through") as middle:
        move(ledger, middle)
        back = FolderPlace(tmp_path / "back")
        there = open_at(ledger, middle)
        there.close()
        move(there, back)
        with middle.glance() as reader:
            assert read_moved(reader) is not None
        assert contents(middle) == contents(back)
        with middle.glance() as one, back.glance() as other:
            moved = read_moved(one)
            assert moved is not None
            assert one.head().root() == other.frontier_at(moved.seq + 1).root()
        require_moved(there, back)


def test_a_command_given_again_says_that_it_is_done(ledger: Ledger, elsewhere: Place) -> None:
    ledger.close()
    first = move(ledger, elsewhere)
    assert move(ledger, elsewhere).again
    with open_at(ledger, elsewhere) as moved:
        moved.record(noted(0))
    again = move(ledger, elsewhere)
    assert (again.again, again.size) == (True, first.size + 1)


@every_store
def test_what_lies_at_the_destination_is_looked_at_before_it_is_taken_for_the_copy(
    ledger: Ledger, elsewhere: Place, tmp_path: Path
) -> None:
    """Another ledger that moved to a place of this name, and one that was cut back, are not what arrived."""
    assert isinstance(elsewhere, FolderPlace)
    ledger.close()
    move(ledger, elsewhere)
    elsewhere.rename(FolderPlace(tmp_path / "arrived"))
    with Ledger.create(tmp_path / "other", tmp_path / "keys", REGISTRY, sign_in_background=False) as other:
        pass
    move(other, elsewhere)
    with pytest.raises(Unavailable, match="not the ledger that was moved"):
        move(ledger, elsewhere)
    elsewhere.rename(FolderPlace(tmp_path / "away"))
    FolderPlace(tmp_path / "arrived").rename(elsewhere)
    assert move(ledger, elsewhere).again
    change_evidence(elsewhere, "UPDATE entries SET leaf = zeroblob(32) WHERE seq=0")
    with pytest.raises(Unavailable, match="not the ledger that was moved"):
        move(ledger, elsewhere)


@every_store
def test_who_has_it_open_is_refused_from_then_on(ledger: Ledger, elsewhere: Place) -> None:
    """Whichever way they append; what they read goes on, and closing it is no error."""
    fill(ledger)
    receipt = ledger.receipt(3)
    other = open_at(ledger, ledger.place)
    move(ledger, elsewhere)
    before = contents(ledger.place)
    for attempt in (
        lambda: ledger.record(noted(0, "late/1")),
        lambda: other.record(noted(0, "late/1")),
        lambda: ledger.erase("kept/1", "asked_for"),
        ledger.rotate_key,
    ):
        with pytest.raises(Refused, match="it moved to a folder with entry") as refused:
            attempt()
        assert refused.value.rule == "ledger_moved"
    assert ledger.receipt(3).index == receipt.index
    with ledger.recorder.reading() as reader:
        assert next(iter(ledger.event_reader(reader).stream("kept/1"))).event
    other.close()
    ledger.close()
    assert contents(ledger.place) == before
    with pytest.raises(Refused, match="goes on there"):
        open_at(ledger, ledger.place)


def test_who_appends_the_same_again_is_told_that_it_is_there(ledger: Ledger, elsewhere: Place) -> None:
    ledger.record(noted(0))
    move(ledger, elsewhere)
    with pytest.raises(Exception, match="expected next position 0, found 1"):
        ledger.record(noted(0))


@every_store
def test_a_closed_ledger_is_sound(ledger: Ledger, elsewhere: Place) -> None:
    fill(ledger)
    ledger.close()
    move(ledger, elsewhere)
    for place, is_moved in ((ledger.place, True), (elsewhere, False)):
        with place.glance() as reader:
            verdict = audit(reader, REGISTRY, Against(tokens=place.token))
            assert read_identity(reader).origin == ledger.origin
        assert (verdict.damage, verdict.moved is not None) == ([], is_moved)
        assert verdict.signed_size == verdict.size


def test_a_ledger_goes_to_one_place_alone(ledger: Ledger, elsewhere: Place, tmp_path: Path) -> None:
    ledger.close()
    move(ledger, elsewhere)
    with pytest.raises(Refused, match="and not to") as refused:
        move(ledger, FolderPlace(tmp_path / "third"))
    assert refused.value.rule == "ledger_moved"
    assert not (tmp_path / "third").exists()


def test_it_arrives_nowhere_but_where_it_moved_to(ledger: Ledger, elsewhere: Place, tmp_path: Path) -> None:
    """Whoever has brought it there: of two copies that end with the same entry, one alone goes on."""
    ledger.close()
    _kill_at(ledger, elsewhere, copying, "_arrive", after=False)
    third = FolderPlace(tmp_path / "third")
    elsewhere.rename(third)
    with pytest.raises(Unavailable, match="the entry that moved it there"):
        copying._arrive(third, ledger.keys.path.parent, REGISTRY, ledger._edge, None, Meta())
    assert _that_can_grow(ledger, third) == []


def test_nothing_is_written_over(ledger: Ledger, tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").write_text("mine")
    with pytest.raises(Unavailable, match="expected nothing here"):
        move(ledger, FolderPlace(tmp_path / "taken"))
    ledger.record(noted(0))


@every_store
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE entries SET entry = CAST(replace(entry, '\"upto\":7,', '\"upto\":8,') AS BLOB) WHERE seq=8",
        "UPDATE entries SET leaf = zeroblob(32) WHERE seq=5",
        "DELETE FROM entries WHERE seq=100",
        "DELETE FROM boxes WHERE seq=601",
    ],
)
def test_damage_is_not_carried_along(ledger: Ledger, elsewhere: Place, statement: str) -> None:
    fill(ledger)
    ledger.close()
    change_evidence(ledger.place, statement)
    with pytest.raises((Malformed, Unavailable)) as refused:
        move(ledger, elsewhere)
    assert any(word in str(refused.value) for word in ("entry 8", "entry 5", "entry 100", "601"))
    assert not elsewhere.exists()
    with ledger.place.glance() as reader:
        assert read_moved(reader) is None


@every_store
def test_an_erasure_that_was_only_asked_for_is_carried_out_first(ledger: Ledger, elsewhere: Place) -> None:
    fill(ledger)

    original = _Source._close_here

    def asked_meanwhile(self: _Source, *given: Any) -> None:
        pos = ledger._finish_erasure()
        ledger.record(NewEvent("erasure", pos, ErasureRequested(scope="kept/1", reason="asked_for"), Meta()))
        original(self, *given)

    kind = type(ledger.scopes)
    sweep = kind.sweep
    told: list[int] = []

    def swept(self: ScopeKeys) -> None:
        with ledger.recorder.reading() as reader:
            told.append(len(read_erasures(reader).executed))
        sweep(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_Source, "_close_here", asked_meanwhile)
        patch.setattr(kind, "sweep", swept)
        move(ledger, elsewhere)
    assert told[0] == 1, "no byte of the key is left when the log says that it was destroyed"
    for place in (ledger.place, elsewhere):
        with place.glance() as reader:
            types = [row.type_name for row in reader.entries()]
        assert types.index("ledger.moved.v1") - 1 == len(types[: types.index("ledger.moved.v1")]) - 1
        assert types[types.index("ledger.moved.v1") - 1] == "erasure.executed.v1"
    assert ledger.scopes.cipher("kept/1") is None
    with open_at(ledger, elsewhere) as moved:
        assert moved.scopes.cipher("kept/1") is None
        assert moved.scopes.all_destroyed().keys() == {"gone/1", "kept/1"}


STEPS: tuple[tuple[Any, str], ...] = (
    (Carrier, "carry"),
    (copying, "require_sound"),
    (_Source, "_close_here"),
    (ChainingRecorder, "append_knowing"),
    (ChainingRecorder, "settle"),
    (_Source, "sign"),
    (Carrier, "carry_checkpoints"),
    (Carrier, "carry_tokens"),
    (Carrier, "carry_keys"),
    (Carrier, "require_same"),
    (FolderPlace, "rename"),
    (PostgresPlace, "rename"),
    (copying, "_arrive"),
)


@pytest.mark.parametrize("elsewhere", [SQLITE, POSTGRESQL[-1]], indirect=True)
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_wherever_it_is_killed_one_head_can_grow_and_the_command_goes_on(
    ledger: Ledger, elsewhere: Place, after: bool, tmp_path: Path
) -> None:
    fill(ledger, bulk=10)
    ledger.close()
    growing = [ledger.place]
    for owner, name in STEPS:
        _kill_at(ledger, elsewhere, owner, name, after=after)
        found = _that_can_grow(ledger, elsewhere)
        assert len(found) <= 1, name
        assert ledger.place not in found or growing == [ledger.place], name
        growing = found
    move(ledger, elsewhere)
    assert _that_can_grow(ledger, elsewhere) == [elsewhere]
    require_moved(ledger, elsewhere)
    assert not elsewhere.unfinished.exists()


@every_store
def test_whatever_was_acknowledged_while_it_ran_is_at_the_destination(
    ledger: Ledger, elsewhere: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(carrying, "_BATCH", 16)
    monkeypatch.setattr(copying, "_TAIL", 16)
    fill(ledger, bulk=100)
    acknowledged: list[tuple[int, bytes]] = []
    refusals: list[Exception] = []

    def append(name: str) -> None:
        with open_at(ledger, ledger.place) as mine:
            pos = 0
            try:
                while True:
                    acknowledged.extend(mine.record(noted(pos, name)))
                    pos += 1
            except Refused as refused:
                refusals.append(refused)

    threads = [threading.Thread(target=append, args=(f"meanwhile/{n}",)) for n in range(2)]
    for thread in threads:
        thread.start()
    move(ledger, elsewhere)
    for thread in threads:
        thread.join(timeout=60)
    assert len(refusals) == 2
    with elsewhere.glance() as reader:
        there = {row.seq: row.leaf for row in reader.entries()}
    assert acknowledged
    assert all(there[seq] == leaf for seq, leaf in acknowledged)
    assert contents(ledger.place) == contents(elsewhere)


_VICTIM = """
import os, signal, sys
from pathlib import Path
from affidavit.ledger.moving.copying import copy_ledger
from affidavit.ledger.store.sqlite.place import FolderPlace
from affidavit.projections.registry import REGISTRY

source, destination, keys = map(Path, sys.argv[1:])

def run(cut):
    calls = 0
    def count(frame, what, argument):
        nonlocal calls
        if what == "c_call":
            calls += 1
            if calls == cut:
                os.kill(os.getpid(), signal.SIGKILL)
    sys.setprofile(count)
    copy_ledger(FolderPlace(source), FolderPlace(destination), keys, REGISTRY)
    sys.setprofile(None)

for cut in sys.stdin:
    child = os.fork()
    if child == 0:
        run(int(cut))
        os._exit(0)
    _, status = os.waitpid(child, 0)
    print("killed" if os.WIFSIGNALED(status) else os.WEXITSTATUS(status), flush=True)
"""


def test_a_process_that_is_killed_anywhere_goes_on_when_it_is_run_again(ledger: Ledger, tmp_path: Path) -> None:
    """Every so many calls into C (writes, syncs, renames, commits), from wherever the one before had stopped."""
    fill(ledger, bulk=20)
    ledger.close()
    elsewhere = FolderPlace(tmp_path / "elsewhere")
    given = (str(tmp_path / name) for name in ("ledger", "elsewhere", "keys"))
    with subprocess.Popen(
        [sys.executable, "-c", _VICTIM, *given], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as victim:
        assert victim.stdin is not None
        assert victim.stdout is not None
        draw = random.Random(7)
        ends = []
        for _ in range(12):
            print(int(draw.uniform(0, 1) ** 2 * 30_000) + 500, file=victim.stdin, flush=True)
            ends.append(victim.stdout.readline().strip())
            heads = [place for place in (ledger.place, elsewhere) if place.exists() and _is_open(place)]
            assert len(heads) <= 1
            if ends[-1] == "0":
                break
        print(0, file=victim.stdin, flush=True)
        assert victim.stdout.readline().strip() == "0"
        victim.stdin.close()
    assert "killed" in ends
    assert not elsewhere.unfinished.exists()
    require_moved(ledger, elsewhere)


def _is_open(place: Place) -> bool:
    with place.snapshot() as reader:
        return read_moved(reader) is None


def _kill_at(ledger: Ledger, elsewhere: Place, owner: Any, name: str, *, after: bool) -> None:
    original = getattr(owner, name)

    def killed(*given: Any, **more: Any) -> Any:
        if not after:
            raise Killed
        original(*given, **more)
        raise Killed

    with pytest.MonkeyPatch.context() as patch, suppress(Killed):
        patch.setattr(owner, name, killed)
        move(ledger, elsewhere)


def _that_can_grow(ledger: Ledger, elsewhere: Place) -> list[Place]:
    found = []
    for place in (ledger.place, elsewhere):
        if not place.exists():
            continue
        with suppress(Refused, SigningRefused), open_at(ledger, place) as opened:
            opened.record(noted(0, f"try/{opened.recorder.max_notification_id()}"))
            found.append(place)
    return found


def test_a_source_goes_on_as_another_log_where_its_destination_is_lost(ledger: Ledger, elsewhere: Place) -> None:
    fill(ledger, bulk=5)
    ledger.close()
    move(ledger, elsewhere)
    keys = ledger.keys.path.parent
    continued = continue_ledger(ledger.place, keys, REGISTRY, name="saved", reason="destination_lost")
    assert continued.continues == ledger.origin
    with open_at(ledger, ledger.place) as again:
        again.record(noted(0, "after/1"))
        assert again.origin == continued.origin
