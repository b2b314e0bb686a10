"""A made-up store of results: what `pipelines.results` would give for studies that never ran. No model is in it."""

from __future__ import annotations

import io
import json
import zlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from pipelines import axes, names, results, verdict
from pipelines.recognition import evidence
from workbench.presets.methods import CHECKPOINTS
from workbench.spec import Arm, Study

RATE = {"ddpm": 1.0, "ddim": 1.4, "euler": 1.5, "heun": 2.0, "dpmpp_2m": 2.6, "dpmpp_3m": 2.7, "unipc": 2.8}
BASE = pd.Timestamp("2026-11-23 10:00", tz="UTC")


def digit(label: int, size: int = 8) -> np.ndarray:
    """A picture [size, size] of floats in 0..1 that is the same for a label and differs between labels."""
    coarse = np.random.default_rng(label).random((size // 2, size // 2)) > 0.45
    return np.kron(coarse, np.ones((2, 2)))


def trial_rows(study: Study, *, data: str = "digits", scale: str = "quick", seeds: int = 3) -> pd.DataFrame:
    """A finished row for each arm and seed, with a power law in the x axis, paired noise and a floor."""
    found = axes.axes_of(study)
    rows = [
        _row(study, arm, seed, found, data, scale, "network") for arm in study.arms for seed in range(seeds)
    ]
    rows += [_row(study, arm, 0, found, "mixture", scale, "oracle") for arm in study.oracle_arms]
    table = pd.DataFrame(rows)
    return table.assign(started=[BASE + pd.Timedelta(seconds=3 * i) for i in range(len(table))])


def _row(study: Study, arm: Arm, seed: int, found: axes.Axes, data: str, scale: str, panel: str) -> dict:
    fields = {names.column_of(path): value for path, value in arm}
    sampler, x = str(fields.get("sampler", "ddpm")), float(fields[found.x])
    name = " ".join(map(str, fields.values()))
    noise = np.random.default_rng([seed, zlib.crc32(name.encode())]).normal(0, 0.05)
    error = 60.0 * x ** -RATE.get(sampler, 2.0)
    common = {
        "run_id": f"{zlib.crc32(f'{study.name}{name}{seed}{data}{panel}'.encode()):08x}",
        "key": f"{zlib.crc32(f'{name}{seed}{data}{panel}'.encode()):064x}",
        "study": study.name,
        "status": "FINISHED",
        "reason": None,
        "name": f"{name}, seed {seed}",
        "ended": BASE,
        "data": data,
        "scale": scale,
        "panel": panel,
        "seed": seed,
        "rows": 500,
        "nfe_counted": fields.get("nfe", x),
        "sample_seconds": 0.02 * float(fields.get("nfe", x)) * (1 + noise),
        "fit_run_id": f"fit{seed}",
    }
    if panel == "oracle":
        return common | fields | {"endpoint_error": error / 60, "sliced_wasserstein": 0.3 * error / 60 + 0.01}
    distance = (1.9 + 0.1 * seed + error) * np.exp(noise)
    measured = {
        "frechet[cnn]": distance,
        "floor frechet[cnn]": 1.2,
        "kernel[cnn]": distance / 50 - 0.03,
        "floor kernel[cnn]": 0.001,
        "recognised": 0.99 - 0.4 * min(1.0, error / 60),
        "floor recognised": 0.98,
        "gradient_variation": x**-0.3 * np.exp(noise),
        "peak_memory_bytes": 4e8,
        "parameters": 250_000,
    }
    if "method" in fields:
        return common | fields | _told(str(fields["method"]), x, noise)
    if "variant" in fields:
        measured |= {"bits_per_dim": 2.0 + noise, "likelihood_kind": "bound"}
    if "backbone" in fields:
        share, parameters = float(fields["trained"]), 1e5 * len(str(fields["backbone"]))
        measured |= {
            "fit_seconds": 20 * share * np.exp(noise),
            "training_flops": share * parameters * 1e6,
            "parameters": parameters,
        }
    if "family" in fields:
        gan = fields["family"] == "gan"
        measured |= {
            "fit_seconds": 20 * float(fields["budget"]),
            "coverage[cnn]": 0.9 - 0.3 * min(1.0, error / 60),
            "single_seconds": 0.01 * x,
        }
        measured |= {
            "bits_per_dim": np.nan if gan else 3.0 + noise,
            "likelihood_kind": None if gan else "bound",
            "interpolation": {"vae": "spherical", "latent_diffusion": "linear"}.get(str(fields["family"])),
        }
    return common | fields | measured


def _told(method: str, labelled: float, noise: float) -> dict:
    """Measures of a trial of classification; one with corrupted images errs twice as often on them."""
    error = 0.1 * labelled**-0.2 * np.exp(noise)
    found = {
        "error": error,
        "accuracy": 1 - error,
        "error[corrupted]": 2 * error,
        "test_rows": 500.0,
        "classify_seconds": 0.1,
        "parameters": 250_000,
    }
    if method.endswith("_misled"):
        found["misled"] = 2 * error
    if method.startswith("diffusion") and "bayes" not in method:
        found |= {"chosen_time": 0.05, "chosen_behind_middle": 1.0}
    if method in CHECKPOINTS:
        found |= {"frechet[cnn]": 2 / CHECKPOINTS[method] * np.exp(noise)}
    return found


@dataclass
class FakeSource:
    """What the dashboard asks for, from tables in memory."""

    tables: dict[str, pd.DataFrame] = field(default_factory=dict)
    runs: dict[str, pd.DataFrame] = field(default_factory=dict)
    fit_table: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=list(results.FIT)))
    folder: Path = Path()
    uri: str = "http://127.0.0.1:5000"
    trouble: str = ""

    def problem(self) -> str:
        return self.trouble

    def studies(self) -> pd.DataFrame:
        rows = [
            {"study": name, "experiment_id": str(i + 1), "note": "", "executions": 1, "last_started": BASE}
            for i, name in enumerate(self.tables)
        ]
        return pd.DataFrame(rows, columns=["study", "experiment_id", "note", "executions", "last_started"])

    def trials(self, study: str) -> pd.DataFrame:
        empty = pd.DataFrame(
            columns=["run_id", "status", "reason", "name", "started", "data", "scale", "panel", "seed"]
        )
        return self.tables.get(study, empty)

    def executions(self, study: str) -> pd.DataFrame:
        return self.runs.get(
            study, pd.DataFrame(columns=["run_id", "status", "started", "data", "scale", "trials"])
        )

    def fits(self) -> pd.DataFrame:
        return self.fit_table

    def learning_curve(self, run_id: str) -> pd.DataFrame:
        images = np.arange(1000, 100_001, 1000)
        loss = 0.3 + images / 1000.0
        return pd.DataFrame(
            {"train/loss": 1.0 / loss, "train/gradient_norm": 5.0 / loss}, index=images
        ).rename_axis("images_seen")

    def artifact(self, run_id: str, name: str) -> Path:
        path = self.folder / f"{run_id}-{name}"
        if not path.exists():
            path.write_bytes(_artifact(self._row_of(run_id), name))
        return path

    def _row_of(self, run_id: str) -> pd.Series:
        table = pd.concat(self.tables.values(), ignore_index=True)
        rows = table[table["run_id"] == run_id]
        if rows.empty:
            raise FileNotFoundError(run_id)
        return rows.iloc[0]


