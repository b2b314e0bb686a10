"""Estimates and bounds in words: each statistic with the sign or unit that its numbers have."""

from __future__ import annotations

import pytest

from dashboard import words
from pipelines import answer, figures
from pipelines.verdict import Decision
from workbench.spec import (
    Claim,
    Difference,
    Level,
    RankCorrelation,
    Ratio,
    RatioSlope,
    RatioToBest,
    Slope,
    Statistic,
    Study,
    arm,
)

A, B = arm(sampling__nfe=1), arm(sampling__nfe=2)
SHOWN = [
    (Ratio("recognised", A, B), "0.130× (−0.200× to 0.280×)", "ratio at most 0.02", "at most 0.02×"),
    (
        RatioToBest("recognised", A, (B,)),
        "0.130× (−0.200× to 0.280×)",
        "ratio to the best other at most 0.02",
        "at most 0.02×",
    ),
    (
        RankCorrelation("recognised", "bits_per_dim", (A, B)),
        "0.130 (−0.200 to 0.280)",
        "rank correlation at most 0.02",
        "at most 0.02",
    ),
    (
        Difference("recognised", A, B),
        "0.130 (−0.200 to 0.280) share",
        "difference at most 0.02 share",
        "at most 0.02 share",
    ),
    (
        Level("bits_per_dim", A),
        "0.130 (−0.200 to 0.280) bits",
        "value at most 0.02 bits",
        "at most 0.02 bits",
    ),
    (Slope("recognised", "nfe"), "0.130 (−0.200 to 0.280)", "exponent at most 0.02", "at most 0.02"),
    (
        RatioSlope("recognised", A, B, "nfe"),
        "0.130 (−0.200 to 0.280)",
        "exponent of the ratio at most 0.02",
        "at most 0.02",
    ),
]


@pytest.mark.parametrize(
    ("statistic", "estimate", "claimed", "in_the_sheet"), SHOWN, ids=lambda s: type(s).__name__
)
def test_numbers_carry_their_unit(
    statistic: Statistic, estimate: str, claimed: str, in_the_sheet: str
) -> None:
    claim = Claim(name="c", text="A claim.", statistic=statistic, relation="at_most", bound=0.02, why="")
    decision = Decision(claim="c", answer="inconclusive", estimate=0.13, low=-0.2, high=0.28, seeds=3)
    assert words.estimate(claim, decision) == estimate
    assert words.claimed(claim) == claimed
    study = Study(
        name="s",
        question="?",
        expectation="",
        how_to_read="",
        preset="continuous",
        arms=(A, B),
        smoke_arms=(A, B),
        claims=(claim,),
    )
    assert f"| {in_the_sheet} |" in answer.verdict_table(study, [decision])


def test_a_difference_is_drawn_on_an_axis_that_may_cross_zero() -> None:
    claim = Claim(
        name="c", text="A.", statistic=Difference("recognised", A, B), relation="at_most", bound=0.02, why=""
    )
    decision = Decision(
        claim="c", answer="inconclusive", estimate=0.013, low=-0.002, high=0.028, per_seed={0: -0.001}
    )
    x = figures.claim_chart(claim, decision).to_dict()["layer"][0]["encoding"]["x"]
    assert x["scale"]["type"] == "linear"
    assert x["scale"]["domain"][0] < -0.002 and x["scale"]["domain"][1] > 0.028
