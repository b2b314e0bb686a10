"""Every page by AppTest: with results, without any, with failures, while a study runs, without a server."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest.mock import patch

import pandas as pd
import pytest
from fake_store import BASE, FakeSource, filled
from streamlit.testing.v1 import AppTest

import studies

APP = Path(__file__).parents[2] / "dashboard" / "app.py"
STUDY, FITS = "app_pages/study.py", "app_pages/fits.py"
Open = Callable[..., AppTest]


@pytest.fixture
def store(tmp_path: Path) -> FakeSource:
    return filled({name: studies.study(name) for name in studies.names()}, tmp_path)


@pytest.fixture
def opened() -> Iterator[Open]:
    """Opens a page of the app on a store."""
    patches = []

    def open_page(store: FakeSource, page: str = "", **query: str) -> AppTest:
        patches.append(patch("dashboard.source.current", return_value=store))
        patches[-1].start()
        app = AppTest.from_file(str(APP), default_timeout=60)
        for name, value in query.items():
            app.query_params[name] = value
        app.run()
        return app.switch_page(page).run() if page else app

    yield open_page
    for each in reversed(patches):
        each.stop()


def text_of(app: AppTest) -> str:
    kinds = (app.title, app.header, app.markdown, app.caption, app.info, app.warning, app.error, app.code)
    return "\n".join(str(element.value) for kind in kinds for element in kind)


def test_front_page_answers_every_question(store: FakeSource, opened: Open) -> None:
    app = opened(store)
    assert not app.exception
    text = text_of(app)
    for name in studies.names():
        study = studies.study(name)
        assert study.question in text
        for claim in study.claims:
            assert claim.text in text
    assert "supported" in text and "% sure" in text and "3 seeds" in text
    assert len(app.page_link) == len(studies.names())


def test_front_page_of_an_empty_store_says_what_to_run(opened: Open) -> None:
    app = opened(FakeSource())
    assert not app.exception
    text = text_of(app)
    assert "Nothing was executed yet" in text
    assert "python -m pipelines.study step_sweep" in text


@pytest.mark.parametrize("name", studies.names())
def test_study_page_shows_evidence_and_pictures(store: FakeSource, opened: Open, name: str) -> None:
    app = opened(store, STUDY, study=name)
    assert not app.exception
    assert app.title[0].value == studies.study(name).question
    assert f"python -m pipelines.study {name} --data digits --scale quick --seeds 0 1 2" in text_of(app)
    study = studies.study(name)
    compared, told = "family" in dict(study.arms[0]), study.primary == "error"
    # The claims, quality, time; and where there are such, the exact panel, the comparison of families, of ways to
    # classify the layers, evaluations, three confusion matrices and corruptions, and of networks what training cost.
    networks = len({dict(one).get("backbone") for one in study.arms} - {None})
    more = (study.oracle is not None) + 3 * compared + 7 * told + (networks > 0) + networks
    assert len(app.get("vega_lite_chart")) == len(study.claims) + 2 + more
    assert any("Likelihood" in text.value for text in app.markdown) == compared
    assert any("Latent space" in text.value for text in app.markdown) == compared
    assert len(app.get("image")) >= (1 if told else 3 + 4 * compared)
    assert all(element.proto.alt for element in app.get("vega_lite_chart"))


def test_runs_that_stored_no_latents_show_none(store: FakeSource, opened: Open) -> None:
    table = store.tables["why_diffusion"]
    for older in (table.drop(columns="interpolation"), table.assign(interpolation=None)):
        store.tables["why_diffusion"] = older
        app = opened(store, STUDY, study="why_diffusion")
        assert not app.exception
        assert not any("Latent space" in text.value for text in app.markdown)


def test_study_page_filters_its_table(store: FakeSource, opened: Open) -> None:
    app = opened(store, STUDY, study="step_sweep")
    table = next(t.value for t in app.dataframe if "sampler" in t.value)
    app.multiselect(key="only").set_value(["unipc"]).run()
    fewer = next(t.value for t in app.dataframe if "sampler" in t.value)
    assert set(fewer["sampler"]) == {"unipc"} and len(fewer) < len(table)
    app.text_input(key="contains").set_value("seed 1").run()
    one = next(t.value for t in app.dataframe if "sampler" in t.value)
    assert set(one["seed"]) == {1}
    assert one["run"].str.startswith("http://127.0.0.1:5000/#/experiments/").all()
    app.text_input(key="contains").set_value("nothing is called so").run()
    assert not app.exception and "No trial is like that." in text_of(app)


def test_slider_changes_the_pictures(store: FakeSource, opened: Open) -> None:
    app = opened(store, STUDY, study="step_sweep")
    assert "**DPM-Solver++ 2M** at 10" in text_of(app)
    app.select_slider(key="steps").set_value(1000.0).run()
    assert not app.exception
    text = text_of(app)
    assert "**DDPM ancestral** at 1000" in text and "not run at 1000" in text


def test_view_is_restored_from_its_address(store: FakeSource, opened: Open) -> None:
    app = opened(store, STUDY, study="diffusion_steps", measure="recognised")
    assert not app.exception
    assert app.selectbox(key="study").value == "diffusion_steps"


def test_quality_is_drawn_as_a_heat_map_when_asked(store: FakeSource, opened: Open) -> None:
    drawn = []
    for asked in ({}, {"drawn": "Heat map"}):
        app = opened(store, STUDY, study="patches", **asked)
        assert not app.exception
        drawn.append(sum("coloured cell" in chart.proto.alt for chart in app.get("vega_lite_chart")))
    assert drawn == [0, 1]
    assert any("the brighter, the better" in text.value for text in app.caption)


def test_failed_trials_are_rows_with_reasons(store: FakeSource, opened: Open) -> None:
    table = store.tables["step_sweep"]
    table.loc[table.index[:2], ["status", "reason"]] = ["FAILED", "loss is not finite"]
    app = opened(store, STUDY, study="step_sweep")
    assert not app.exception
    assert any("loss is not finite" in str(t.value.to_csv()) for t in app.dataframe)
    assert any("2 trials did not finish" in e.label for e in app.expander)


@pytest.mark.parametrize("name", ["step_sweep", "backbones"])
def test_only_failures_still_make_a_page(store: FakeSource, opened: Open, name: str) -> None:
    store.tables[name] = store.tables[name].head(3).assign(status="FAILED", reason="the disk is full")
    for page in ("", STUDY):
        app = opened(store, page, study=name)
        assert not app.exception
    assert "no finished trial" in text_of(app)


def test_a_study_of_families_makes_a_page_from_its_first_family(store: FakeSource, opened: Open) -> None:
    table = store.tables["why_diffusion"]
    for part in (table[table["budget"] < 1], table[table["family"] == "vae"]):
        store.tables["why_diffusion"] = part
        assert not opened(store, STUDY, study="why_diffusion").exception


def test_a_running_study_shows_its_progress(store: FakeSource, opened: Open) -> None:
    store.tables["step_sweep"] = store.tables["step_sweep"].head(100)
    row = {
        "run_id": "now",
        "status": "RUNNING",
        "started": BASE,
        "data": "digits",
        "scale": "quick",
        "seeds": "0 1 2",
        "trials": 280,
    }
    store.runs["step_sweep"] = pd.DataFrame([row])
    app = opened(store)
    assert not app.exception
    assert any("100 of 280 trials" in bar.text for bar in app.get("progress"))
    store.runs["step_sweep"] = pd.DataFrame([row | {"seeds": "3 4"}])
    assert any("0 of 280 trials" in bar.text for bar in opened(store).get("progress"))
    assert not opened(store, STUDY, study="step_sweep").exception


def test_unreachable_server_is_one_clear_line(opened: Open) -> None:
    app = opened(FakeSource(trouble="No MLflow server answers at http://127.0.0.1:1 (refused)."))
    assert not app.exception and len(app.error) == 1
    assert "No MLflow server answers" in app.error[0].value and "\n" not in app.error[0].value
    assert not app.title


def test_a_real_server_that_does_not_answer_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
    app = AppTest.from_file(str(APP), default_timeout=60).run()
    assert not app.exception and len(app.error) == 1
    assert f"No MLflow server answers at http://127.0.0.1:{port}" in app.error[0].value


def test_fits_page_shows_curves_and_cost(store: FakeSource, opened: Open) -> None:
    app = opened(store, FITS)
    assert not app.exception
    assert any(m.value == "3 of 3" for m in app.metric)
    assert len(app.get("vega_lite_chart")) == 1
    assert not opened(FakeSource(), FITS).exception
    begun = store.fit_table.head(1).assign(run_id="begun", status="RUNNING", data=None, scale=None)
    store.fit_table = pd.concat([begun, store.fit_table], ignore_index=True)
    assert any(m.value == "3 of 3" for m in opened(store, FITS).metric)
    store.fit_table = begun
    assert not opened(store, FITS).exception


def test_fits_page_counts_a_training_that_went_on_once(store: FakeSource, opened: Open) -> None:
    first = store.fit_table.head(1)
    longer = first.assign(run_id="longer", continued_from=first["run_id"].item(), fit_seconds=100.0)
    gone = first.assign(run_id="other", continued_from="a run that was cut short", fit_seconds=10.0)
    store.fit_table = pd.concat([first, longer, gone], ignore_index=True)
    shown = {m.label: m.value for m in opened(store, FITS).metric}
    assert shown["Training time, sum"] == "1 min 50 s"


@pytest.mark.parametrize("page", ["", STUDY, FITS])
def test_missing_pictures_do_not_break_a_page(store: FakeSource, opened: Open, page: str) -> None:
    with patch.object(FakeSource, "artifact", side_effect=OSError("gone")):
        assert not opened(store, page).exception