def evidence_of(method: str) -> dict:
    """What a trial of classification keeps: all of it for features of diffusion, a curve for a generative one."""
    found: dict = {
        "classes": ["shirt", "boot"],
        "confusion": [[8, 2], [1, 9]],
        "corruptions": [{"corruption": "noise", "severity": s, "accuracy": 1 - s / 10} for s in (1, 2, 3)],
    }
    if method.endswith("_bayes"):
        found["curve"] = [
            {"pairs": pairs, "evaluations": 2.0 * pairs, "accuracy": 0.5 + pairs / 10} for pairs in (1, 2, 4)
        ]
        found["wrong"] = [{"row": 3, "told": 1, "true": 0}]
    if method == "diffusion_features":
        layers, times = ("down.0", "up.0"), (0.1, 0.4)
        found["choice"] = {
            "layer": "up.0",
            "time": 0.1,
            "side": 2,
            "grid": [
                {"layer": y, "time": t, "accuracy": 0.6 + 0.2 * (y == "up.0")} for y in layers for t in times
            ],
            "sides": [{"side": 2, "accuracy": 0.85}, {"side": 1, "accuracy": 0.8}],
            "map": {
                "labels": [0, 1],
                "places": {f"{y}@{t:g}": [[0.0, 1.0], [1.0, t]] for y in layers for t in times},
            },
        }
    return found


