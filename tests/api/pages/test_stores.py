"""The same world in SQLite and in PostgreSQL: the same rows, to the digest, and the same pages, to the byte."""

from __future__ import annotations

import shutil
from pathlib import Path

from affidavit.api.http.service import Service
from affidavit.ledger.application import Ledger
from affidavit.ledger.store.place import Place
from affidavit.ledger.store.postgres.place import PostgresPlace
from affidavit.projections.runner import VIEWS, catch_up, copied_views, open_views, stored_digest
from affidavit.projections.runs.run_list import Wanted, find_runs
from affidavit.projections.seals import check_views
from affidavit.tests.copying import copy_into
from affidavit.tests.stores import every_postgresql

from .conftest import visiting
from .world import reopen_world, session_alias
from .world_runs import BETTER

PAGES = (f"/runs/{BETTER}", "/evaluation", "/evaluation/sessions")
MORE = ("/evaluation/comparisons", "/evaluation/jobs", "/evaluation/judges", "/ledger", "/reviews", "/ledger/anchors")


@every_postgresql
def test_read_models_have_the_same_digests_and_pages_the_same_bytes(
    nowhere: Place, made_world: tuple[Path, int], tmp_path: Path
) -> None:
    made, now = made_world
    assert isinstance(nowhere, PostgresPlace)
    digests, shown = [], []
    for where in ("folder", "database"):
        folder = tmp_path / where
        for name in ("ledger", "keys"):
            shutil.copytree(made / name, folder / name)
        if where == "database":
            copy_into(nowhere, folder / "ledger", folder / "keys")
        place = nowhere if where == "database" else None
        with reopen_world(folder, now, place=place) as service:
            visitor = visiting(service)
            answers = [(path, visitor.get(path)) for path in (*PAGES, *MORE, _session(service))]
            assert [path for path, answer in answers if answer.status_code != 200] == []
            shown.append([(path, answer.text) for path, answer in answers])
            with service.moment() as moment:
                page = find_runs(moment.views, moment.size, Wanted(search="BETTER"), sort="best")
                shown[-1].append(("runs", repr(page)))
            with copied_views(service.ledger.place) as views, service.ledger.recorder.reading() as reader:
                assert views is not None
                assert check_views(views, service.ledger.event_reader(reader)) == []
                with views.connect() as connection:
                    digests.append([stored_digest(connection, view) for view in VIEWS])
    assert digests[0] == digests[1]
    for (path, one), (_, other) in zip(*shown, strict=True):
        assert one == other, path


def _session(service: Service) -> str:
    return f"/evaluation/sessions/{session_alias(service, 'parcel-17')}"


@every_postgresql
def test_views_that_somebody_has_changed_are_found(ledger: Ledger) -> None:
    with ledger.recorder.reading() as reader, open_views(ledger.place) as engine:
        events = ledger.event_reader(reader)
        catch_up(engine, events)
        with engine.begin() as connection:
            connection.exec_driver_sql("INSERT INTO outcomes VALUES (0, 's', 'o', 1, 1)")
        with copied_views(ledger.place) as views:
            assert views is not None
            assert [damage.kind for damage in check_views(views, events)] == ["projection_mismatch"]
