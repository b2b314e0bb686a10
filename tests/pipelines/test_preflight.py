"""What can be known to fail is told before anything is started."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pipelines import preflight
from pipelines.stage import Stage
from workbench.presets.families import family
from workbench.registry import UserError
from workbench.spec import DataSpec, OracleSpec, TrialSpec, with_fields

TRIAL = family(DataSpec(), "smoke", family="ddpm_1000")
CONTINUOUS = family(DataSpec(), "smoke", family="diffusion")
MISTAKES: dict[str, tuple[TrialSpec, str]] = {
    "more steps than timesteps": (
        with_fields(TRIAL, {"source.model.schedule.timesteps": 10, "sampling.nfe": 20}),
        "steps: 20 given; a model of 10 timesteps takes no more",
    ),
    "a time grid of another name": (
        with_fields(CONTINUOUS, {"sampling.time_grid": "uniform_s"}),
        "time_grid: unknown name 'uniform_s'",
    ),
    "an oracle of another name": (
        replace(CONTINUOUS, source=OracleSpec(name="mixtures")),
        r"oracle\.name: unknown name 'mixtures'",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_what_cannot_be_drawn_starts_nothing(mistake: str) -> None:
    spec, line = MISTAKES[mistake]
    stage = Stage(kind="trial", body="", key="", name="", spec=spec, experiment="")
    with pytest.raises(UserError, match=line) as raised:
        preflight.check([stage], DataSpec(), None)
    assert "\n" not in str(raised.value)
