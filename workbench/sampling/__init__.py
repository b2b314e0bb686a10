"""Samplers: rules, time grids, one loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import get_args

from workbench.registry import UserError, look_up, unknown
from workbench.sampling.ancestral import DDIM, Ancestral
from workbench.sampling.brownian import BrownianPath
from workbench.sampling.dpm_solver import DPMSolver2M, DPMSolver3M, SDEDPMSolver2M
from workbench.sampling.loop import sample
from workbench.sampling.runge_kutta import Euler, Heun
from workbench.sampling.sampler import Node, Noise, Sampler
from workbench.sampling.time_grid import TIME_GRIDS, time_grid
from workbench.sampling.unipc import UniPC
from workbench.spec import SamplingSpec, Variance

SAMPLERS: dict[str, Callable[[SamplingSpec], Sampler]] = {
    "ddpm": lambda spec: Ancestral(variance=spec.variance),
    "ddim": lambda spec: DDIM(eta=spec.eta),
    "euler": lambda spec: Euler(),
    "heun": lambda spec: Heun(),
    "dpmpp_2m": lambda spec: DPMSolver2M(),
    "dpmpp_3m": lambda spec: DPMSolver3M(),
    "unipc": lambda spec: UniPC(),
    "sde_dpmpp_2m": lambda spec: SDEDPMSolver2M(),
}

__all__ = [
    "SAMPLERS",
    "TIME_GRIDS",
    "BrownianPath",
    "Node",
    "Noise",
    "Sampler",
    "sample",
    "sampler_from",
    "time_grid",
]


def sampler_from(spec: SamplingSpec) -> Sampler:
    """The sampler that `spec` names, with its settings. Raises UserError for an unknown name or a wrong setting."""
    if spec.variance not in get_args(Variance):
        raise unknown("variance", spec.variance, get_args(Variance))
    if not 0 <= spec.eta <= 1:
        raise UserError(f"eta: {spec.eta:g} given; a number from 0 (DDIM) to 1 (DDPM) is needed")
    return look_up(SAMPLERS, spec.sampler, "sampler")(spec)
