"""One Brownian path that all time grids follow, so that arms with other steps differ by the steps alone.

Levy's construction: the value midway between two known ones is their mean plus an independent normal. The normals are
addressed by the midpoint, so a value does not depend on what was asked before.
"""

from __future__ import annotations

import torch
from torch import Tensor

from workbench import rng

DEPTH = 18  # a path is resolved to 2^-18 of its length


class BrownianPath:
    """W(t) for rows `start` to `stop`, each [*shape], on t in [0, 1] with W(0) = 0.

    Called as path(t, s), s < t, it gives the standardised increment (W(t) - W(s)) / sqrt(t - s): [rows, *shape].
    The way down to the last value is kept: for a walk along the path, about two normals a step are new at coarse grids
    and never more than DEPTH.
    """

    def __init__(
        self,
        seed: int,
        *,
        start: int,
        stop: int,
        shape: tuple[int, ...],
        device: torch.device | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.seed, self.start, self.stop, self.shape = seed, start, stop, shape
        self.device, self.dtype = device, dtype
        end = 2**DEPTH
        origin = torch.zeros(stop - start, *shape, dtype=dtype)
        self._cells = [(0, end, origin, self._normal(0))]  # nested cells (left, right, W(left), W(right))

    def __call__(self, t: float, s: float) -> Tensor:
        ticks_t, ticks_s = round(t * 2**DEPTH), round(s * 2**DEPTH)
        if ticks_s >= ticks_t:
            raise ValueError(
                f"a step from {t} to {s} is below the resolution of the Brownian path, 2^-{DEPTH}"
            )
        later, earlier = self._value(ticks_t), self._value(ticks_s)
        scale: float = (2**DEPTH / (ticks_t - ticks_s)) ** 0.5
        return torch.sub(later, earlier).mul_(scale).to(self.device)

    def _normal(self, tick: int) -> Tensor:
        return rng.normal_rows(
            self.seed, "brownian", tick, start=self.start, stop=self.stop, shape=self.shape, dtype=self.dtype
        )

    def _value(self, tick: int) -> Tensor:
        while not self._cells[-1][0] <= tick <= self._cells[-1][1]:
            self._cells.pop()
        left, right, at_left, at_right = self._cells[-1]
        while left < tick < right:
            middle = (left + right) // 2
            deviation = ((right - left) / 2**DEPTH / 4) ** 0.5
            at_middle = torch.add(at_left, at_right).mul_(0.5).add_(self._normal(middle), alpha=deviation)
            if tick <= middle:
                right, at_right = middle, at_middle
            else:
                left, at_left = middle, at_middle
            self._cells.append((left, right, at_left, at_right))
        return at_left if tick == left else at_right
