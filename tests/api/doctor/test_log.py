"""What the log, the keys and the views tell the doctor: the same over every database."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest

from affidavit.api.doctor.examine import Report, examine
from affidavit.api.doctor.finding import print_bytes, print_duration
from affidavit.api.doctor.log import Growth, Room, check_log, check_views, measure_growth
from affidavit.domain.event import Meta, NewEvent
from affidavit.ledger.application import Ledger
from affidavit.ledger.errors import Unavailable
from affidavit.ledger.events import AnchorRecorded, ErasureRequested, LedgerMoved, WitnessesDeclared
from affidavit.ledger.store.condition import Condition
from affidavit.ledger.store.place import Place
from affidavit.ledger.tlog.checkpoint import Checkpoint, sign_checkpoint
from affidavit.ledger.tlog.note import VerifierKey, print_vkey
from affidavit.projections.runner import catch_up, open_views
from affidavit.projections.view_state import ViewState, view_states
from affidavit.tests.api.doctor.looking import DAY, NOW, SECOND, append, bad, finding, levels
from affidavit.tests.stores import every_store

_NOTHING: Mapping[str, str] = {}
_OF_LOG = ("moved", "growth", "clock", "clock_findings", "unsigned_tail", "erasure", "anchors", "witnesses")
_OF_KEYS = ("key_folder", "key_permissions", "master_key", "signing_state")


def look(place: Place, tmp_path: Path, now: int = NOW, environment: Mapping[str, str] = _NOTHING) -> Report:
    return examine(place, tmp_path / "keys", now=now, environment=environment)


def of_log(report: Report) -> dict[str, str]:
    """What is wrong with the log, its keys and views; the databases are another test's."""
    return {
        check: level for check, level in bad(report.findings).items() if check in (*_OF_LOG, *_OF_KEYS, "views", "read")
    }


@every_store
def test_a_new_ledger_has_nothing_that_endangers_it(place: Place, tmp_path: Path) -> None:
    report = look(place, tmp_path, NOW + SECOND)
    assert (report.place, report.size, of_log(report)) == (str(place), 1, {})
    assert {*_OF_LOG, *_OF_KEYS, "disk", "views"} <= levels(report.findings).keys()
    for each in report.findings:
        assert all((each.looked_at, each.found, each.expected, each.why, each.advice))


@every_store
def test_looking_changes_nothing_and_goes_beside_a_writer(ledger: Ledger, tmp_path: Path) -> None:
    append(ledger, 3)
    before = ledger.place.fingerprint()
    assert look(ledger.place, tmp_path).size == 4
    assert ledger.place.fingerprint() == before


@every_store
def test_where_no_ledger_is_that_is_said(nowhere: Place, tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="no ledger in"):
        look(nowhere, tmp_path)


def test_the_clock_may_not_stand_behind_the_log(place: Place, tmp_path: Path) -> None:
    found = finding(look(place, tmp_path, NOW - 7200 * SECOND).findings, "clock")
    assert (found.level, found.found) == (
        "danger",
        "the newest entry is 2.0 hours ahead of this machine's clock",
    )


