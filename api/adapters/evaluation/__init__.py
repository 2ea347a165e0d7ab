"""The import of evaluation data: requests, interactions, results, verdicts, scores and configuration, as they were."""

from ..file_import import EvaluationImport
from .importer import import_evaluation

__all__ = ["EvaluationImport", "import_evaluation"]
