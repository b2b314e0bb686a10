"""One Brownian path that all time grids follow, so that arms with other steps differ by the steps alone.

Levy's construction: a value between two known ones is their weighted mean plus an independent normal. The normals are
addressed by the tick where they fall, so a value does not depend on what was asked before.
"""

from __future__ import annotations

import torch
from torch import Tensor

from workbench import rng
from workbench.registry import UserError

# Cells longer than FINE ticks are divided at multiples of it, so that the 1000 timesteps of DDPM, and all grids that
# divide them, are ends of cells: a walk over the 1000 costs one normal a step, and no time is rounded.
FINE = 2**8
TICKS = 1000 * FINE  # to the unit of time


class BrownianPath:
    """W(t) for rows `start` to `stop`, each [*shape], on t in [0, 1] with W(0) = 0.

    Called as path(t, s), s < t, it gives the standardised increment (W(t) - W(s)) / sqrt(t - s): [rows, *shape]. Times
    are rounded to a tick first, so that each increment is standard normal. Raises UserError for a step within one.

    The cells on the way to the last value are kept, with what lies before them: a walk back in time draws none twice.
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
        origin = torch.zeros(stop - start, *shape, dtype=dtype)
        # Nested cells (left, right, W(left), W(right)). No cell is divided at 0, so its address is free for W(1).
        self._cells = [(0, TICKS, origin, self._normal(0))]

    def __call__(self, t: float, s: float) -> Tensor:
        tick_t, tick_s = round(t * TICKS), round(s * TICKS)
        if tick_s >= tick_t:
            raise UserError(
                f"time_grid: a step from {t} to {s} is below the Brownian path's resolution 1/{TICKS}"
            )
        later, earlier = self._value(tick_t), self._value(tick_s)
        scale: float = (TICKS / (tick_t - tick_s)) ** 0.5
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
            unit = FINE if right - left > FINE else 1
            middle = (left + right) // (2 * unit) * unit
            # The bridge from left to right: its mean is linear, its variance that of a path tied at both ends.
            weight = (middle - left) / (right - left)
            deviation = (weight * (right - middle) / TICKS) ** 0.5
            at_middle = torch.lerp(at_left, at_right, weight).add_(self._normal(middle), alpha=deviation)
            self._cells.append((left, middle, at_left, at_middle))
            if tick > middle:
                self._cells.append((middle, right, at_middle, at_right))
            left, right, at_left, at_right = self._cells[-1]
        return at_left if tick == left else at_right
