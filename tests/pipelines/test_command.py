"""The command line: mistakes in one line with the nearest known name, and what --help, --list and --dry-run say."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

import studies
from pipelines import study
from pipelines.request import Arguments


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WORKBENCH_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")  # nothing answers there


MISTAKES = {
    "an unknown study": (["step_swep"], "Did you mean 'step_sweep'?"),
    "no study": (
        [],
        "study: none given; known: backbones, diffusion_steps, features, hierarchy, patches, step_sweep, why_diffusion",
    ),
    "an unknown option": (["step_sweep", "--sedes", "0"], "Did you mean '--seeds'?"),
    "a word too many": (["step_sweep", "quick"], "'quick' is one too many"),
    "an unknown scale": (["step_sweep", "--scale", "quik"], "Did you mean 'quick'?"),
    "an unknown executor": (["step_sweep", "--executor", "inlin"], "Did you mean 'inline'?"),
    "an unknown data set": (["step_sweep", "--data", "fashon_mnist"], "Did you mean 'fashion_mnist'?"),
    "a path that is not there": (["step_sweep", "--data", "./nowhere"], "does not exist"),
    "a seed that is no number": (["step_sweep", "--seeds", "x"], "Error parsing --seeds"),
    "a negative seed": (["step_sweep", "--seeds", "-1"], "seeds"),
    "a seed twice": (["step_sweep", "--seeds", "1", "1"], "seeds: 1 1 given"),
    "an option without its value": (["step_sweep", "--data"], "Missing value for argument '--data'"),
    "a cluster for no cluster": (
        ["step_sweep", "--executor", "inline", "--address", "auto"],
        "address: the inline executor",
    ),
    "fewer CPUs than none": (["step_sweep", "--fit-cpus", "-1"], "fit-cpus: -1 given"),
    "an MLflow server that is away": (["step_sweep", "--scale", "smoke"], "no MLflow server answers"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_told_in_one_line_with_the_traceback_in_a_file(
    mistake: str, capsys: pytest.CaptureFixture[str]
) -> None:
    argv, expected = MISTAKES[mistake]
    assert study.main(argv) == 2
    told = capsys.readouterr()
    assert told.out == ""
    (line,) = told.err.splitlines()
    assert line.startswith("error: ")
    assert expected in line
    log = Path(line.rpartition("(details: ")[2].removesuffix(")"))
    assert "Traceback" in log.read_text()


def test_a_cluster_that_is_not_there_is_told_before_anything_is_run(
    uri: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    argv = ["step_sweep", "--scale", "smoke", "--seeds", "77", "--address", "127.0.0.1:9"]
    assert study.main(argv) == 2
    assert "address: no Ray cluster can be joined at 127.0.0.1:9" in capsys.readouterr().err


def test_every_study_is_listed_with_its_question(capsys: pytest.CaptureFixture[str]) -> None:
    assert study.main(["--list"]) == 0
    listed = capsys.readouterr().out
    for name in studies.names():
        assert f"{name} " in listed
        assert studies.study(name).question in listed


def test_help_explains_each_option_with_its_default(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        study.main(["--help"])
    assert end.value.code == 0
    text = capsys.readouterr().out
    for field in dataclasses.fields(Arguments):
        if field.name != "study":
            assert f"--{field.name.replace('_', '-')}" in text
    assert text.count("(default:") == len(dataclasses.fields(Arguments))


def test_a_plan_of_own_data_is_shown_and_nothing_is_run(
    uri: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (400, 8, 8), dtype=np.uint8)
    np.savez(tmp_path / "own.npz", images=images, labels=np.arange(400) % 2)
    argv = ["diffusion_steps", "--scale", "smoke", "--data", str(tmp_path / "own.npz"), "--dry-run"]
    assert study.main(argv) == 0
    shown = capsys.readouterr().out
    assert "data npz-" in shown
    assert shown.count("to do ") >= 12
    assert "trained" not in shown
