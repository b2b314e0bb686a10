"""Time grids: float64 [K + 1], falling from 1 to 0. Where a sampler looks is data; how it steps is its rule."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from workbench.diffusion.schedule import Discrete, Schedule
from workbench.registry import UserError, look_up

LEAST_TIME = 1e-3  # the last evaluation of the grids that are infinitely long at t = 0 (Lu et al., 2022a)
RHO = 7.0


def uniform_t(schedule: Schedule, steps: int) -> Tensor:
    """Equal steps of t; on a schedule of T timesteps, K = T visits each of them."""
    return torch.linspace(1, 0, steps + 1, dtype=torch.float64)


def uniform_log_snr(schedule: Schedule, steps: int) -> Tensor:
    """Equal steps of the log-SNR down to the least time, then one to zero (Lu et al., 2022a)."""
    start, end = schedule.log_snr(_ends(schedule)).tolist()
    return _closed(schedule.inverse(torch.linspace(start, end, steps, dtype=torch.float64)))


def edm_rho(schedule: Schedule, steps: int) -> Tensor:
    """Equal steps of (sigma / alpha)^(1 / rho) with rho = 7, then one to zero (Karras et al., 2022, eq. 5)."""
    start, end = (-0.5 * schedule.log_snr(_ends(schedule)) / RHO).exp().tolist()
    ratio = torch.linspace(start, end, steps, dtype=torch.float64) ** RHO
    return _closed(schedule.inverse(-2 * ratio.log()))


def _ends(schedule: Schedule) -> Tensor:
    # A discrete-time network has seen no noise below its first timestep.
    least = max(LEAST_TIME, 1 / schedule.timesteps) if isinstance(schedule, Discrete) else LEAST_TIME
    return torch.tensor([1.0, least], dtype=torch.float64)


def _closed(times: Tensor) -> Tensor:
    times[0] = 1.0  # exactly, whatever the inverse rounds to
    return torch.cat([times, times.new_zeros(1)])


TIME_GRIDS: dict[str, Callable[[Schedule, int], Tensor]] = {
    "uniform_t": uniform_t,
    "uniform_log_snr": uniform_log_snr,
    "edm_rho": edm_rho,
}


def time_grid(name: str, schedule: Schedule, steps: int) -> Tensor:
    """The grid of that name with `steps` steps. Raises UserError for an unknown name, for fewer steps than one, or for
    more than a discrete schedule has timesteps, whose network has seen no noise between them."""
    if steps < 1:
        raise UserError(f"steps: {steps} given; a whole number from 1 is needed")
    if isinstance(schedule, Discrete) and steps > schedule.timesteps:
        raise UserError(f"steps: {steps} given; a model of {schedule.timesteps} timesteps takes no more")
    return look_up(TIME_GRIDS, name, "time_grid")(schedule, steps)
