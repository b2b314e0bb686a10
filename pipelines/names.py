"""The names under which results are stored in MLflow, their way back, and the pages that show them there. Imports
nothing but the standard library.

MLflow allows no brackets in metric names, so `frechet[cnn]` is stored as `quality/frechet.cnn`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

FITS = (
    "fits"  # the experiment that holds all fits and reference features; every study has one of its own name
)
WORKBENCH = "workbench"  # the value of tag OWNER on each experiment that this program made

TAG_OWNER = "workbench.owner"
TAG_KEY = "workbench.key"  # the identity of the stage: a FINISHED run with it is the stage's result
TAG_KIND = "workbench.kind"  # fit, reference, trial, study
TAG_SPEC = "workbench.spec"  # the spec of the stage as JSON, whose digest is its key
TAG_SAMPLES = "workbench.samples_key"  # fit and sampling spec without the measures: equal keys, equal samples
TAG_GENERATION = "workbench.generation"  # the spec without its seeds: rows of one arm agree in it
TAG_SUPERSEDED = "workbench.superseded"  # the study no longer asks for this row; empty when it does again
TAG_EXECUTION = "workbench.execution"  # the id of the study run in whose execution the run was made
TAG_PROCESS = "workbench.process"  # host, process id and start time of the driver of an execution
TAG_HEARTBEAT = "workbench.heartbeat"  # seconds since 1970 when the driver of an execution was last alive
TAG_REASON = "workbench.reason"  # why a run FAILED or was KILLED, in one line
TAG_ARTIFACTS = "workbench.artifacts"  # JSON {file name: sha256} of the uploaded artifacts
TAG_CHECKPOINT = (
    "workbench.checkpoint"  # sha256 of the uploaded resumable checkpoint of a fit that has not ended
)
TAG_CONTINUED = "workbench.continued_from"  # the run whose checkpoint a fit went on from
TAG_FIT_RUN = "workbench.fit_run_id"
TAG_LIKELIHOOD = "workbench.likelihood_kind"  # exact, bound or estimate, where one was taken
TAG_INTERPOLATION = "workbench.interpolation"  # spherical or linear, where there are pictures of latents
TAG_VERDICT = "workbench.verdict"  # JSON list of decisions
TAG_NOTE = "mlflow.note.content"

# Without it, MLflow opens an experiment in its view of language models, which has no trained ones.
VIEW = "?workflowType=machine_learning"

OWN_DATA = re.compile(r"^(folder|npz)-[0-9a-f]{8}$")  # the user's own data, with the start of their digest

QUALITY, FLOOR, COST = "quality/", "floor/", "cost/"


def stored(measure: str) -> str:
    """`frechet[cnn]` -> `frechet.cnn`."""
    return measure.replace("[", ".").removesuffix("]")


def unstored(name: str) -> str:
    """`frechet.cnn` -> `frechet[cnn]`, the inverse of `stored`."""
    measure, dot, features = name.partition(".")
    return f"{measure}[{features}]" if dot else measure


def column_of(field: str) -> str:
    """The column of a dotted field: its last component, or its last two where the last alone says nothing.

    `sampling.nfe` -> `nfe`, `source.model.schedule.timesteps` -> `timesteps`, `sampling.seed` -> `sampling_seed`.
    """
    parts = field.split(".")
    return "_".join(parts[-2:]) if parts[-1] in ("name", "seed") else parts[-1]


def param_text(value: object) -> str:
    """A value of a spec as the text of an MLflow parameter."""
    if value is None or isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (tuple, list)):
        return " ".join(param_text(item) for item in value)
    return str(value)


def param_value(text: str) -> object:
    """The inverse of `param_text` for all but tuples, which stay text."""
    words: dict[str, object] = {"none": None, "true": True, "false": False}
    if text in words:
        return words[text]
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            continue
    return text


def experiment_page(uri: str, experiment: str) -> str:
    """The page of an experiment in MLflow's own interface: the table of its runs."""
    return f"{uri}/#/experiments/{experiment}/runs{VIEW}"


def run_page(uri: str, experiment: str, run_id: str) -> str:
    """The page of a run in MLflow's own interface."""
    return f"{uri}/#/experiments/{experiment}/runs/{run_id}{VIEW}"


def study_command(study: str, data: str, scale: str, seeds: Sequence[int]) -> str:
    """The command that makes results again, or finds them done. Where the user's own data are, no result tells."""
    place = "PATH/TO/YOUR/DATA" if OWN_DATA.match(data) else data
    words = " ".join(map(str, sorted(seeds)))
    return f"python -m pipelines.study {study} --data {place} --scale {scale} --seeds {words}"
