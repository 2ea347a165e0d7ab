"""Ledgers with evaluation data, made as quickly as can be: each from a copy, filled by the import."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from affidavit.api.adapters.evaluation import import_evaluation
from affidavit.api.moment import LiveLedger
from affidavit.ledger.application import Edge, Ledger
from affidavit.projections.evaluation.overview import build_overview
from affidavit.projections.evaluation.windows import OverviewRequest
from affidavit.projections.registry import REGISTRY


class Filled:
    """A ledger with evaluation rows, and its live read models."""

    def __init__(self, ledger: Ledger, folder: Path) -> None:
        self.ledger = ledger
        self.live = LiveLedger(ledger)
        self._folder = folder

    def add(self, dataset: dict[str, Any]) -> None:
        path = self._folder / "rows.json"
        path.write_text(json.dumps(dataset))
        import_evaluation(self.ledger, path)

    def overview(self, request: dict[str, Any], as_of: str | None = None) -> dict[str, Any]:
        with self.live.moment(as_of) as moment:
            asked = OverviewRequest.model_validate(request)
            found: dict[str, Any] = build_overview(
                moment.views, moment.events, moment.size, asked, moment.names_of, moment.sessions_named
            )
        return found


class Ledgers:
    """Makes filled ledgers; each is gone when its block ends."""

    def __init__(self, made: Path) -> None:
        self._made = made

    @contextmanager
    def filled(self, dataset: dict[str, Any]) -> Iterator[Filled]:
        with TemporaryDirectory() as scratch:
            folder = Path(scratch)
            for name in ("ledger", "keys"):
                shutil.copytree(self._made / name, folder / name)
            now, stream = [1_795_341_600_000_000], random.Random(1)

            def clock() -> int:
                now[0] += 1
                return now[0]

            edge = Edge(clock, stream.randbytes)
            with Ledger(folder / "ledger", folder / "keys", REGISTRY, edge=edge, sign_in_background=False) as ledger:
                filled = Filled(ledger, folder)
                try:
                    filled.add(dataset)
                    yield filled
                finally:
                    filled.live.close()


@pytest.fixture(scope="session")
def ledgers(made_once: Path) -> Ledgers:
    return Ledgers(made_once)


def differences(expected: Any, actual: Any, place: str = "$") -> list[str]:
    """Where ``actual`` is not ``expected``: more keys may be there, a missing key is null, floats agree to 1e-9."""
    if isinstance(expected, dict) and isinstance(actual, dict):
        return [
            line for key, value in expected.items() for line in differences(value, actual.get(key), f"{place}.{key}")
        ]
    if isinstance(expected, list) and isinstance(actual, list):
        if len(expected) != len(actual):
            return [f"{place}: length {len(actual)}, expected {len(expected)}"]
        pairs = enumerate(zip(expected, actual, strict=True))
        return [line for i, (a, b) in pairs for line in differences(a, b, f"{place}[{i}]")]
    if isinstance(expected, float) and isinstance(actual, (int, float)) and not isinstance(actual, bool):
        return [] if actual == pytest.approx(expected, rel=1e-9, abs=1e-9) else [f"{place}: {actual}, not {expected}"]
    same = type(expected) is type(actual) and expected == actual
    return [] if same else [f"{place}: {actual!r}, expected {expected!r}"]
