"""The answer sheet of a study: `python -m pipelines.report step_sweep` writes a page from what MLflow holds.

One page for each data set and scale that has results, `<study>-<data>-<scale>.md`, with its figures (SVG) and pictures
(PNG) in a folder of the same name beside it.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pandas as pd
import tyro
import vl_convert
from mlflow.exceptions import MlflowException

import studies
from pipelines import (
    album,
    answer,
    architecture,
    command,
    figures,
    heatmap,
    names,
    pictures,
    results,
    servers,
    stack,
    trilemma,
    verdict,
)
from pipelines.axes import (
    Axes,
    at_facet,
    axes_of,
    by_size,
    cost_of,
    facets_of,
    finished,
    has_floor,
    measures_of,
    training_costs,
)
from pipelines.recognition.pages import parts as recognition_parts
from pipelines.tracking import require_server
from pipelines.verdict import Decision
from pipelines.vocabulary import axis_title, field, in_text, measure, word
from workbench.registry import UserError, unknown
from workbench.spec import SCALES, Scale, Study

PROGRAM = "python -m pipelines.report"
INTERVALS = (
    "The estimates are paired over training seeds; the intervals are Student's t over seeds, each for its claim alone. "
    "How sure: the level of the widest interval that is still clear of what was claimed."
)
QUALITY = "Large marks: mean over seeds; small marks: each seed; bars: 95 % intervals, cut where they leave the picture"
FLOOR = "; dashed: real images against real images at the same number"


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Write the answer sheet of a study from the results that MLflow holds. Nothing is run."""

    study: tyro.conf.Positional[str] = ""
    """The study; `python -m pipelines.study --list` names them all."""
    data: str = ""
    """Only this data set. None given: every one that has results."""
    scale: str = ""
    """Only this scale. None given: every one that has results, smoke only where there is no other."""
    tracking_uri: str = ""
    """The MLflow server. Not given: MLFLOW_TRACKING_URI, else the local one."""
    out: Path = Path("docs/answers")
    """Where to write."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns its exit status: 0, 2 for a mistake of the user's."""

    def run() -> int:
        arguments = command.parse(Arguments, argv, program=PROGRAM)
        if not arguments.study:
            raise UserError(f"study: none given; known: {', '.join(studies.names())}")
        study = studies.study(arguments.study)
        asked = arguments.tracking_uri
        with contextlib.nullcontext(asked) if asked else stack.tracking_server() as uri:
            require_server(uri)
            for path in write(study, uri, arguments.out, data=arguments.data, scale=arguments.scale):
                print(path)
        return 0

    return command.guarded(run, program=PROGRAM, log_folder=lambda: servers.state_directory() / "logs")


def write(study: Study, uri: str, out: Path, *, data: str = "", scale: str = "") -> list[Path]:
    """Write the pages of a study; returns their paths. Raises UserError where there is nothing to write about."""
    table = results.trials(uri, study.name)
    have = verdict.slices(table[table["status"] == "FINISHED"])
    if not have:
        raise UserError(
            f"study: {study.name!r} has no finished trial at {uri}; run `python -m pipelines.study {study.name}` first"
        )
    if data and data not in {one for one, _ in have}:
        raise unknown("data", data, {one for one, _ in have})
    if scale and scale not in {one for _, one in have}:
        raise unknown("scale", scale, {one for _, one in have})
    wanted = [one for one in have if (not data or one[0] == data) and (not scale or one[1] == scale)]
    wanted = [one for one in wanted if scale or one[1] != "smoke"] or wanted
    if not wanted:
        raise UserError(f"scale: {study.name!r} has no finished trial of {data} at {scale}")
    return [_write_page(study, uri, out, table, *one) for one in wanted]


def _write_page(study: Study, uri: str, out: Path, table: pd.DataFrame, data: str, scale: str) -> Path:
    rows = verdict.at(table, data, scale)
    network = rows[rows["panel"] == "network"]
    across = axes_of(study)
    decisions = verdict.decide(study, network)
    name = f"{study.name}-{data}-{scale}"
    folder = out / name
    folder.mkdir(parents=True, exist_ok=True)
    page = Page(study=study, uri=uri, folder=folder, rows=rows, axes=across)
    text = "\n\n".join(part for part in page.parts(decisions, data, scale) if part)
    path = out / f"{name}.md"
    path.write_text(text + "\n")
    return path


