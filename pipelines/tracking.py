"""Everything that is said to MLflow, through MlflowClient with explicit ids: no global run, no global experiment."""

from __future__ import annotations

import hashlib
import json
import math
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from mlflow.entities import Experiment, Metric, Param, Run, RunTag, ViewType
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repo import ArtifactRepository
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.utils.credentials import get_default_host_creds
from mlflow.utils.rest_utils import http_request
from PIL.Image import Image

from pipelines import names, scratch
from pipelines.client import client
from pipelines.plan import Plan
from pipelines.stage import Done
from workbench.registry import UserError

PAGE = 1000
PLACE = ("data", "scale", "panel")  # parameters that tell which table a trial belongs to
BATCH_METRICS, BATCH_PARAMS = 1000, 100  # what one request to MLflow may hold
ANSWER_SECONDS = 5.0
CHUNK_BYTES = 1 << 20


class Damaged(RuntimeError):
    """What MLflow holds is not what was uploaded."""


def require_server(uri: str) -> None:
    """Raises UserError unless an MLflow server answers at `uri`."""
    if not uri.startswith(("http://", "https://")):
        raise UserError(
            f"tracking URI: {uri!r} given; the http address of an MLflow server is needed, since several processes "
            "write at once"
        )
    try:
        with urllib.request.urlopen(uri.rstrip("/") + "/health", timeout=ANSWER_SECONDS):
            return
    except urllib.error.HTTPError:
        return  # it answers; whether it lets us in is told by the first request
    except (OSError, ValueError) as error:
        raise UserError(
            f"tracking URI: no MLflow server answers at {uri} ({error}); start it, or unset MLFLOW_TRACKING_URI to use "
            "the local one"
        ) from error


