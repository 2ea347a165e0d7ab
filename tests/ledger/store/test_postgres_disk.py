"""A full disk under PostgreSQL: it is said so, nothing is acknowledged, and it goes on once there is space."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path

import pytest

from affidavit.domain.optimization.events import SourceKept
from affidavit.ledger.application import Ledger
from affidavit.ledger.errors import Conflict, OutcomeUnknown, Unavailable
from affidavit.ledger.store.postgres.connecting import parse_address
from affidavit.ledger.store.postgres.place import PostgresPlace
from affidavit.projections.registry import REGISTRY
from affidavit.tests.ledger.store.noting import check, noted
from affidavit.tests.servers import VERSIONS, Server, server_or_skip

_DISK = "160m"
_LARGE = SourceKept(name="n", content=os.urandom(200_000).hex())


@pytest.fixture(params=VERSIONS)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A server whose data lie on a disk of their own, as small as they can be."""
    server = server_or_skip(request.param, empty=True, max_wal_size="32MB", min_wal_size="32MB")
    mounted = False
    try:
        server.data.mkdir()
        owner = server.home.stat()
        options = f"size={_DISK},mode=0700,uid={owner.st_uid},gid={owner.st_gid}"
        try:
            done = subprocess.run(
                ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(server.data)], capture_output=True, check=False
            )
        except FileNotFoundError:
            pytest.skip("there is no `mount` here")
        if done.returncode:
            pytest.skip(f"no disk may be mounted here: {done.stderr.decode().strip()}")
        mounted = True
        server.make()
        yield server.start()
    finally:
        server.stop("immediate")
        if mounted:
            subprocess.run(["umount", str(server.data)], check=True)
        server.delete()


def fill(server: Server) -> Path:
    """Leave nothing of the disk."""
    ballast = server.data / "ballast"
    with ballast.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(1 << 16))
    return ballast


def test_a_full_disk_is_said_and_nothing_is_lost_or_acknowledged(server: Server, tmp_path: Path) -> None:
    place = PostgresPlace(parse_address(f"{server.url()}&commit_timeout=2"))
    with Ledger.create(place, tmp_path / "keys", REGISTRY, sign_in_background=False) as ledger:
        ledger.record(noted(0))
        signed = ledger.sign()
        acknowledged = [0]
        ballast = fill(server)
        for pos in count(1):  # files of the log and of tables have some room left
            try:
                ledger.record(noted(pos, event=_LARGE))
            except Unavailable as error:
                refused = error
                break
            acknowledged.append(pos)
        said = "No space left on device" in str(refused) or "No space left on device" in server.log()
        assert said, str(refused)
        assert "nothing was acknowledged" in str(refused) or isinstance(refused, OutcomeUnknown)
        with suppress(Unavailable):  # whether there was room for it or not
            signed = ledger.sign()

        ballast.unlink()
        if not server.is_running:  # it ends where its own log finds no room
            server.stop()
            server.start()
        with suppress(Conflict):
            ledger.record(noted(len(acknowledged), event=_LARGE))
        events = check(ledger)
        assert [event.pos for event in events if event.stream == "run/1"] == [*range(len(acknowledged) + 1)]
        assert ledger.sign().size == len(events) >= signed.size
