"""Which models of a run are simulated: known by their names, wherever the run names or calls one."""

from __future__ import annotations

from .runs.record import RunRecord


def is_simulated(model: str) -> bool:
    """Whether a model's name says that it is none."""
    return model.startswith("sandbox/") or "simulated" in model.lower()


def simulated_models(record: RunRecord) -> list[str]:
    """The simulated models that a run names or calls, in order of their names."""
    named: list[str | None] = [*record.started.models, record.started.reasoning_model, *record.calls.by("model")]
    for found in record.evaluations:
        named.append(found.model)
        if isinstance(found.samples, tuple):
            named += [sample.model for sample in found.samples]
    return sorted({model for model in named if model is not None and is_simulated(model)})