def test_what_is_recorded_while_the_doctor_looks_is_not_of_a_time_to_come(
    ledger: Ledger, now: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Looking at a database takes its time, and others append meanwhile."""
    condition = type(ledger.place).condition

    def slowly(place: Place) -> Condition:
        now[0] += 60 * SECOND
        append(ledger, 1)
        return condition(place)

    monkeypatch.setattr(type(ledger.place), "condition", slowly)
    monkeypatch.setattr("affidavit.api.doctor.examine.system_clock", lambda: now[0])
    found = finding(examine(ledger.place, tmp_path / "keys", environment=_NOTHING).findings, "clock")
    assert (found.level, found.found) == ("ok", "the newest entry is of 0 seconds ago")


def test_a_clock_that_was_behind_is_told_for_a_week(ledger: Ledger, now: list[int], tmp_path: Path) -> None:
    now[0] -= 60 * SECOND
    append(ledger, 1)
    ledger.sign()
    assert of_log(look(ledger.place, tmp_path, NOW + DAY)) == {"clock_findings": "warning"}
    assert of_log(look(ledger.place, tmp_path, NOW + 8 * DAY)) == {}


def test_an_unsigned_tail_is_worse_the_older_it_is(ledger: Ledger, tmp_path: Path) -> None:
    append(ledger, 3)
    assert of_log(look(ledger.place, tmp_path, NOW + 60 * SECOND)) == {}
    assert of_log(look(ledger.place, tmp_path, NOW + 3600 * SECOND)) == {"unsigned_tail": "warning"}
    found = finding(look(ledger.place, tmp_path, NOW + 3 * DAY).findings, "unsigned_tail")
    assert (found.level, found.found) == ("danger", "3 of 4, the oldest of 3.0 days ago")
    ledger.sign()
    assert of_log(look(ledger.place, tmp_path, NOW + 3 * DAY)) == {}


def test_an_erasure_that_was_not_finished(ledger: Ledger, tmp_path: Path) -> None:
    ledger.record(NewEvent("erasure", 0, ErasureRequested(scope="user/1", reason="asked_for"), Meta()))
    ledger.sign()
    report = look(ledger.place, tmp_path)
    assert of_log(report) == {"erasure": "danger"}
    assert "'user/1'" in finding(report.findings, "erasure").found


def test_a_log_that_moved_is_closed(ledger: Ledger, tmp_path: Path) -> None:
    """Signed on where it went, with the same keys."""
    with ledger.recorder.reading() as reader:
        pos = reader.next_pos("ledger")
    ledger.record(NewEvent("ledger", pos, LedgerMoved(store="postgresql", destination="0" * 64), Meta()))
    ledger.sign()
    state = next((tmp_path / "keys").rglob("signed"))
    text = state.read_text()
    state.write_text(text.replace("\n2\n", "\n7\n"))
    report = look(ledger.place, tmp_path)
    state.write_text(text)
    assert of_log(report) == {"moved": "warning"}
    assert "it moved to PostgreSQL with entry 1" in finding(report.findings, "moved").found
    assert "is signed there" in finding(report.findings, "signing_state").found


def test_growth_is_told_with_what_it_is_from(ledger: Ledger, now: list[int]) -> None:
    start = 0
    for day in range(10):
        now[0] = NOW + day * DAY
        append(ledger, 20 + day, start)
        start += 20 + day
    with ledger.recorder.reading() as reader:
        found = measure_growth(reader, NOW + 9 * DAY + SECOND)
    assert (found.entries, found.seconds) == (sum(range(23, 30)), 7 * 86_400)
    assert found.days == (29, 28, 27, 26, 25, 24, 23)
    assert found.per_day == 29, "as the newest day, which had more than the mean"
    assert Growth(700, 7 * 86_400.0, (0, 700)).per_day == pytest.approx(100)
    assert Growth(100_700, 7 * 86_400.0, (100_000, 100)).per_day == 100_000


def test_growth_of_a_young_ledger_is_over_its_own_time(ledger: Ledger, now: list[int]) -> None:
    now[0] = NOW + DAY // 4
    append(ledger, 199)
    with ledger.recorder.reading() as reader:
        found = measure_growth(reader, NOW + DAY // 2)
        assert measure_growth(reader, NOW + SECOND).per_day is None
    assert (found.entries, found.days) == (200, ())
    assert found.per_day == pytest.approx(400)
    assert Growth(99, 86_400.0, ()).per_day is None


def test_a_disk_that_fills_up_is_told_in_days(ledger: Ledger, now: list[int]) -> None:
    now[0] = NOW + DAY // 2
    append(ledger, 999)

    def told(free: int) -> tuple[str, str]:
        with ledger.recorder.reading() as reader:
            found = finding(check_log(reader, NOW + DAY, Room(1000 * 2**20, free), _NOTHING), "disk")
        return found.level, found.found

    daily = 1000 * 2**20  # of 1,000 entries a day, with 1 MiB each
    assert told(100 * daily)[0] == "ok"
    assert told(20 * daily) == (
        "warning",
        "19.5 GiB free; 1000.0 MiB for 1,000 entries, 1,048,576 bytes each; grows by 1000.0 MiB a day, full in 20 days",
    )
    assert told(6 * daily)[0] == "danger"
    assert told(2**28 - 1)[0] == "danger"
    with ledger.recorder.reading() as reader:
        unseen = finding(check_log(reader, NOW + DAY, Room(2**20, None, "who knows"), _NOTHING), "disk")
    assert (unseen.level, "who knows" in unseen.found) == ("not_checked", True)


def test_a_schedule_of_anchors_that_is_not_kept(ledger: Ledger, tmp_path: Path) -> None:
    scheduled = {"AFFIDAVIT_TSA": "https://tsa.example"}
    assert levels(look(ledger.place, tmp_path).findings)["anchors"] == "not_checked"
    assert of_log(look(ledger.place, tmp_path, environment=scheduled)) == {"anchors": "warning"}
    anchor = AnchorRecorded(size=1, root="0" * 64, token="0" * 64, time="2026-11-22T10:00:00.000000Z", authority="a")
    ledger.record(NewEvent("anchors", 0, anchor, Meta()))
    ledger.sign()
    assert of_log(look(ledger.place, tmp_path, NOW + 30 * DAY, scheduled)) == {}
    append(ledger, 1)
    ledger.sign()
    assert of_log(look(ledger.place, tmp_path, NOW + 3600 * SECOND, scheduled)) == {}
    assert of_log(look(ledger.place, tmp_path, NOW + 3 * 3600 * SECOND, scheduled)) == {"anchors": "warning"}
    assert of_log(look(ledger.place, tmp_path, NOW + 3 * 3600 * SECOND)) == {}
    assert of_log(look(ledger.place, tmp_path, NOW + 8 * DAY)) == {"anchors": "warning"}


def test_what_came_while_an_anchor_was_made_waits_for_the_next(ledger: Ledger, tmp_path: Path) -> None:
    append(ledger, 1)
    anchor = AnchorRecorded(size=1, root="0" * 64, token="0" * 64, time="2026-11-22T10:00:00.000000Z", authority="a")
    ledger.record(NewEvent("anchors", 0, anchor, Meta()))
    ledger.sign()
    assert of_log(look(ledger.place, tmp_path, NOW + 8 * DAY)) == {"anchors": "warning"}


@pytest.mark.parametrize(("required", "level"), [(True, "danger"), (False, "warning")])
def test_declared_witnesses_that_do_not_cosign(ledger: Ledger, tmp_path: Path, required: bool, level: str) -> None:
    vkey = print_vkey(VerifierKey("witness.example/w1", 0x04, bytes(range(32))))
    policy = f"witness w1 {vkey}\nquorum w1\n"
    ledger.record(NewEvent("witnesses", 0, WitnessesDeclared(policy=policy, required=required), Meta()))
    assert of_log(look(ledger.place, tmp_path)) == {}
    with ledger.recorder.reading() as reader:  # as a program would that does not ask them
        checkpoint = Checkpoint(ledger.origin, reader.head().size, reader.head().root())
    ledger.keys.write_signed(checkpoint)
    ledger.recorder.publish_checkpoint(2, sign_checkpoint(checkpoint, ledger.keys.signing_key()))
    assert of_log(look(ledger.place, tmp_path)) == {"witnesses": level}


def test_a_log_that_is_older_than_what_was_signed(place: Place, ledger: Ledger, tmp_path: Path) -> None:
    """The keys of a longer life of the same ledger."""
    shutil.copytree(tmp_path / "keys", tmp_path / "older")
    append(ledger, 5)
    report = examine(place, tmp_path / "older", now=NOW, environment=_NOTHING)
    assert of_log(report) == {}
    ledger.sign()
    report = examine(place, tmp_path / "older", now=NOW, environment=_NOTHING)
    assert of_log(report) == {"signing_state": "danger"}
    assert "the key folder is an older copy" in finding(report.findings, "signing_state").found
    state = next((tmp_path / "keys").rglob("signed"))
    text = state.read_text()
    name, size, *rest = text.split("\n")
    state.write_text("\n".join((name, str(int(size) + 1), *rest)))
    found = finding(look(place, tmp_path).findings, "signing_state")
    state.write_text(text)
    assert (found.level, "the log is an older copy" in found.found) == ("danger", True)


@every_store
def test_keys_that_are_not_there(place: Place, store: str, tmp_path: Path) -> None:
    level = "danger" if store == "sqlite" else "warning"
    report = examine(place, tmp_path / "nowhere", now=NOW, environment=_NOTHING)
    assert of_log(report) == {"key_folder": level, "master_key": level}
    assert levels(report.findings)["signing_state"] == "not_checked"


def test_keys_that_others_may_read(place: Place, tmp_path: Path) -> None:
    for name in ("signing.pem", "master.key"):
        next((tmp_path / "keys").rglob(name)).chmod(0o640)
    found = finding(look(place, tmp_path).findings, "key_permissions")
    assert (found.level, found.found) == (
        "danger",
        "signing.pem: others may read (640); master.key: others may read (640)",
    )


@every_store
def test_the_views_are_seen_as_they_are_stored(ledger: Ledger, tmp_path: Path) -> None:
    assert view_states(ledger.place) == []
    with open_views(ledger.place) as engine, ledger.recorder.reading() as reader:
        catch_up(engine, ledger.event_reader(reader))
    append(ledger, 2)
    assert {(each.is_current, each.size) for each in view_states(ledger.place)} == {(True, 1)}
    assert finding(look(ledger.place, tmp_path).findings, "views").found == "2 entries behind"
    with open_views(ledger.place) as engine, engine.begin() as connection:
        connection.exec_driver_sql("UPDATE tracking SET size = 90")
    assert of_log(look(ledger.place, tmp_path)) == {"views": "danger"}


def test_views_of_another_version_or_far_behind() -> None:
    assert check_views([ViewState("a", False, 5)], 5).level == "warning"
    assert check_views([ViewState("a", True, 5), ViewState("b", True, 100_000)], 100_000).level == "warning"
    assert check_views([ViewState("a", True, 99_999)], 100_000).level == "ok"


def test_sizes_and_durations_read_well() -> None:
    assert [print_bytes(n) for n in (0, 1023, 1536, 5 * 2**40)] == ["0 bytes", "1023 bytes", "1.5 KiB", "5.0 TiB"]
    assert [print_duration(n) for n in (1, 119, 120, 7200, 172_800)] == [
        "1 seconds",
        "119 seconds",
        "2.0 minutes",
        "2.0 hours",
        "2.0 days",
    ]
