"""Reading what aevyra-reflex 0.2 wrote (``import_reflex``), and recording what it does (``RunStore``)."""

from __future__ import annotations

from .findings import KINDS, Finding
from .importer import ImportedRun, ImportReport, import_reflex
from .run_store import RunStore

__all__ = ["KINDS", "Finding", "ImportReport", "ImportedRun", "RunStore", "import_reflex"]
