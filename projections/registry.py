"""Every event that this version knows: the one closed registry that readers and writers share."""

from __future__ import annotations

from ..domain.evaluation.events import EVENTS as EVALUATION_EVENTS
from ..domain.model_calls import EVENTS as MODEL_EVENTS
from ..domain.optimization.events import EVENTS as OPTIMIZATION_EVENTS
from ..domain.optimization.foreign import EVENTS as FOREIGN_EVENTS
from ..domain.registry import Registry
from ..ledger.events import EVENTS as LEDGER_EVENTS

REGISTRY = Registry([*LEDGER_EVENTS, *MODEL_EVENTS, *OPTIMIZATION_EVENTS, *FOREIGN_EVENTS, *EVALUATION_EVENTS])
