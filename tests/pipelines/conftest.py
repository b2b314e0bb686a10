"""A real MLflow server for all tests of the pipelines, and stages to run on it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import pytest

from pipelines import lifetime, stack
from pipelines.stage import Stage
from pipelines.tracking import Tracking
from pipelines.work import Setting

_numbers = itertools.count()


@pytest.fixture(scope="session")
def uri(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.setenv("WORKBENCH_SCRATCH", str(tmp_path_factory.mktemp("scratch")))
        with stack.tracking_server(tmp_path_factory.mktemp("state")) as address:
            yield address


@pytest.fixture
def tracking(uri: str) -> Tracking:
    return Tracking(uri)


@pytest.fixture
def experiment(tracking: Tracking) -> str:
    return tracking.experiment(f"test {next(_numbers)}")


@pytest.fixture
def setting(tracking: Tracking, experiment: str) -> Setting:
    execution = tracking.start(experiment, "execution", lifetime.execution_tags())
    return Setting(tracking_uri=tracking.uri, execution=execution)


@pytest.fixture
def stage(experiment: str) -> Callable[..., Stage]:
    """Makes stages of the experiment with bodies from `bodies`."""

    def make(body: str, key: str = "", *, needs: tuple[str, ...] = (), work: float = 0.0) -> Stage:
        name = key or f"stage {next(_numbers)}"
        return Stage(
            kind="trial",
            body=f"bodies:{body}",
            key=name,
            name=name,
            spec=None,
            experiment=experiment,
            needs=needs,
            params=(("name", name),),
            work=work,
        )

    return make
