"""Exact denoisers: laws whose clean mean is known, so that what a sampler gets wrong is its own error alone."""

from __future__ import annotations

import torch
from torch import Tensor

from workbench.diffusion.denoiser import Denoiser
from workbench.diffusion.schedule import Schedule, schedule_from
from workbench.registry import unknown
from workbench.rng import stream
from workbench.shapes import over_rows
from workbench.spec import OracleSpec


class GaussianOracle(Denoiser):
    """x_0 ~ N(mean, diag(std^2)): D = mean + alpha std^2 / (alpha^2 std^2 + sigma^2) (x_t - alpha mean)."""

    def __init__(self, mean: Tensor, std: Tensor, schedule: Schedule) -> None:
        """`mean` and `std` are [*S]."""
        super().__init__()
        self.mean, self.std, self.schedule = mean, std, schedule

    def forward(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        alpha, sigma = (over_rows(c, x_t).to(x_t.dtype) for c in self.schedule(t))
        variance = self.std.to(x_t).square()
        gain = alpha * variance / (alpha.square() * variance + sigma.square())
        mean = self.mean.to(x_t)
        return mean + gain * (x_t - alpha * mean)

    def marginal(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of x_t at t []: alpha mean and sqrt(alpha^2 std^2 + sigma^2), both [*S]."""
        alpha, sigma = self.schedule(t)
        return alpha * self.mean, (alpha.square() * self.std.square() + sigma.square()).sqrt()

    def flow(self, x_t: Tensor, t: Tensor, s: Tensor) -> Tensor:
        """Where the probability flow carries x_t [B, *S] from t [] to s []: it keeps the standardised value."""
        (mean_t, std_t), (mean_s, std_s) = self.marginal(t), self.marginal(s)
        return mean_s + std_s / std_t * (x_t - mean_t)


class MixtureOracle(Denoiser):
    """x_0 ~ sum_k weight_k N(mean_k, std^2 I): the mean of each component's D, weighted by its posterior at x_t."""

    def __init__(self, weights: Tensor, means: Tensor, std: float, schedule: Schedule) -> None:
        """`weights` [K], positive and of sum one; `means` [K, *S]."""
        super().__init__()
        self.weights, self.means, self.std, self.schedule = weights, means, std, schedule

    def forward(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        alpha, sigma = (c.to(x_t.dtype) for c in self.schedule(t))
        means = self.means.to(x_t).flatten(1)  # [K, D]
        rows = x_t.flatten(1)  # [B, D]
        alpha, sigma = (over_rows(c.expand(len(rows)), rows) for c in (alpha, sigma))
        variance = alpha.square() * self.std**2 + sigma.square()
        # |x - alpha mean_k|^2 up to a term without k
        distance = alpha.square() * means.square().sum(1) - 2 * alpha * rows @ means.T
        responsibility = (self.weights.to(x_t).log() - 0.5 * distance / variance).softmax(dim=1)
        centre = responsibility @ means
        denoised = centre + alpha * self.std**2 / variance * (rows - alpha * centre)
        return denoised.reshape(x_t.shape)

    def draw(self, rows: int, generator: torch.Generator) -> Tensor:
        """Exact rows [rows, *S] of the law of x_0."""
        component = torch.multinomial(self.weights, rows, replacement=True, generator=generator)
        noise = torch.randn(rows, *self.means.shape[1:], generator=generator, dtype=self.means.dtype)
        return self.means[component] + self.std * noise


def mixture_from(spec: OracleSpec) -> MixtureOracle:
    """The mixture of `spec`, in float64: means of norm sqrt(dimensions) / 2 in random directions, weights
    1 : 2 : ... : K. Its values are of the size of images in [-1, 1]. Raises UserError for another name.
    """
    if spec.name != "mixture":
        raise unknown("oracle.name", spec.name, ("mixture",))
    generator = stream(spec.seed, "mixture")
    means = torch.randn(spec.components, spec.dimensions, generator=generator, dtype=torch.float64)
    means = 0.5 * spec.dimensions**0.5 * means / means.norm(dim=1, keepdim=True)
    weights = torch.arange(1, spec.components + 1, dtype=torch.float64)
    return MixtureOracle(weights / weights.sum(), means, spec.component_std, schedule_from(spec.schedule))