@dataclass(frozen=True, kw_only=True)
class Page:
    """One answer sheet: the rows that it is about, and the folder of its figures."""

    study: Study
    uri: str
    folder: Path
    rows: pd.DataFrame
    axes: Axes

    def parts(self, decisions: Sequence[Decision], data: str, scale: str) -> list[str]:
        """The page from top to bottom, as paragraphs of Markdown."""
        study, rows, across = self.study, self.rows, self.axes
        network = rows[rows["panel"] == "network"]
        seeds = sorted(int(seed) for seed in network["seed"].dropna().unique())
        last = network["ended"].max()
        made = f"Data {data}, scale {scale}, {len(seeds)} training seeds, {len(rows)} trials"
        made += f", last result {last:%Y-%m-%d}." if pd.notna(last) else "."
        fits = network.get("fit_run_id", pd.Series(dtype=str)).dropna().unique().tolist()
        bad = answer.failures(rows)
        command_line = names.study_command(study.name, data, scale, seeds)
        primary, shown, facets = study.primary, at_facet(rows, across), facets_of(rows, across)
        return [
            f"# {study.question}",
            f"**{answer.summary_line(decisions)}** {made}",
            f"Expected: {study.expectation}",
            "## Verdict",
            answer.verdict_table(study, decisions),
            self._claims_figure(decisions),
            INTERVALS,
            answer.remarks(decisions),
            answer.second_opinion(study, verdict.second_opinions(study, network)),
            *self._quality_parts(),
            "## Quality against time" + (f", {word(facets[0])}" if facets else ""),
            self._figure(
                "time",
                lambda: figures.cost_chart(shown, across, primary, cost=cost_of(shown)),
                "Quality against seconds",
            ),
            f"Dotted: the Pareto front, the arms that no other beats in both. {answer.timing(rows)}",
            *self._training_parts(),
            self._size_part(),
            self._oracle_part(),
            self._trilemma_part(),
            *recognition_parts(shown, across, self._figure, self.folder, self._artifact),
            *self._architecture_parts(data, next(one for one in SCALES if one == scale)),
            *album.parts(shown, across, self.folder, self._artifact),
            "## Other measures",
            answer.measures_table(study, across, rows, measures_of(study, rows)[1:]),
            "Mean ± standard deviation over training seeds.",
            "## What was run and how",
            study.how_to_read,
            answer.fit_lines(results.fits(self.uri, fits)),
            self._environment(data, scale),
            f"### Trials that did not finish\n\n{bad}" if bad else "",
            "## Caveats",
            "\n".join(f"- {caveat}" for caveat in study.caveats),
            "## Make it again",
            f"```bash\n{command_line}\npython -m pipelines.report {study.name} --data {data} --scale {scale}\n```",
        ]

    def _quality_parts(self) -> list[str]:
        """The primary measure against x, for one facet after the other."""
        across, primary = self.axes, self.study.primary
        how = QUALITY + (FLOOR if has_floor(self.rows, primary) else "")
        parts = [f"## Quality against {in_text(across.x)}", f"{measure(primary).meaning} {how}."]
        for facet in facets_of(self.rows, across) or [""]:
            rows = at_facet(self.rows, across, facet)
            name, title = "-".join(filter(None, ("quality", facet))), axis_title(primary)
            parts += [
                f"### {field(str(across.facet))} {word(facet)}" if facet else "",
                self._figure(name, partial(figures.quality_chart, rows, across, primary), title),
                self._map(rows, facet),
                answer.primary_table(rows, across, primary),
            ]
        return parts

    def _map(self, rows: pd.DataFrame, facet: str) -> str:
        if not heatmap.applies(rows, self.axes):
            return ""
        name, title = "-".join(filter(None, ("map", facet))), axis_title(self.study.primary)
        figure = self._figure(name, partial(heatmap.chart, rows, self.axes, self.study.primary), title)
        return f"{figure}\n\n{heatmap.HOW_TO_READ}"

    def _training_parts(self) -> list[str]:
        """The primary measure against what training cost, for one facet after the other; nothing where all arms cost
        the same."""
        across, primary = self.axes, self.study.primary
        parts = []
        for facet in facets_of(self.rows, across) or [""]:
            rows = at_facet(self.rows, across, facet)
            for cost in training_costs(rows, across)[:1]:
                draw = partial(figures.cost_chart, rows, across, primary, cost=cost)
                name, title = "-".join(filter(None, ("training", facet))), f"Quality against {in_text(cost)}"
                parts += [
                    f"### {field(str(across.facet))} {word(facet)}" if facet else "",
                    self._figure(name, draw, title),
                ]
        return ["## Quality against the cost of training", *parts, figures.OF_TRAINING] if parts else []

    def _size_part(self) -> str:
        if (found := by_size(self.rows, self.axes)) is None:
            return ""
        draw = partial(figures.quality_chart, *found, self.study.primary)
        return f"## Quality against size\n\n{self._figure('sizes', draw, 'Quality against size')}\n\n{figures.OF_SIZE}"

    def _oracle_part(self) -> str:
        if finished(self.rows, "oracle").empty:
            return ""
        figure = self._figure(
            "oracle",
            lambda: figures.quality_chart(self.rows, self.axes, "endpoint_error", panel="oracle"),
            "Error on an exact denoiser",
        )
        return (
            f"## Without any network\n\n{figure}\n\nThe same samplers on a Gaussian mixture whose denoiser is known "
            "exactly: what is left is the error of taking few steps, without any error of learning."
        )

    def _trilemma_part(self) -> str:
        rows, axes, primary = self.rows, self.axes, self.study.primary
        if not trilemma.applies(rows, axes):
            return ""
        figure = self._figure(
            "trilemma", lambda: trilemma.chart(rows, axes, primary), "Quality, diversity and speed"
        )
        beside = self._figure(
            "panels",
            lambda: trilemma.panels(rows, axes, primary),
            "Quality, diversity and speed beside each other",
        )
        winners = trilemma.winners(rows, axes, primary)
        best = f"### The best at each budget\n\n{answer.frame_table(winners)}\n\n{trilemma.APART}\n\n"
        ranks = answer.frame_table(trilemma.likelihoods(rows, axes, primary))
        costs = answer.frame_table(trilemma.costs(rows, axes, primary))
        return (
            f"## Quality, diversity, speed\n\n{figure}\n\n{trilemma.HOW_TO_READ}\n\n{beside}\n\n"
            f"{best if len(winners) else ''}### Likelihood\n\n{ranks}\n\n{trilemma.KINDS}\n\n"
            f"### What each costs\n\n{costs}\n\n{trilemma.COSTS}"
        )

    def _architecture_parts(self, data: str, scale: Scale) -> list[str]:
        """The networks that are compared; nothing without samples, which tell for what rows they are."""
        run_ids = finished(self.rows)["run_id"]
        if not architecture.applies(self.axes) or run_ids.empty:
            return []
        try:
            samples = pictures.read_samples(self._artifact(str(run_ids.iloc[-1]), "samples.npz"))
        except (OSError, ValueError, KeyError, MlflowException):
            return []
        shape, facets = tuple(samples.images.shape[1:]), facets_of(self.rows, self.axes) or [""]
        parts = ["## Architectures"]
        for facet, found in architecture.differing(self.study, self.axes, data, scale, facets).items():
            draw = partial(architecture.beside, found, event_shape=shape, classes=samples.classes)
            name = "-".join(filter(None, ("architectures", facet)))
            parts += [
                f"### Networks of {word(facet)}" if facet else "",
                self._figure(name, draw, "The blocks of each network and their cost"),
            ]
        return [*parts, architecture.HOW_TO_READ]

    def _claims_figure(self, decisions: Sequence[Decision]) -> str:
        pairs = [(c, d) for c, d in zip(self.study.claims, decisions, strict=True) if d.estimate is not None]
        if not pairs:
            return ""
        return self._figure("claims", lambda: figures.claims_chart(pairs), "The claims with their intervals")

    def _figure(self, name: str, draw: figures.Draw, words: str) -> str:
        """Draw a figure into the folder; the line that shows it, or why there is none."""
        try:
            chart = draw()
        except ValueError as error:
            return f"*No figure: {error}.*"
        path = self.folder / f"{name}.svg"
        path.write_text(svg(chart))
        return f"![{words}]({self.folder.name}/{path.name})"

    def _artifact(self, run_id: str, name: str) -> Path:
        return results.artifact(self.uri, run_id, name)

    def _environment(self, data: str, scale: str) -> str:
        executions = results.executions(self.uri, self.study.name)
        mask = (
            (executions["data"] == data)
            & (executions["scale"] == scale)
            & (executions["status"] != "RUNNING")
        )
        for run_id in executions[mask]["run_id"].drop_duplicates():
            with contextlib.suppress(OSError, ValueError, MlflowException):  # the next one may have told it
                stored = json.loads(results.artifact(self.uri, run_id, "environment.json").read_text())
                return f"Run on: {answer.environment_lines(stored)}."
        return ""


def svg(chart: figures.Chart) -> str:
    """A chart as it is put into a document."""
    return str(vl_convert.vegalite_to_svg(figures.on_paper(chart).to_json()))


if __name__ == "__main__":
    sys.exit(main())
