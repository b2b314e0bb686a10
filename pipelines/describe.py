"""What an execution says of itself: on the terminal, and in the run that MLflow keeps of it."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import os
import platform
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from pipelines import names
from pipelines.plan import Plan
from pipelines.progress import duration
from pipelines.request import Request
from pipelines.staging import data_label
from pipelines.work import Outcome
from workbench.identity import canonical
from workbench.spec import Study

PACKAGES = ("torch", "ray", "mlflow", "numpy", "pandas", "scikit-learn", "scipy", "streamlit")
TAG_LIMIT = 7500
FITS_NOTE = (
    "Every training that a study needed, and the features of the real rows that it compares with: parameters, learning "
    "curves, cost, weights. Studies share them: deleting a run here makes the next study that needs it train it again."
)


def note(study: Study) -> str:
    """What the experiment of a study says of itself, in Markdown: the question and how to read the answer."""
    return f"**{study.question}**\n\nExpected: {study.expectation}\n\n{study.how_to_read}"


def plan_text(
    plan: Plan, request: Request, estimates: Mapping[str, float], *, concurrency: int, each: bool
) -> str:
    """The plan in a few lines, or with `each` in one line a stage."""
    title = f"{request.study.name}: {request.study.question}"
    seeds = " ".join(map(str, request.seeds))
    lines = [title, f"data {data_label(request.data)}, scale {request.scale}, seeds {seeds}"]
    if each:
        for stage in plan.stages:
            state = "cached" if stage.key in plan.done else "measure again" if stage.samples else "to do"
            taking = duration(estimates[stage.key]) if stage.key in estimates else ""
            lines.append(f"  {stage.kind:9} {state:13} {taking:>12}  {stage.name}")
    for kind in dict.fromkeys(stage.kind for stage in plan.stages):
        total = sum(stage.kind == kind for stage in plan.stages)
        to_do = [stage for stage in plan.to_do if stage.kind == kind]
        cost = sum(estimates.get(stage.key, 0.0) * stage.resources.cpus for stage in to_do)
        left = f", {len(to_do)} to do, about {duration(cost)} of one CPU" if to_do else ""
        lines.append(f"  {kind.removesuffix('s') + 's':10} {total:4}, {total - len(to_do)} cached{left}")
    if plan.to_do:
        cost = sum(estimates.get(stage.key, 0.0) * stage.resources.cpus for stage in plan.to_do)
        lines.append(f"  about {duration(cost / concurrency)} on {concurrency} CPU{'s' * (concurrency != 1)}")
    else:
        lines.append("  everything is done")
    return "\n".join(lines)


def parameters(request: Request, plan: Plan) -> dict[str, str]:
    """The parameters of the run of an execution."""
    return {
        "data": data_label(request.data),
        "scale": request.scale,
        "seeds": " ".join(map(str, request.seeds)),
        "executor": request.executor,
        "stages": str(len(plan.stages)),
        "trials": str(sum(stage.kind == "trial" for stage in plan.stages)),
        "cached": str(len(plan.done)),
    }


def documents(plan: Plan, estimates: Mapping[str, float], where: str) -> dict[str, str]:
    """The plan and, where something is to do, the environment, as the files of the run of an execution: one that runs
    nothing knows nothing about where its results are from."""
    stages = [
        {
            "kind": stage.kind,
            "name": stage.name,
            "key": stage.key,
            "needs": stage.needs,
            "cached_run": plan.done[stage.key].run_id if stage.key in plan.done else None,
            "estimated_seconds": estimates.get(stage.key),
        }
        for stage in plan.stages
    ]
    files = {"plan.json": json.dumps(stages, indent=1)}
    if not plan.to_do:
        return files
    environment = {
        "command": [os.path.basename(sys.executable), *sys.argv],
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": processor(),
        "cpus": os.cpu_count(),
        "where": where,
        "packages": {name: version for name in PACKAGES if (version := _version(name))},
    }
    return files | {"environment.json": json.dumps(environment, indent=1)}


def spec_json(spec: Any) -> str:
    """A spec for people and programs to read."""
    return json.dumps(canonical(spec), indent=1)


def execution_metrics(plan: Plan, ended: Mapping[str, Outcome], seconds: float) -> dict[str, float]:
    """What an execution came to. `orchestration_fraction` is the share of the stages' time not spent in their work."""
    busy = sum(outcome.seconds for outcome in ended.values())
    working = sum(outcome.work_seconds for outcome in ended.values())
    failed = sum(outcome.done is None for outcome in ended.values())
    metrics = {"seconds": seconds, "failed": float(failed), "done": float(len(plan.stages) - failed)}
    return metrics | ({"orchestration_fraction": 1 - working / busy} if busy else {})


