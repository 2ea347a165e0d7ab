"""The built-in strategies by name. Others may be registered; all are functions from a study to a conversation."""

from __future__ import annotations

from ..study import Strategies
from .auto import auto
from .fewshot import fewshot
from .iterative import iterative
from .pdo import pdo
from .structural import structural

BUILT_IN: Strategies = {
    "auto": auto,
    "fewshot": fewshot,
    "iterative": iterative,
    "pdo": pdo,
    "structural": structural,
}