def digest_of(path: Path) -> str:
    """The sha256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Tracking:
    """A tracking server, by its URI."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self.client = client(uri)
        self._artifacts: dict[str, ArtifactRepository] = {}

    # -- experiments and searches

    def experiment(self, name: str, note: str = "") -> str:
        """The id of the experiment of that name, made where it does not exist. Its note is brought up to date."""
        found = self.client.get_experiment_by_name(name)
        if found is None:
            tags = {names.TAG_OWNER: names.WORKBENCH, names.TAG_NOTE: note}
            try:
                return str(self.client.create_experiment(name, tags=tags))
            except MlflowException:  # another process was faster
                found = self.client.get_experiment_by_name(name)
                if found is None:
                    raise
        if found.lifecycle_stage == "deleted":
            self.client.restore_experiment(found.experiment_id)
        self._annotate(found, note)
        return str(found.experiment_id)

    def _annotate(self, experiment: Experiment, note: str) -> None:
        for tag, value in ((names.TAG_OWNER, names.WORKBENCH), (names.TAG_NOTE, note)):
            if value and experiment.tags.get(tag) != value:
                self.client.set_experiment_tag(experiment.experiment_id, tag, value)

    def search(self, experiments: Sequence[str], condition: str) -> Iterator[Run]:
        """All runs that meet the condition, newest first."""
        token: str | None = None
        while True:
            page = self.client.search_runs(
                list(experiments),
                condition,
                run_view_type=ViewType.ACTIVE_ONLY,
                max_results=PAGE,
                order_by=["attributes.start_time DESC"],
                page_token=token,
            )
            yield from page
            token = page.token
            if not token:
                return

    def runs(self, experiments: Sequence[str]) -> list[Run]:
        """All runs that this program made in the experiments, newest first."""
        return list(self.search(experiments, f"tags.`{names.TAG_KIND}` != ''"))

    def mark_superseded(self, runs: Iterable[Run], plan: Plan) -> None:
        """Mark the trials of `runs` that the study asked for once and, at this data set and scale, does no longer;
        take the mark from those that it asks for again. Trials that differ in their seeds alone go together."""
        generations: dict[tuple[str, ...], set[str]] = {}
        for stage in plan.stages:
            if stage.kind == "trial":
                params = dict(stage.params)
                place = (stage.experiment, *(params[name] for name in PLACE))
                generations.setdefault(place, set()).add(dict(stage.tags)[names.TAG_GENERATION])
        for run in runs:
            place = (run.info.experiment_id, *(run.data.params.get(name, "") for name in PLACE))
            if run.data.tags[names.TAG_KIND] != "trial" or place not in generations:
                continue
            superseded = run.data.tags.get(names.TAG_GENERATION) not in generations[place]
            if superseded != bool(run.data.tags.get(names.TAG_SUPERSEDED)):
                self.client.set_tag(run.info.run_id, names.TAG_SUPERSEDED, "yes" if superseded else "")

    # -- the life of a run

    def start(self, experiment: str, name: str, tags: Mapping[str, str]) -> str:
        """A new RUNNING run; returns its id."""
        run = self.client.create_run(experiment, run_name=name, tags=dict(tags))
        run_id = str(run.info.run_id)
        self._artifacts[run_id] = get_artifact_repository(run.info.artifact_uri, tracking_uri=self.uri)
        return run_id

    def log(
        self,
        run_id: str,
        *,
        metrics: Mapping[str, float] | None = None,
        params: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
        curves: Iterable[tuple[str, int, float]] = (),
    ) -> None:
        """Metrics, parameters, tags and curves (name, step, value) in as few requests as MLflow allows.

        Values that are not finite are left out: MLflow would store infinities as 1.8e308.
        """
        now = int(time.time() * 1000)
        points = [*((name, 0, value) for name, value in (metrics or {}).items()), *curves]
        entries = [Metric(name, value, now, step) for name, step, value in points if math.isfinite(value)]
        texts = [Param(name, value[:6000]) for name, value in (params or {}).items()]
        labels = [RunTag(name, value) for name, value in (tags or {}).items()]
        while entries or texts or labels:
            head = BATCH_METRICS - BATCH_PARAMS - len(labels)  # a request may hold 1,000 things in all
            self.client.log_batch(run_id, metrics=entries[:head], params=texts[:BATCH_PARAMS], tags=labels)
            entries, texts, labels = entries[head:], texts[BATCH_PARAMS:], []

    def end(self, run_id: str, status: str, reason: str = "") -> None:
        """Set the final status of a run: FINISHED, FAILED or KILLED, the latter two with their reason."""
        self.client.set_terminated(run_id, status)  # first: it needs no space on a full disk
        if reason:
            self.client.set_tag(run_id, names.TAG_REASON, reason[:4000])
        self._artifacts.pop(run_id, None)

    def end_running(self, experiments: Sequence[str], execution: str, reason: str, key: str = "") -> int:
        """KILL what an execution (or one stage of it) left RUNNING; returns how many runs that were."""
        condition = f"attributes.status = 'RUNNING' and tags.`{names.TAG_EXECUTION}` = '{execution}'"
        condition += f" and tags.`{names.TAG_KEY}` = '{key}'" if key else ""
        runs = list(self.search(experiments, condition))
        for run in runs:
            self.client.set_terminated(run.info.run_id, "KILLED")
        for run in runs:
            self.client.set_tag(run.info.run_id, names.TAG_REASON, reason[:4000])
        return len(runs)

    # -- artifacts

    def upload(self, run_id: str, folder: Path) -> dict[str, str]:
        """Upload all files of `folder`, read them back and compare; returns {name: sha256}. Raises Damaged."""
        files = sorted(path for path in folder.iterdir() if path.is_file())
        repository = self._repository(run_id)
        for path in files:
            repository.log_artifact(str(path))
        digests = {path.name: digest_of(path) for path in files}
        for name, digest in digests.items():
            if self._digest_stored(repository, name) != digest:
                raise Damaged(
                    f"artifact {name} of run {run_id} reads back differently from what was uploaded"
                )
        return digests

    def image(self, run_id: str, name: str, image: Image) -> None:
        """Have MLflow show a picture among the charts of a run, and of several runs side by side."""
        self.client.log_image(run_id, image, key=name, step=0)

    def fetch(self, run_id: str, name: str, digest: str) -> Path:
        """A local copy of an artifact, from the scratch directory if it is there. Raises Damaged."""
        target = scratch.directory() / "digests" / digest[:2] / f"{digest}{Path(name).suffix}"
        if not target.is_file() or digest_of(target) != digest:
            with scratch.arriving(target) as folder:
                path = Path(self.client.download_artifacts(run_id, name, str(folder)))
                if digest_of(path) != digest:
                    raise Damaged(f"artifact {name} of run {run_id} is not what was uploaded; delete the run")
                path.replace(target)
        scratch.touch(target)
        return target

    def delete_artifacts(self, run_id: str, prefix: str) -> None:
        """Delete the artifacts of a run whose names start with `prefix`. Raises what the artifact store raises, some of
        which cannot delete."""
        repository = self._repository(run_id)
        for info in repository.list_artifacts():
            if info.path.startswith(prefix):
                repository.delete_artifacts(info.path)

    def _repository(self, run_id: str) -> ArtifactRepository:
        if run_id not in self._artifacts:
            uri = self.client.get_run(run_id).info.artifact_uri
            self._artifacts[run_id] = get_artifact_repository(uri, tracking_uri=self.uri)
        return self._artifacts[run_id]

    def _digest_stored(self, repository: ArtifactRepository, name: str) -> str:
        if not repository.artifact_uri.startswith("http"):
            return digest_of(Path(repository.download_artifacts(name)))
        # The repository's own download lists the folder first and writes a file: twice the time of this.
        digest = hashlib.sha256()
        credentials = get_default_host_creds(repository.artifact_uri)
        with http_request(credentials, f"/{name}", "GET", stream=True) as response:
            response.raise_for_status()
            for chunk in response.iter_content(CHUNK_BYTES):
                digest.update(chunk)
        return digest.hexdigest()


def done_from(run: Run) -> Done:
    """What later stages need to know of a finished run."""
    artifacts = json.loads(run.data.tags.get(names.TAG_ARTIFACTS, "{}"))
    return Done(run.info.run_id, artifacts, dict(run.data.metrics))