def verdict_json(decisions: Sequence[Any]) -> str:
    """The decisions as a JSON list."""
    return json.dumps([dataclasses.asdict(decision) for decision in decisions], indent=1, default=str)


def verdict_tag(decisions: Sequence[Any]) -> str:
    """The decisions as a tag may hold them: without the values of each seed where those do not fit."""
    rows = [dataclasses.asdict(decision) for decision in decisions]
    text = json.dumps(rows, default=str)
    if len(text) > TAG_LIMIT:
        text = json.dumps([{k: v for k, v in row.items() if k != "per_seed"} for row in rows], default=str)
    return text


def verdict_text(study: Study, decisions: Iterable[Any]) -> str:
    """The decisions in words."""
    texts = {claim.name: claim for claim in study.claims}
    lines = []
    for decision in decisions:
        claim = texts[decision.claim]
        lines.append(f"{decision.answer.upper()}: {claim.text}")
        if decision.estimate is not None and decision.estimate == decision.estimate:
            sign = "at least" if claim.relation == "at_least" else "at most"
            lines.append(
                f"    {decision.estimate:.3g}, 95 % interval {decision.low:.3g} to {decision.high:.3g} over "
                f"{decision.seeds} seeds; claimed is {sign} {claim.bound:g}"
            )
        if decision.reason:
            lines.append(f"    {decision.reason}")
    return "\n".join(lines) or "the study makes no claim"


def table_text(table: pd.DataFrame, study: Study) -> str:
    """The primary measure, mean over seeds: the arms of the study as rows, its widest numeric field as columns."""
    rows = table[(table["panel"] == "network") & (table["status"] == "FINISHED")]
    if rows.empty or study.primary not in rows:
        return "no finished trials"
    fields = list(dict.fromkeys(names.column_of(path) for arm in study.arms for path, _ in arm))
    varying = [name for name in fields if name in rows and rows[name].nunique() > 1]
    numeric = [name for name in varying if pd.api.types.is_numeric_dtype(rows[name])]
    across = max(numeric, key=lambda name: rows[name].nunique(), default=None)
    down = [name for name in varying if name != across and name not in numeric]
    label = (
        rows[down].astype(str).agg(" ".join, axis=1) if down else pd.Series(study.primary, index=rows.index)
    )
    groups: list[Any] = [label.rename("")] + ([rows[across]] if across else [])
    means = rows.groupby(groups, sort=False)[study.primary].mean()
    wide = means.unstack(across) if across else means.to_frame(study.primary)
    wide = wide.sort_index(axis=1)
    floor = rows.get(f"floor {study.primary}")
    known = floor is not None and floor.notna().any()
    note = f", floor {floor.dropna().iloc[0]:.3g}" if known and floor is not None else ""
    text = wide.to_string(float_format=lambda value: f"{value:.3g}", na_rep="")
    return f"{study.primary}, mean over seeds{note}, by {across or 'arm'}:\n{text}"


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def processor() -> str:
    """The name of the CPU, empty where it cannot be told."""
    try:
        with open("/proc/cpuinfo") as file:
            return next(
                (line.partition(":")[2].strip() for line in file if line.startswith("model name")), ""
            )
    except OSError:
        return platform.processor()
