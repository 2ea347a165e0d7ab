"""A plan says which software decides, and refuses what cannot be carried out."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial, wraps
from pathlib import Path

import pytest

import affidavit
from affidavit.api.drive.exchanges import reply_of
from affidavit.api.models.bodies import read_chat
from affidavit.api.optimize.plan import Plan, branched, make_plan
from affidavit.domain.errors import Refused
from affidavit.domain.optimization.dataset import DataRow, Dataset
from affidavit.domain.optimization.metrics import CustomMetric, Metric, find_metrics
from affidavit.domain.optimization.options import Options
from affidavit.domain.optimization.strategies import BUILT_IN

PACKAGE = Path(inspect.getfile(affidavit)).parent
ROWS = tuple(
    DataRow(id=f"s{number}", messages=({"role": "user", "content": f"q{number}"},), ideal="yes") for number in range(10)
)


def plan(*metrics: Metric) -> Plan:
    made = make_plan(Options(models=("a/b",), metrics=("exact",), strategy="iterative"), Dataset(ROWS), "Answer.")
    return replace(made, metrics=metrics or made.metrics)


def polite(response: str, ideal: str, word: str = "please") -> float:
    return float(word in response)


@wraps(re.compile)
def wrapping(response: str, ideal: str) -> float:
    return 0.0


class Polite:
    def __call__(self, response: str, ideal: str) -> float:
        return polite(response, ideal)

    def score(self, response: str, ideal: str) -> float:
        return polite(response, ideal)


def test_versions_are_of_what_decides_the_numbers() -> None:
    always = {"affidavit", "python"}
    assert plan(*find_metrics(["exact"]), CustomMetric("mine", polite)).versions().keys() == always
    found = plan(*find_metrics(["bleu", "rouge"])).versions()
    assert found.keys() == {*always, "nltk", "rouge-score"}
    assert all(re.match(r"\d+\.\d+", number) for number in found.values())


def test_every_module_that_a_script_loads_is_among_the_sources() -> None:
    code = (
        "import sys; import affidavit.domain.optimization.script, affidavit.domain.optimization.strategies; "
        "print(*(module.__file__ for name, module in sys.modules.items() if name.startswith('affidavit')), sep='\\n')"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    loaded = {Path(line).relative_to(PACKAGE).as_posix() for line in told.splitlines()}
    packages = {name for name in loaded if name.endswith("__init__.py") and "optimization" not in name}
    assert {"domain/event.py", "domain/optimization/script.py"} <= loaded
    assert loaded - packages <= plan().sources().keys()


@pytest.mark.parametrize("reader", [read_chat, reply_of], ids=lambda reader: str(reader.__name__))
def test_what_reads_a_reply_is_among_the_sources(reader: object) -> None:
    assert inspect.isfunction(reader)
    assert Path(inspect.getfile(reader)).relative_to(PACKAGE).as_posix() in plan().sources()


@pytest.mark.parametrize(
    "metric",
    [polite, Polite(), Polite().score, Polite, partial(polite, word="thanks"), partial(partial(Polite()))],
    ids=["function", "object", "method", "class", "partial", "partial of an object"],
)
def test_the_file_of_a_registered_metric_is_among_the_sources(metric: Callable[[str, str], object]) -> None:
    here, elsewhere = plan(CustomMetric("mine", metric)).sources(), plan(CustomMetric("mine", wrapping)).sources()
    assert here.keys() - plan().sources().keys() == {"metric/mine"}
    assert here["metric/mine"] != elsewhere["metric/mine"]


def test_what_is_not_python_has_no_source() -> None:
    assert plan(CustomMetric("mine", max)).sources() == plan().sources()


def test_a_registered_strategy_may_be_one_of_the_built_in_ones() -> None:
    assert replace(plan(), strategies={"mine": BUILT_IN["pdo"]}).sources() == plan().sources()


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"threshold": 7}, "setting_valid"),
        ({"max_workers": 0}, "setting_valid"),
        ({"extra": {"x": 1}}, "strategy_options"),
        ({"strategy": "magic"}, "strategy_known"),
    ],
)
def test_a_branch_with_a_setting_that_does_not_serve_is_refused(changes: dict[str, object], rule: str) -> None:
    with pytest.raises(Refused) as caught:
        branched(plan(), 1, changes)
    assert caught.value.rule == rule


def test_options_of_a_strategy_do_not_go_over_to_another() -> None:
    first = branched(plan(), 1, {"strategy": "auto", "extra": {"max_phases": 3}})
    assert branched(first, 2, {"strategy": "iterative"}).options.extra == {}
