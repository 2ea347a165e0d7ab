"""OpenTelemetry: GenAI spans and evaluation results, imported from OTLP/JSON and exported as it."""

from ..file_import import EvaluationImport
from .exporter import TelemetryExport, Window, export_telemetry
from .importer import import_telemetry

__all__ = ["EvaluationImport", "TelemetryExport", "Window", "export_telemetry", "import_telemetry"]
