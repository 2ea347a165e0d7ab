"""What goes wrong with one ledger does not stop the others: it does not open, it hangs, it is flooded."""

from __future__ import annotations

import shutil
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import httpx2
import pytest
import uvicorn

from affidavit.api.cli.serve_commands import _close, _opened
from affidavit.api.many.front import Front
from affidavit.api.many.tenant import Tenant
from affidavit.api.workers.settings import WorkerSettings
from affidavit.ledger.store.place import Place
from affidavit.ledger.store.sqlite.place import FolderPlace
from affidavit.tests.api.http.conftest import a_request
from affidavit.tests.api.many.conftest import House, list_ledger, make_key, only_folder

MANY = 45
"""More than the threads that all requests of a process share by default."""


@contextmanager
def serving(front: Front) -> Iterator[str]:
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    listening.listen(128)
    config = uvicorn.Config(front, log_level="critical", ws="none", lifespan="off", proxy_headers=False)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        listening.close()


@pytest.mark.parametrize("at_once", [2 * MANY])  # one key has half of them at most
def test_a_ledger_that_hangs_takes_no_thread_of_another(house: House) -> None:
    hanging = house.working("birch")
    bound = hanging.app.state.telemetry.in_progress
    statuses: list[int] = []

    def ask(url: str) -> None:
        statuses.append(httpx2.get(f"{url}/api/get_all_interactions", headers=house.birch, timeout=60).status_code)

    with serving(house.front) as url:
        asking = [threading.Thread(target=ask, args=(url,)) for _ in range(MANY)]
        with hanging.app.state.service.live._mutex:  # as where its database does not answer
            for each in asking:
                each.start()
            ticking = threading.Event()
            while bound.now < MANY:
                assert all(each.is_alive() for each in asking), statuses
                ticking.wait(0.01)
            full = httpx2.get(f"{url}/api/whoami", headers=house.birch, timeout=60)
            assert (full.status_code, full.json()["rule"]) == (429, "share_taken")
            assert int(full.headers["retry-after"]) >= 1
            assert httpx2.get(f"{url}/health/live", timeout=60).status_code == 200
            for _ in range(3):
                answer = httpx2.get(f"{url}/api/get_all_interactions", headers=house.acme, timeout=60)
                assert answer.status_code == 200
            sent = httpx2.post(f"{url}/api/publish_interaction", json=a_request(), headers=house.acme, timeout=60)
            assert sent.status_code == 200
        for each in asking:
            each.join()
    assert statuses == [200] * MANY


def test_a_ledger_that_does_not_open_is_tried_again_while_others_are_served(
    place: Place, made_once: Path, tmp_path: Path
) -> None:
    late = FolderPlace(tmp_path / "late")
    shutil.copytree(tmp_path / "keys", tmp_path / "late-keys")
    stopping = threading.Event()
    opening = partial(_opened, WorkerSettings(), None, stopping)
    served = Tenant(list_ledger("served", place, tmp_path / "keys"), opening)
    missing = Tenant(list_ledger("missing", late, tmp_path / "late-keys", public=True), opening, first_pause=0.01)
    tenants = [served, missing]
    keys = [make_key(only_folder(tmp_path / name)) for name in ("keys", "late-keys")]
    for tenant in tenants:
        tenant.start()
    for tenant in tenants:
        tenant.tried.wait()
    try:
        clients = [House(Front(tenants, stopping), tenants, *keys).client("192.0.2.7", key) for key in (*keys, None)]
        ours, theirs, nobody = clients
        assert ours.get("/api/whoami").status_code == 200
        closed = theirs.get("/api/whoami")
        assert (closed.status_code, closed.headers["retry-after"]) == (503, "1")
        assert "missing" not in closed.text
        assert theirs.get("/health/live").status_code == 200
        assert theirs.get("/health/ready").status_code == 503
        assert nobody.get("/logs/missing/checkpoint").status_code == 503
        assert nobody.get("/health/ready").status_code == 200

        shutil.copytree(made_once / "ledger", tmp_path / "late")
        ticking = threading.Event()
        while missing.working is None:
            ticking.wait(0.01)
        assert theirs.get("/api/whoami").json()["org_id"] == "org missing"
        assert nobody.get("/logs/missing/checkpoint").status_code == 200
        assert ours.get("/api/whoami").json()["org_id"] == "org served"
    finally:
        _close(tenants)
    assert nobody.get("/health/ready").status_code == 503
    assert ours.get("/api/whoami").status_code == 503
