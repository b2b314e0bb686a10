"""Noise schedules: x_t = alpha_t x_0 + sigma_t noise, for t in [0, 1] from data to noise.

Every schedule gives log alpha_t and log sigma_t; alpha/sigma falls strictly, and the log-SNR log(alpha^2 / sigma^2) has
an exact inverse. At t = 0 there is no noise: alpha = 1, sigma = 0, the log-SNR is infinite.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from workbench.registry import UserError, look_up
from workbench.spec import ScheduleSpec


class Schedule(ABC):
    """A map from time to signal and noise. Times are tensors of any shape; float64 in gives float64 out."""

    def __call__(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """(alpha_t, sigma_t), each of the shape of t."""
        return self.log_alpha(t).exp(), self.sigma(t)

    def log_snr(self, t: Tensor) -> Tensor:
        """log(alpha_t^2 / sigma_t^2): strictly decreasing, infinite at t = 0."""
        return 2 * (self.log_alpha(t) - self.sigma(t).log())

    @abstractmethod
    def log_alpha(self, t: Tensor) -> Tensor:
        """The logarithm of alpha_t."""

    @abstractmethod
    def sigma(self, t: Tensor) -> Tensor:
        """The standard deviation of the noise."""

    @abstractmethod
    def inverse(self, log_snr: Tensor) -> Tensor:
        """The time at which the log-SNR has the given value."""


class VariancePreserving(Schedule):
    """alpha^2 + sigma^2 = 1, so that log alpha alone says all: alpha_bar = alpha^2 in the words of Ho et al. (2020)."""

    def sigma(self, t: Tensor) -> Tensor:
        return (-torch.expm1(2 * self.log_alpha(t))).sqrt()

    def inverse(self, log_snr: Tensor) -> Tensor:
        # alpha^2 = sigmoid(log-SNR) when alpha^2 + sigma^2 = 1
        return self.time_of(0.5 * torch.nn.functional.logsigmoid(log_snr))

    @abstractmethod
    def time_of(self, log_alpha: Tensor) -> Tensor:
        """The inverse of `log_alpha`."""


class LinearVP(VariancePreserving):
    """The continuous limit of DDPM's linear betas (Y. Song et al., 2021, eq. 33): d log alpha_bar / dt = -beta(t), with
    beta(t) = beta_0 + t (beta_1 - beta_0)."""

    beta_0, beta_1 = 0.1, 20.0

    def log_alpha(self, t: Tensor) -> Tensor:
        return -0.5 * t * (self.beta_0 + 0.5 * t * (self.beta_1 - self.beta_0))

    def time_of(self, log_alpha: Tensor) -> Tensor:
        slope = self.beta_1 - self.beta_0
        # The positive root of slope / 4 t^2 + beta_0 / 2 t + log_alpha = 0, without cancellation at small t.
        return -4 * log_alpha / (self.beta_0 + (self.beta_0**2 - 4 * slope * log_alpha).sqrt())


@dataclass(frozen=True)
class Cosine(VariancePreserving):
    """alpha_t = cos(start + turn) / cos(start), a quarter of a turn in all (Nichol & Dhariwal, 2021, eq. 17):
    turn = pi/2 length t / (1 + 0.008), start = pi/2 0.008 / (1 + 0.008).

    `length` below 1 stops the turn short of where alpha vanishes. With it at 1 this is the paper's own, whose log-SNR
    at t = 1 is minus infinity: there the betas of discrete timesteps are bounded instead.
    """

    length: float = 0.9999

    offset: ClassVar[float] = 0.008
    start: ClassVar[float] = 0.5 * math.pi * 0.008 / 1.008

    def turn(self, t: Tensor) -> Tensor:
        return (0.5 * math.pi * self.length / (1 + self.offset)) * t

    def log_alpha(self, t: Tensor) -> Tensor:
        return ((self.start + self.turn(t)).cos() / math.cos(self.start)).log()

    def sigma(self, t: Tensor) -> Tensor:
        # cos^2 start - cos^2 (start + turn) as a product, which does not cancel at small t
        turn = self.turn(t)
        return (turn.sin() * (turn + 2 * self.start).sin()).sqrt() / math.cos(self.start)

    def time_of(self, log_alpha: Tensor) -> Tensor:
        # Back from the same product: sin turn = (cos^2 start - cos^2 angle) / sin(start + angle), angle = start + turn.
        lost = -torch.expm1(2 * log_alpha) * math.cos(self.start) ** 2
        sine = (math.sin(self.start) ** 2 + lost).sqrt()
        cosine = log_alpha.exp() * math.cos(self.start)
        turn = torch.atan2(
            lost / (sine * math.cos(self.start) + cosine * math.sin(self.start)),
            cosine * math.cos(self.start) + sine * math.sin(self.start),
        )
        return turn / (0.5 * math.pi * self.length / (1 + self.offset))


class Straight(Schedule):
    """alpha_t = 1 - t, sigma_t = t: the straight path of flow matching (Lipman et al., 2023; Liu et al., 2023).

    Time is compressed to 0.9999 of its length, so that the log-SNR at t = 1 is finite.
    """

    length = 0.9999

    def log_alpha(self, t: Tensor) -> Tensor:
        return torch.log1p(-self.length * t)

    def sigma(self, t: Tensor) -> Tensor:
        return self.length * t

    def inverse(self, log_snr: Tensor) -> Tensor:
        return torch.sigmoid(-0.5 * log_snr) / self.length


class Discrete(VariancePreserving):
    """T timesteps with alpha_bar_i = prod_j<=i (1 - beta_j) at t = i / T (Ho et al., 2020, section 2).

    In between, log alpha_bar is linear in t, a constant rate of noise within each step: exact on the grid, defined,
    strictly monotone and invertible everywhere else.
    """

    def __init__(self, betas: Tensor) -> None:
        """`betas` float64 [T], each in (0, 1). Raises UserError for others."""
        if betas.ndim != 1 or not len(betas) or not bool(((betas > 0) & (betas < 1)).all()):
            raise UserError(
                f"schedule: betas must lie in (0, 1), not {betas.min():.3g} to {betas.max():.3g}; "
                "more timesteps make them smaller"
            )
        self.betas = betas
        self.timesteps = len(betas)
        self._log_alpha = torch.cat([betas.new_zeros(1), 0.5 * torch.log1p(-betas).cumsum(0)])

    def log_alpha(self, t: Tensor) -> Tensor:
        knots = self._log_alpha.to(device=t.device)
        position = t.double() * self.timesteps
        left = position.floor().long().clamp(0, self.timesteps - 1)
        value = torch.lerp(knots[left], knots[left + 1], position - left)
        return value.to(t.dtype)

    def time_of(self, log_alpha: Tensor) -> Tensor:
        falling = self._log_alpha.to(device=log_alpha.device)
        wanted = log_alpha.double()
        right = torch.searchsorted(-falling, -wanted.contiguous()).clamp(1, self.timesteps)
        fraction = (wanted - falling[right - 1]) / (falling[right] - falling[right - 1])
        return ((right - 1 + fraction) / self.timesteps).to(log_alpha.dtype)


def _sampled(schedule: VariancePreserving, timesteps: int, *, largest: float = 1.0) -> Discrete:
    """The discrete schedule that agrees with a continuous one at t = i / T, its betas bounded by `largest`."""
    log_alpha = schedule.log_alpha(torch.linspace(0, 1, timesteps + 1, dtype=torch.float64))
    return Discrete((-torch.expm1(2 * log_alpha.diff())).clamp(max=largest))


def _linear_vp(spec: ScheduleSpec) -> Schedule:
    return LinearVP() if spec.timesteps is None else _sampled(LinearVP(), spec.timesteps)


def _cosine(spec: ScheduleSpec) -> Schedule:
    # The bound is the paper's (section 3.2); without it the last beta would be one.
    return Cosine() if spec.timesteps is None else _sampled(Cosine(1.0), spec.timesteps, largest=0.999)


def _straight(spec: ScheduleSpec) -> Schedule:
    if spec.timesteps is not None:
        raise UserError(
            f"schedule.timesteps: 'straight' has continuous time, so {spec.timesteps} does not apply; use None"
        )
    return Straight()


def _ddpm_linear(spec: ScheduleSpec) -> Schedule:
    """Betas linear from 1e-4 to 0.02 at T = 1000 (Ho et al., 2020, section 4), scaled by 1000 / T for other T."""
    steps = spec.timesteps or 1000
    return Discrete(torch.linspace(0.1 / steps, 20.0 / steps, steps, dtype=torch.float64))


SCHEDULES: dict[str, Callable[[ScheduleSpec], Schedule]] = {
    "linear_vp": _linear_vp,
    "ddpm_linear": _ddpm_linear,
    "cosine": _cosine,
    "straight": _straight,
}


def schedule_from(spec: ScheduleSpec) -> Schedule:
    """The schedule that `spec` names. Raises UserError for an unknown name or timesteps that it cannot have."""
    if spec.timesteps is not None and spec.timesteps < 1:
        raise UserError(f"schedule.timesteps: {spec.timesteps} given; a whole number from 1 is needed")
    return look_up(SCHEDULES, spec.name, "schedule.name")(spec)
