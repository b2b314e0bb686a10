"""Answer sheets from a made-up store: what they say, that their figures are there, and what they refuse."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree as ET

import pandas as pd
import pytest
from fake_store import FakeSource, filled, trial_rows
from PIL import Image

import studies
from pipelines import answer, report, results, verdict
from pipelines.axes import axes_of
from pipelines.verdict import Answer, Decision
from workbench.registry import UserError


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSource:
    store = filled({name: studies.study(name) for name in studies.names()}, tmp_path)
    monkeypatch.setattr(results, "trials", lambda uri, study: store.trials(study))
    monkeypatch.setattr(results, "executions", lambda uri, study: store.executions(study))
    table = store.fits()
    monkeypatch.setattr(results, "fits", lambda uri, run_ids: table[table["run_id"].isin(run_ids)])
    monkeypatch.setattr(results, "artifact", lambda uri, run_id, name: store.artifact(run_id, name))
    return store


@pytest.mark.parametrize("name", studies.names())
def test_page_says_what_was_asked_found_and_how_to_repeat_it(
    store: FakeSource, tmp_path: Path, name: str
) -> None:
    study = studies.study(name)
    (path,) = report.write(study, "http://nowhere", tmp_path / "out")
    assert path.name == f"{name}-digits-quick.md"
    text = path.read_text()
    assert text.startswith(f"# {study.question}\n")
    for part in (
        study.expectation,
        study.how_to_read,
        *study.caveats,
        *(claim.text for claim in study.claims),
    ):
        assert part in text
    assert f"python -m pipelines.study {name} --data digits --scale quick --seeds 0 1 2" in text
    assert ("*real against real*" in text) == (study.primary != "error")
    assert "3 fits: 250,000 parameters" in text
    assert "nan" not in text.lower().replace("fashion", "") and "None" not in text


def test_every_figure_that_a_page_shows_is_there(store: FakeSource, tmp_path: Path) -> None:
    (path,) = report.write(studies.study("step_sweep"), "http://nowhere", tmp_path / "out")
    shown = re.findall(r"!\[([^\]]+)\]\(([^)]+)\)", path.read_text())
    assert {Path(file).name for _, file in shown} >= {
        "quality.svg",
        "time.svg",
        "oracle.svg",
        "sheet.png",
        "way.png",
    }
    assert all(words for words, _ in shown)
    for _, file in shown:
        figure = path.parent / file
        if figure.suffix == ".svg":
            assert ET.parse(figure).getroot().tag.endswith("svg")
        else:
            with Image.open(figure) as image:
                image.verify()


def test_families_with_an_encoder_show_their_latents(store: FakeSource, tmp_path: Path) -> None:
    (path,) = report.write(studies.study("why_diffusion"), "http://nowhere", tmp_path / "out")
    text = path.read_text()
    section = text[text.index("### Latent space") :]
    assert "**VAE**, 1, spherical interpolation" in section
    assert "**Latent diffusion**, 1, linear interpolation" in section
    for kind in ("reconstructions", "interpolations"):
        with Image.open(path.parent / path.stem / f"{kind}-1.png") as image:
            assert image.width > 200
    (other,) = report.write(studies.study("step_sweep"), "http://nowhere", tmp_path / "out")
    assert "Latent space" not in other.read_text()


def test_pages_without_pictures_are_still_written(
    store: FakeSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(uri: str, run_id: str, name: str) -> Path:
        raise OSError("gone")

    monkeypatch.setattr(results, "artifact", gone)
    (path,) = report.write(studies.study("step_sweep"), "http://nowhere", tmp_path / "out")
    assert "## Verdict" in path.read_text() and "## Pictures" not in path.read_text()


def test_a_page_for_each_data_set_and_smoke_only_when_asked(store: FakeSource, tmp_path: Path) -> None:
    study = studies.study("diffusion_steps")
    more = [trial_rows(study, data="fashion_mnist", scale="standard"), trial_rows(study, scale="smoke")]
    store.tables[study.name] = pd.concat([store.tables[study.name], *more], ignore_index=True)
    names = {path.name for path in report.write(study, "", tmp_path / "out")}
    assert names == {"diffusion_steps-digits-quick.md", "diffusion_steps-fashion_mnist-standard.md"}
    (one,) = report.write(study, "", tmp_path / "out", scale="smoke")
    assert one.name == "diffusion_steps-digits-smoke.md"


def test_failed_trials_are_told(store: FakeSource, tmp_path: Path) -> None:
    table = store.tables["step_sweep"]
    table.loc[table.index[0], ["status", "reason"]] = ["FAILED", "loss is not finite"]
    (path,) = report.write(studies.study("step_sweep"), "", tmp_path / "out")
    text = path.read_text()
    assert "Trials that did not finish" in text and "loss is not finite" in text


def test_wrong_names_are_refused_with_the_nearest(store: FakeSource, tmp_path: Path) -> None:
    study = studies.study("step_sweep")
    with pytest.raises(UserError, match="Did you mean 'digits'"):
        report.write(study, "", tmp_path, data="digit")
    with pytest.raises(UserError, match="Did you mean 'quick'"):
        report.write(study, "", tmp_path, scale="quik")
    store.tables.clear()
    with pytest.raises(UserError, match="no finished trial"):
        report.write(study, "", tmp_path)


def test_command_line_tells_mistakes_in_one_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORKBENCH_STATE", str(tmp_path))
    for arguments, expected in (([], "none given"), (["step_swep"], "Did you mean 'step_sweep'")):
        assert report.main(arguments) == 2
        told = capsys.readouterr().err
        assert expected in told and told.count("\n") == 1


def test_summary_counts_answers() -> None:
    answers: list[Answer] = ["supported", "supported", "refuted", "inconclusive"]
    decisions = [Decision(claim=str(i), answer=one) for i, one in enumerate(answers)]
    expected = "Of 4 claims 2 are supported, 1 is refuted, 1 is inconclusive."
    assert answer.summary_line(decisions) == expected


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (1.2345, "1.23"), (0.012345, "0.0123"), (12345.6, "12,346"), (-0.5, "-0.500")],
)
def test_numbers_have_three_digits(value: float, text: str) -> None:
    assert answer.number(value) == text


def test_tables_hold_what_the_rows_hold(store: FakeSource) -> None:
    study = studies.study("step_sweep")
    rows = verdict.at(store.tables["step_sweep"], "digits", "quick")
    ddpm = rows[(rows["panel"] == "network") & (rows["sampler"] == "ddpm") & (rows["nfe"] == 50)]
    text = answer.measures_table(study, axes_of(study), rows, ["recognised"])
    heads, _, *lines = text.splitlines()
    assert heads == "| arm | Recognised as its class (higher is better) |"
    mean = answer.number(ddpm["recognised"].mean())
    assert any(line.startswith(f"| DDPM ancestral, nfe 50 | {mean} ± ") for line in lines)
    assert lines[-1] == "| *real against real* | 0.980 |"
