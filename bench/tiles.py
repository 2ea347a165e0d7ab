"""Serving the log itself: tiles and bundles against a page that is computed, and a mirror against a plain download,
each from one server in the same windows."""

from __future__ import annotations

import random
import shutil
import socket
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from http.client import HTTPConnection
from pathlib import Path
from statistics import median

from affidavit.api.mirror.following import follow_log
from affidavit.api.mirror.source import HttpSource
from affidavit.bench.publishing import serving
from affidavit.bench.rows import Bench, Row
from affidavit.bench.windows import Side, interleave, median_of, ratios, timed
from affidavit.bench.workload import fill
from affidavit.ledger.application import Ledger
from affidavit.ledger.tlog.note import VerifierKey
from affidavit.ledger.tlog.tiles import TILE_WIDTH, tile_path
from affidavit.projections.registry import REGISTRY

CLIENTS = 8
PAGE = "/runs"
TILES_FOR_A_PAGE = 10


def measure_tiles(bench: Bench) -> list[Row]:
    """Full tiles of hashes and bundles of entries, drawn at random, each asked for once before it is measured."""
    size = bench.sizes.verified
    folder = bench.folder / "tiles"
    with Ledger.create(folder / "ledger", folder / "keys", REGISTRY, sign_in_background=False) as ledger:
        fill(ledger, size)
        ledger.sign()
        key = ledger.verifier_key()
    full = range(size // TILE_WIDTH)
    names = {
        "hashes": [f"/{tile_path(0, n)}" for n in full],
        "bundles": [f"/{tile_path('entries', n)}" for n in full],
        "page": [PAGE],
    }
    pages = bench.sizes.pages
    tiles = TILES_FOR_A_PAGE * pages
    with ExitStack() as opened:
        port = opened.enter_context(serving(folder))
        pool = opened.enter_context(ThreadPoolExecutor(CLIENTS))
        with closing(_connected(port)) as client:
            for paths in names.values():
                _get(client, paths)
        seconds = interleave(
            {what: _asking(port, pool, paths, pages if what == "page" else tiles) for what, paths in names.items()},
            bench.sizes.long_windows,
        )
        mirrored = _measure_mirror(folder, port, size, key, bench.sizes.long_windows)
    each = {what: [taken / (pages if what == "page" else tiles) for taken in found] for what, found in seconds.items()}
    per_second = {f"{what}_per_second": 1 / median(found) for what, found in each.items()}
    rows = [
        Row(
            f"tiles_{what}",
            f"{told} over HTTP to {CLIENTS} clients, against the page {PAGE}",
            "×",
            median_of(ratios(each[what], each["page"])),
            5.0,
            beside=per_second,
        )
        for what, told in (("hashes", "tiles of 256 hashes"), ("bundles", "bundles of 256 entries"))
    ]
    return [*rows, mirrored]


def _measure_mirror(folder: Path, port: int, size: int, key: VerifierKey, windows: int) -> Row:
    """All of a log each time: verified, built into tiles and made durable, against its files fetched and written."""
    with closing(HttpSource(f"http://127.0.0.1:{port}")) as source:

        def mirror(to: Path) -> None:
            follow_log(source, to, lambda origin, size: [key])

        def download(to: Path) -> None:
            with closing(HTTPConnection("127.0.0.1", port)) as client:
                for name in names:
                    client.request("GET", f"/{name}")
                    answer = client.getresponse()
                    if answer.status != 200:
                        raise RuntimeError(f"{name}: {answer.status}")
                    path = to / name
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(answer.read())

        mirror(folder / "mirror")
        names = [
            path.relative_to(folder / "mirror").as_posix() for path in (folder / "mirror").rglob("*") if path.is_file()
        ]

        def afresh(work: Callable[[Path], None]) -> Side:
            def run() -> float:
                shutil.rmtree(folder / "fresh", ignore_errors=True)
                return timed(lambda: work(folder / "fresh"))

            return run

        seconds = interleave({"mirror": afresh(mirror), "download": afresh(download)}, windows)
    return Row(
        "mirror",
        f"a log of {size:,} entries mirrored, against one client that only downloads the same files",
        "×",
        median_of(ratios(seconds["mirror"], seconds["download"])),
        beside={f"{what}_entries_per_second": size / median(taken) for what, taken in seconds.items()},
    )


def _asking(port: int, pool: ThreadPoolExecutor, paths: Sequence[str], count: int) -> Side:
    def ask() -> float:
        with ExitStack() as opened:  # the server closes connections that are idle while others are measured
            clients = [opened.enter_context(closing(_connected(port))) for _ in range(CLIENTS)]
            drawn = [random.choices(paths, k=-(-count // CLIENTS)) for _ in clients]
            return timed(lambda: [*pool.map(_get, clients, drawn)])

    return ask


def _connected(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port))


def _get(client: socket.socket, paths: Sequence[str]) -> None:
    """Ask for each, one after another. Of an answer only its status and its length are looked at: it costs little."""
    for path in paths:
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
        received = b""
        while b"\r\n\r\n" not in received:
            received += _receive(client)
        head, _, body = received.partition(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200 "):
            raise RuntimeError(f"{path}: {head[:100]!r}")
        fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
        missing = int(fields[b"content-length"]) - len(body)
        while missing > 0:
            missing -= len(_receive(client))


def _receive(client: socket.socket) -> bytes:
    received = client.recv(1 << 18)
    if not received:
        raise RuntimeError("the server closed the connection")
    return received
