"""The models that a run talks to, opened and tried before anything is paid for."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import httpx2

from ...domain.errors import Refused
from ...domain.optimization.conversation import JUDGE, REASONER
from ...domain.optimization.options import Options
from ..models.chat import HttpModel, Model
from ..models.providers import check_model, open_model

PIPELINE = "pipeline/"
"""How the name of a pipeline begins, which stands where the model would."""
_SANDBOX = "sandbox/"


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where models are, where it is not their provider's own address; a key for the reasoner from the command line.

    They come from the command line or the environment of this moment, never from the ledger: whoever wrote a ledger
    must not be able to send a reader's keys and texts elsewhere.
    """

    base_url: str | None = None
    reasoning_base_url: str | None = None
    judge_base_url: str | None = None
    reasoning_api_key: str | None = None

    def of(self, to: str) -> tuple[str, str | None]:
        """The flag for the address of what ``Question.to`` names, and the address that was given by it."""
        return {
            REASONER: ("--reasoning-base-url", self.reasoning_base_url),
            JUDGE: ("--judge-base-url", self.judge_base_url),
        }.get(to, ("--base-url", self.base_url))


@contextmanager
def open_models(
    options: Options,
    addresses: Addresses,
    *,
    pipeline: Model | None = None,
    known: Mapping[str, str] | None = None,
    transport: httpx2.BaseTransport | None = None,
    environ: Mapping[str, str] = os.environ,
) -> Iterator[dict[str, Model]]:
    """Every model of a run: by its name, the reasoner and the judge by their roles.

    ``known`` are the addresses that a run is on record with. They are never called for being there: where nothing was
    given now and the model would be looked for elsewhere, the run cannot go on. ``pipeline`` is the model of that
    kind, where there is one. ``Refused`` for a wrong name, key or address; nothing has been paid for then.
    """
    _require_useful(options, addresses)
    with ExitStack() as stack:
        models: dict[str, Model] = {}
        for to, name in _wanted(options):
            if name.startswith(PIPELINE):
                models[to] = _same_pipeline(pipeline, name)
                continue
            flag, base_url = addresses.of(to)
            if flag == "--base-url" and name.startswith(_SANDBOX) and _has_address(options):
                base_url = None  # it is given for the others
            opened = open_model(
                name,
                base_url=base_url,
                api_key=addresses.reasoning_api_key if to == REASONER else None,
                transport=transport,
                environ=environ,
            )
            stack.callback(opened.close)
            then = (known or {}).get(to, opened.base_url)
            if base_url is None and then != opened.base_url:
                raise Refused(
                    "address_given",
                    f"model {name}: the run on record found it at {then}, now it would be looked for at "
                    f"{opened.base_url}; addresses are not taken from a ledger: give {flag}",
                )
            models[to] = opened
        for model in models.values():
            if isinstance(model, HttpModel):
                check_model(model)
        yield models


def endpoints(models: Mapping[str, Model]) -> dict[str, str]:
    """Where each model is found, for the record."""
    return {to: model.base_url for to, model in models.items() if isinstance(model, HttpModel)}


def _wanted(options: Options) -> Iterator[tuple[str, str]]:
    """Whom a run asks, as ``Question.to`` and the model's name."""
    for name in dict.fromkeys((*options.models, *options.targets)):
        yield name, name
    if options.max_iterations > 0:
        yield REASONER, options.reasoning_model
    if options.judge is not None:
        yield JUDGE, options.judge


def _require_useful(options: Options, addresses: Addresses) -> None:
    if options.max_iterations == 0 and addresses.reasoning_base_url is not None:
        raise Refused("flag_serves", "--reasoning-base-url: without iterations the reasoning model is not asked")
    if options.judge is None and addresses.judge_base_url is not None:
        raise Refused("flag_serves", "--judge-base-url: this run has no judge")
    if addresses.base_url is not None and all(
        name.startswith(PIPELINE) for name in (*options.models, *options.targets)
    ):
        raise Refused("flag_serves", "--base-url: the pipeline stands where the model would")


def _has_address(options: Options) -> bool:
    """Whether ``--base-url`` can be meant for any of the models and targets."""
    return not all(name.startswith((PIPELINE, _SANDBOX)) for name in (*options.models, *options.targets))


def _same_pipeline(pipeline: Model | None, name: str) -> Model:
    if pipeline is None:
        raise Refused("pipeline_given", f"the run's answers come from {name}: give --pipeline-file")
    if pipeline.model != name:
        raise Refused("pipeline_given", f"the run's answers come from {name}, and --pipeline-file is {pipeline.model}")
    return pipeline
