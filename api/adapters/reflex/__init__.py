"""Reading what aevyra-reflex 0.2 wrote: ``.reflex/runs`` becomes runs of this ledger, with findings."""

from __future__ import annotations

from .findings import KINDS, Finding
from .importer import ImportedRun, ImportReport, import_reflex

__all__ = ["KINDS", "Finding", "ImportReport", "ImportedRun", "import_reflex"]
