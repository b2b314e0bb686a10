"""A study of a model whose weights begin with those of another fit: what is run, what it costs, what is refused."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import pandas as pd
import pytest

import studies
from pipelines import names, pictures, preflight, results, study
from pipelines.plan import Stage, plan
from pipelines.tracking import Tracking
from workbench.registry import UserError
from workbench.spec import (
    BackboneSpec,
    DataSpec,
    DiffusionSpec,
    LatentDiffusionSpec,
    Study,
    TrialSpec,
    with_fields,
)

COMMAND = ["why_diffusion", "--scale", "smoke", "--seeds", "0", "--executor", "inline"]


def small() -> Study:
    """The study with latent diffusion alone, under a name of its own."""
    whole = studies.study("why_diffusion")
    few = tuple(arm for arm in whole.smoke_arms if dict(arm)["family"] == "latent_diffusion")
    return dataclasses.replace(whole, name="latent_alone", smoke_arms=few, claims=())


def stage_of(kind: str) -> Stage:
    """The fit of latent diffusion, or its trial."""
    for stage in plan(small(), DataSpec(), "smoke", (0,)).stages:
        if stage.kind == kind and (kind != "fit" or isinstance(stage.spec.model, LatentDiffusionSpec)):
            return stage
    raise AssertionError(kind)


@pytest.fixture(scope="module")
def executed(uri: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[pd.Series]:
    with pytest.MonkeyPatch.context() as patch:
        one = small()
        patch.setattr(studies, "study", lambda name: one)
        patch.setenv("MLFLOW_TRACKING_URI", uri)
        patch.setenv("WORKBENCH_STATE", str(tmp_path_factory.mktemp("state")))
        assert study.main(COMMAND) == 0
        yield results.trials(uri, one.name).iloc[0]


def test_seconds_and_parameters_of_the_autoencoder_are_counted_in(uri: str, executed: pd.Series) -> None:
    fits = results.fits(uri).set_index("key")
    outer = fits.loc[stage_of("fit").key]
    (inner,) = (fits.loc[key] for key in stage_of("fit").needs)
    assert executed["status"] == "FINISHED"
    assert executed["fit_seconds"] == pytest.approx(outer["fit_seconds"] + inner["fit_seconds"])
    assert executed["fit_seconds"] > outer["fit_seconds"] > 0
    assert executed["parameters"] == outer["parameters"] > 2 * inner["parameters"]
    assert executed["fit_run_id"] == outer["run_id"]


def test_the_trial_keeps_pictures_of_latents(uri: str, executed: pd.Series) -> None:
    assert executed["interpolation"] == "linear"
    assert executed["nfe_counted"] == 20
    found = pictures.read_latent(results.artifact(uri, executed["run_id"], "latent.npz"))
    assert len(found.images) == len(found.reconstructions) == 30
    listed = [info.path for info in Tracking(uri).client.list_artifacts(executed["run_id"], "images")]
    for name in ("samples", "reconstructions", "interpolations"):
        assert any(name in path for path in listed), (name, listed)


@pytest.mark.parametrize(
    ("kind", "path"),
    [("fit", "model.autoencoder.data.name"), ("trial", "source.model.autoencoder.data.name")],
)
def test_an_autoencoder_of_other_data_starts_nothing(kind: str, path: str) -> None:
    stage = stage_of(kind)
    wrong = dataclasses.replace(stage, spec=with_fields(stage.spec, {path: "fashion_mnist"}))
    with pytest.raises(UserError, match="'fashion_mnist', where the latents of 'digits'"):
        preflight.check([wrong], DataSpec(), None)


def test_what_latents_cannot_be_drawn_with_starts_nothing() -> None:
    stage = stage_of("trial")
    assert isinstance(stage.spec, TrialSpec)
    for fields, words in (({"sampling.clip": True}, "latents have no range"), ({"sampling.nfe": 0}, "nfe")):
        wrong = dataclasses.replace(stage, spec=with_fields(stage.spec, fields))
        with pytest.raises(UserError, match=words):
            preflight.check([wrong], DataSpec(), None)


def test_a_network_that_fits_in_no_memory_starts_nothing() -> None:
    stage = stage_of("fit")
    wide = DiffusionSpec(backbone=BackboneSpec(width=320_000))
    huge = dataclasses.replace(stage, spec=dataclasses.replace(stage.spec, model=wide))
    with pytest.raises(UserError, match=r"model\.backbone: its weights alone take .* GiB in training"):
        preflight.check([huge], DataSpec(), None)
    assert preflight.check([stage], DataSpec(), None).memory[stage.key] > preflight.PROCESS_BYTES


def test_the_parameters_of_a_fit_tell_its_autoencoder() -> None:
    params = dict(stage_of("fit").params)
    assert params["model.autoencoder.model.latent"] == "spatial"
    assert names.param_value(params["model.autoencoder.budget.images_seen"]) == 1_000
