"""The import of evaluation data: requests, interactions, results, verdicts, scores and configuration, as they were."""

from .importer import EvaluationImport, import_evaluation

__all__ = ["EvaluationImport", "import_evaluation"]
