"""UniPC (Zhao et al., 2023): a predictor and a corrector that share their evaluations, so a step costs one.

The clean mean at the new point corrects the step that led there before it serves the next one. Order 2, with
B(h) = exp(-h) - 1 (the variant B2 of section 3.3), data prediction.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
from torch import Tensor

from workbench.sampling.sampler import Call, Node, Noise, Sampler, kept


class Past(NamedTuple):
    """The step before: where it began (x [B, *S], corrected), the clean means there and one step earlier."""

    x: Tensor
    at: tuple[tuple[Node, Tensor], ...]  # the latest first


@dataclass(frozen=True)
class UniPC(Sampler):
    """The multistep predictor of order two with its corrector (algorithms 1 and 2): together of order three."""

    order: ClassVar[int] = 3

    def step(
        self, call: Call, x_t: Tensor, t: Node, s: Node, memory: Past | None, noise: Noise
    ) -> tuple[Tensor, Past]:
        denoised = call.denoised(x_t, t)
        earlier = memory.at if memory else ()
        if memory:
            x_t = _step(memory.x, earlier, t, new=denoised)
        at = ((t, denoised), *earlier[:1])
        return _step(x_t, at if s.sigma else at[:1], s, new=None), Past(x_t, at)


def _step(x: Tensor, at: tuple[tuple[Node, Tensor], ...], s: Node, *, new: Tensor | None) -> Tensor:
    """From x at the latest node of `at` to s; with the clean mean `new` at s as well, the corrector's step."""
    (t, denoised), before = at[0], at[1:]
    h = s.half_log_snr - t.half_log_snr
    x_s = kept(x, denoised, t, s.alpha, s.sigma)
    places = [(node.half_log_snr - t.half_log_snr) / h for node, _ in before]
    differences = [(value - denoised) / place for (_, value), place in zip(before, places, strict=True)]
    if new is not None:
        places, differences = [*places, 1.0], [*differences, new - denoised]
    for weight, difference in zip(_weights(places, h), differences, strict=True):
        x_s.add_(difference, alpha=-s.alpha * math.expm1(-h) * weight)
    return x_s


def _weights(places: list[float], h: float) -> list[float]:
    """Solve sum_m weight_m place_m^(k-1) = b_k (eq. 11), which makes the step exact for polynomials in lambda.

    A single weight is one half, which keeps the order (section 3.2).
    """
    count = len(places)
    if count <= 1:
        return [0.5] * count
    phi, factorial, right = math.expm1(-h) / -h - 1, 1.0, []
    for k in range(1, count + 1):
        right.append(phi * factorial / math.expm1(-h))
        factorial *= k + 1
        phi = phi / -h - 1 / factorial
    weights: list[float] = np.linalg.solve(np.vander(places, increasing=True).T, right).tolist()
    return weights
