"""Claims, studies and tables of results as small as tests of decisions need them."""

from __future__ import annotations

from typing import Literal

import pandas as pd

from workbench.spec import Claim, Ratio, Statistic, Study, arm

A, B = arm(sampling__sampler="ddpm", sampling__nfe=50), arm(sampling__sampler="ddpm", sampling__nfe=1000)
FIELD = "source.model.schedule.timesteps"
TIMESTEPS = (4, 10, 30, 100)


def claim(
    statistic: Statistic, relation: Literal["at_least", "at_most"] = "at_least", bound: float = 1.1
) -> Claim:
    return Claim(name="c", text="A claim.", statistic=statistic, relation=relation, bound=bound, why="")


def study(*claims: Claim, arms: tuple = (A, B)) -> Study:
    return Study(
        name="s",
        question="?",
        expectation="",
        how_to_read="",
        preset="continuous",
        arms=arms,
        smoke_arms=arms[:2],
        claims=claims,
    )


def rows(values: dict[int, list[float]], **columns: object) -> pd.DataFrame:
    """One row for each nfe and seed."""
    table = pd.DataFrame(
        [
            {"sampler": "ddpm", "nfe": nfe, "seed": seed, "frechet[cnn]": value}
            for nfe, by_seed in values.items()
            for seed, value in enumerate(by_seed)
        ]
    )
    fixed = {"data": "digits", "scale": "quick", "panel": "network", "status": "FINISHED"}
    started = pd.date_range("2026-01-01", periods=len(table), tz="UTC")
    return table.assign(**(fixed | columns), started=started)


RATIO = Ratio("frechet[cnn]", A, B)