def _artifact(row: pd.Series, name: str) -> bytes:
    """Pictures that are the cleaner the more evaluations were spent on them; of a trial of classification what it
    keeps."""
    if name == evidence.EVIDENCE:
        return json.dumps(evidence_of(str(row["method"]))).encode()
    generator = np.random.default_rng(int(row["seed"]))
    labels = np.arange(80) % 10
    clean = np.stack([digit(int(label)) for label in labels])[:, None]
    noise = generator.random(clean.shape)
    nfe = float(row.get("nfe_counted", 1.0))
    kept = min(1.0, 1.5 / nfe)
    stream = io.BytesIO()
    if name == evidence.WRONG:
        Image.fromarray((255 * np.hstack([digit(0), digit(1)])).astype(np.uint8)).save(stream, "PNG")
        return stream.getvalue()
    if name == "latent.npz":
        images = (255 * clean[:30]).astype(np.uint8)
        np.savez(stream, images=images, reconstructions=images, interpolations=np.stack([images[:10]] * 6))
        return stream.getvalue()
    time = np.linspace(1.0, 0.0, 10)
    share = time[:, None, None, None, None]
    path = (255 * ((1 - share) * clean[:8] + share * noise[:8])).astype(np.uint8)
    np.savez(
        stream,
        images=(255 * ((1 - kept) * clean + kept * noise)).astype(np.uint8),
        labels=labels,
        time=time,
        x_t=path,
        denoised=(255 * np.repeat(clean[None, :8], 10, 0)).astype(np.uint8),
        forward=path,
    )
    return stream.getvalue()


def filled(studies: dict[str, Study], folder: Path) -> FakeSource:
    """A store in which every study was executed once."""
    tables = {name: trial_rows(study) for name, study in studies.items()}
    runs = {}
    for name, study in studies.items():
        decisions = verdict.decide(study, verdict.at(tables[name], "digits", "quick"))
        row = {
            "run_id": f"execution-{name}",
            "status": "FINISHED",
            "reason": None,
            "name": f"{name}, digits quick, 3 seeds",
            "started": BASE,
            "ended": BASE + pd.Timedelta(minutes=4),
            "data": "digits",
            "scale": "quick",
            "seeds": "0 1 2",
            "executor": "ray",
            "trials": len(tables[name]),
            "cached": 0,
            "failed": 0.0,
            "seconds": 240.0,
        }
        runs[name] = pd.DataFrame([row | {"claim": d.claim, "answer": d.answer} for d in decisions])
    fits = pd.DataFrame(
        [
            {
                "run_id": f"fit{seed}",
                "status": "FINISHED",
                "reason": None,
                "name": f"diffusion unet, seed {seed}, digits quick",
                "started": BASE,
                "ended": BASE + pd.Timedelta(seconds=60),
                "data": "digits",
                "scale": "quick",
                "seed": seed,
                "parameters": 250_000.0,
                "continued_from": None,
                "fit_seconds": 58.0 + seed,
                "images_per_second": 2600.0,
                "peak_memory_bytes": 4.2e8,
                "train/loss": 0.1,
            }
            for seed in range(3)
        ]
    )
    return FakeSource(tables=tables, runs=runs, fit_table=fits, folder=folder)
