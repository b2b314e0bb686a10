"""The likelihood by the probability-flow ODE, where the density is known."""

from __future__ import annotations

import math

import torch
from known_laws import (
    DOUBLE,
    LEVELS,
    blurred,
    every_schedule,
    gaussian,
    little_noise,
    near,
    on_levels,
    points,
)
from torch import Tensor
from torch.distributions import Normal

from workbench.diffusion.ode_likelihood import axes, ode_log_density, ode_log_prob, rademacher
from workbench.diffusion.oracle import MixtureOracle
from workbench.diffusion.schedule import LinearVP, Schedule
from workbench.levels import spacing
from workbench.rng import stream


@every_schedule
def test_ode_density_is_exact_with_the_exact_divergence(schedule: Schedule) -> None:
    """To 1e-3 nats: the law at the start is N(mean, std^2 + ratio^2); it is pushed on without loss."""
    log_snr, oracle = 6.0, gaussian(schedule)
    y = on_levels(20) + math.exp(-3) * torch.randn(20, 3, generator=stream(0, "noise"), dtype=DOUBLE)
    density = ode_log_density(oracle, y, None, log_snr=log_snr, steps=80, probes=axes(y))
    t, one = schedule.inverse(torch.tensor(log_snr, dtype=DOUBLE)), torch.ones((), dtype=DOUBLE)
    (alpha, _), (_, sigma) = schedule(t), schedule(one)
    (mean, std), (mean_1, std_1) = oracle.marginal(t), oracle.marginal(one)
    of_oracle = Normal(mean / alpha, std / alpha).log_prob(y)
    # The sampler starts from N(0, sigma^2), the oracle from its own law.
    x_1 = oracle.flow(alpha * y, t, one)
    start = Normal(torch.zeros_like(mean_1), sigma).log_prob(x_1) - Normal(mean_1, std_1).log_prob(x_1)
    torch.testing.assert_close(density, (of_oracle + start).sum(1), rtol=0, atol=1e-3)


def test_error_of_the_ode_density_is_of_fourth_order() -> None:
    y, errors = on_levels(20), []
    reference = ode_log_density(gaussian(LinearVP()), y, None, log_snr=6.0, steps=160, probes=axes(y))
    for steps in (10, 20):
        rough = ode_log_density(gaussian(LinearVP()), y, None, log_snr=6.0, steps=steps, probes=axes(y))
        errors.append(float((rough - reference).norm()))
    assert 3.5 < math.log2(errors[0] / errors[1]) < 4.7, errors


def test_hutchinson_is_unbiased_and_axes_are_exact() -> None:
    generator = stream(0, "jacobian")
    jacobian = torch.randn(6, 6, generator=generator, dtype=DOUBLE)
    rows = torch.zeros(2, 2, 3, dtype=DOUBLE)

    def forms(probes: Tensor) -> Tensor:
        v = probes.flatten(2)
        return ((v @ jacobian.T) * v).sum(2)

    torch.testing.assert_close(forms(axes(rows)).mean(0), jacobian.trace().expand(2))
    drawn = forms(rademacher(rows, 20_000, generator)).flatten()
    assert float(drawn.std()) > 1
    assert abs(float(drawn.mean() - jacobian.trace())) < 4 * float(drawn.std()) / len(drawn) ** 0.5


def test_hutchinson_estimates_the_density_of_a_mixture() -> None:
    """Its Jacobian is not diagonal, so that signs alone do not give the trace."""
    means = torch.tensor(
        [[0.6, 0.3, -0.3], [-0.4, -0.2, 0.2]], dtype=DOUBLE
    )  # of mean zero, as the sampler starts
    oracle = MixtureOracle(torch.tensor([0.4, 0.6], dtype=DOUBLE), means, 0.25, LinearVP())
    y = torch.tensor([[0.2, 0.1, 0.1]], dtype=DOUBLE).expand(10_000, 3)
    full = ode_log_density(oracle, y[:1], None, log_snr=6.0, steps=80, probes=axes(y[:1]))
    components = Normal(means, math.sqrt(0.25**2 + math.exp(-6))).log_prob(y[0]).sum(1)
    known = torch.logsumexp(oracle.weights.log() + components, 0)
    torch.testing.assert_close(full[0], known, rtol=0, atol=1e-3)
    estimates = ode_log_density(
        oracle, y, None, log_snr=6.0, steps=20, probes=rademacher(y, 1, stream(0, "probes"))
    )
    assert float(estimates.std()) > 0.01
    near(estimates, known.expand(10_000), tolerance=0.01)


@every_schedule
def test_ode_estimate_is_the_probability_of_images(schedule: Schedule) -> None:
    oracle, smooth = points(schedule), on_levels(4000)
    for mean, weight in zip(oracle.means, oracle.weights, strict=True):
        x_0 = mean.expand(4000, 3)
        estimates = ode_log_prob(
            oracle, x_0, None, levels=9, generator=stream(0, "ode"), steps=50, log_snr=little_noise(9)
        )
        near(estimates, weight.log().expand(4000), tolerance=0.02)
    estimates = ode_log_prob(
        gaussian(schedule),
        smooth,
        None,
        levels=LEVELS,
        generator=stream(0, "ode"),
        log_snr=little_noise(LEVELS),
    )
    near(estimates, blurred(smooth, spacing(LEVELS) / 6), tolerance=0.03)  # of telling the levels apart
