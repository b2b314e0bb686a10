"""Where the pages get their results: `pipelines.results` behind a cache that is refreshed without making anyone wait.

Pages ask `current()` for a Source and know nothing else of the store.
"""

from __future__ import annotations

import contextlib
import os
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

import pandas as pd
import streamlit as st

from pipelines import results
from pipelines.processes import Book
from pipelines.servers import state_directory
from workbench.registry import UserError

FRESH_SECONDS = 5
ANSWER_SECONDS = 2.0
DEFAULT_URI = "http://127.0.0.1:5000"
Result = TypeVar("Result")


class Unavailable(RuntimeError):
    """The store did not give what was asked for, in one line."""


class Source(Protocol):
    """Results as tables and files; see `pipelines.results` for their columns. Its methods raise Unavailable."""

    @property
    def uri(self) -> str:
        """The address of the store, for links."""

    def problem(self) -> str:
        """Why the store cannot be read, in one line; empty when it can."""

    def studies(self) -> pd.DataFrame:
        """One row a study that was ever executed."""

    def trials(self, study: str) -> pd.DataFrame:
        """One row a trial."""

    def executions(self, study: str) -> pd.DataFrame:
        """One row a claim and execution, newest first."""

    def fits(self) -> pd.DataFrame:
        """One row a training."""

    def learning_curve(self, run_id: str) -> pd.DataFrame:
        """The curves of a training, a column each."""

    def artifact(self, run_id: str, name: str) -> Path:
        """A local copy of a file of a run."""


@dataclass(frozen=True)
class MlflowSource:
    """The results that an MLflow server holds."""

    uri: str

    def problem(self) -> str:
        return _problem(self.uri)

    def studies(self) -> pd.DataFrame:
        return _told(lambda: _studies(self.uri))

    def trials(self, study: str) -> pd.DataFrame:
        return _told(lambda: _trials(self.uri, study))

    def executions(self, study: str) -> pd.DataFrame:
        return _told(lambda: _executions(self.uri, study))

    def fits(self) -> pd.DataFrame:
        return _told(lambda: _fits(self.uri))

    def learning_curve(self, run_id: str) -> pd.DataFrame:
        return _told(lambda: _learning_curve(self.uri, run_id))

    def artifact(self, run_id: str, name: str) -> Path:
        return _told(lambda: results.artifact(self.uri, run_id, name))


def current() -> Source:
    """The store that MLFLOW_TRACKING_URI names, else that of the local stack, else the address that it would have."""
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")  # a reader does not wait for minutes
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    return MlflowSource((os.environ.get("MLFLOW_TRACKING_URI") or _stack_uri()).rstrip("/"))


def _stack_uri() -> str:
    with contextlib.suppress(UserError):  # a book that cannot be read is told of by the stack itself
        services = Book(state_directory()).running()
        if "mlflow" in services:
            return services["mlflow"].url
    return DEFAULT_URI


def _told(ask: Callable[[], Result]) -> Result:
    """What `ask` returns; whatever it raises becomes one line for the reader."""
    try:
        return ask()
    except Exception as error:  # MLflow, its HTTP client and the file system each raise their own
        text = " ".join(str(error).split()) or type(error).__name__
        raise Unavailable(text[:300]) from error


@st.cache_data(ttl=FRESH_SECONDS, max_entries=4, show_spinner=False)
def _problem(uri: str) -> str:
    if not uri.startswith("http"):
        return ""
    try:
        with urllib.request.urlopen(f"{uri}/health", timeout=ANSWER_SECONDS):
            return ""
    except urllib.error.HTTPError:
        return ""  # it answers
    except (OSError, ValueError) as error:
        return f"No MLflow server answers at {uri} ({getattr(error, 'reason', error)})."


@st.cache_data(ttl=FRESH_SECONDS, max_entries=4, show_spinner=False, refresh_mode="background")
def _studies(uri: str) -> pd.DataFrame:
    return results.studies(uri)


@st.cache_data(ttl=FRESH_SECONDS, max_entries=32, show_spinner="Reading results", refresh_mode="background")
def _trials(uri: str, study: str) -> pd.DataFrame:
    return results.trials(uri, study)


@st.cache_data(ttl=FRESH_SECONDS, max_entries=32, show_spinner=False, refresh_mode="background")
def _executions(uri: str, study: str) -> pd.DataFrame:
    return results.executions(uri, study)


@st.cache_data(ttl=FRESH_SECONDS, max_entries=4, show_spinner="Reading fits", refresh_mode="background")
def _fits(uri: str) -> pd.DataFrame:
    return results.fits(uri)


@st.cache_data(ttl=10 * FRESH_SECONDS, max_entries=64, show_spinner=False)
def _learning_curve(uri: str, run_id: str) -> pd.DataFrame:
    return results.learning_curve(uri, run_id)
