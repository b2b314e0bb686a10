"""MLflow's client as this program wants it: quiet, and giving up in seconds rather than minutes."""

from __future__ import annotations

import os

from mlflow import MlflowClient

SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "4",  # about half a minute; the default of 7 takes four
}


def client(uri: str) -> MlflowClient:
    """A client of the server at `uri`. The process's MLflow settings are made on the way; the user's are kept."""
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    return MlflowClient(uri)
