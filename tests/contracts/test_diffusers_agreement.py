"""The same network, noise and grid through this library and through diffusers' schedulers: equal to 1e-4 in float32."""

from __future__ import annotations

from typing import Any, ClassVar

import diffusers
import pytest
import torch
from torch import Tensor, nn

from workbench.diffusion.conversions import noise_from
from workbench.diffusion.denoiser import Preconditioned
from workbench.diffusion.oracle import MixtureOracle
from workbench.diffusion.schedule import Discrete
from workbench.sampling import Sampler, sample
from workbench.sampling.ancestral import DDIM, Ancestral
from workbench.sampling.dpm_solver import DPMSolver2M, DPMSolver3M, SDEDPMSolver2M
from workbench.sampling.runge_kutta import Euler, Heun
from workbench.sampling.unipc import UniPC

T, ROWS, SHAPE = 1000, 6, (1, 4, 4)
BETAS = torch.linspace(1e-4, 0.02, T, dtype=torch.float64)
SCHEDULE = Discrete(BETAS)
COMMON = {"num_train_timesteps": T, "beta_start": 1e-4, "beta_end": 0.02, "beta_schedule": "linear"}


class Network(nn.Module):
    """The noise prediction of a mixture of two images: not linear, and its samples are of the size of images."""

    def __init__(self) -> None:
        super().__init__()
        means = torch.linspace(-1, 1, 16, dtype=torch.float64).reshape(SHAPE)
        weights = torch.tensor([0.4, 0.6], dtype=torch.float64)
        self.oracle = MixtureOracle(weights, torch.stack([means, -means.flip(-1)]), 0.3, SCHEDULE)

    def forward(self, x: Tensor, noise_level: Tensor, labels: Tensor | None) -> Tensor:
        t = SCHEDULE.inverse(4 * noise_level.double())
        alpha, sigma = (c.to(x.dtype).reshape(-1, 1, 1, 1) for c in SCHEDULE(t))
        return noise_from(self.oracle(x, t), x, alpha, sigma)


DENOISER = Preconditioned(Network(), SCHEDULE, prediction="noise", data_std=1.0)


def noise_prediction(x: Tensor, timestep: int) -> Tensor:
    """What diffusers calls the model output; its timestep i is t = (i + 1) / T here."""
    return DENOISER.output(x, torch.tensor((timestep + 1) / T, dtype=torch.float64))


def start() -> Tensor:
    return torch.randn(ROWS, *SHAPE, generator=torch.Generator().manual_seed(0))


class Recorded:
    """Standard normals in a fixed order, for both sides."""

    def __init__(self) -> None:
        self.generator = torch.Generator().manual_seed(1)

    def __call__(self, *times: float) -> Tensor:
        return torch.randn(ROWS, *SHAPE, generator=self.generator)


def ours(sampler: Sampler, timesteps: list[int]) -> Tensor:
    grid = torch.tensor([(i + 1) / T for i in timesteps] + [0.0], dtype=torch.float64)
    return sample(DENOISER, sampler, start(), grid, noise=Recorded())


def theirs(scheduler: Any) -> Tensor:
    """The loop of diffusers' own examples."""
    x = start()
    for timestep in scheduler.timesteps:
        x = scheduler.step(noise_prediction(x, int(timestep)), timestep, x).prev_sample
    return x


def spaced(scheduler: Any, steps: int) -> list[int]:
    scheduler.set_timesteps(steps)
    return [int(i) for i in scheduler.timesteps]


@pytest.fixture(autouse=True)
def same_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    """diffusers draws noise by one helper; here it draws what our sampler is given."""
    noise = Recorded()

    def drawn(*args: Any, **kwargs: Any) -> Tensor:
        return noise()

    for module in ("scheduling_ddpm", "scheduling_ddim", "scheduling_dpmsolver_multistep"):
        monkeypatch.setattr(f"diffusers.schedulers.{module}.randn_tensor", drawn)


# With the large variance diffusers adds noise in a last step that does not begin at timestep 0; no noise is added here.
@pytest.mark.parametrize(
    ("variance", "name", "steps"),
    [("small", "fixed_small", 20), ("small", "fixed_small", T), ("large", "fixed_large", T)],
)
def test_ddpm(variance: Any, name: str, steps: int) -> None:
    scheduler = diffusers.DDPMScheduler(
        **COMMON, variance_type=name, clip_sample=False, timestep_spacing="trailing"
    )
    timesteps = spaced(scheduler, steps)
    close(theirs(scheduler), ours(Ancestral(variance=variance), timesteps))


class WithVariance(nn.Module):
    """Twice the channels, the second half for the variance."""

    def forward(self, x: Tensor, noise_level: Tensor, labels: Tensor | None) -> Tensor:
        return torch.cat([Network()(x, noise_level, labels), 2 * torch.sin(3 * x)], dim=1)


def test_ddpm_with_learned_variance() -> None:
    """Nichol & Dhariwal (2021, eq. 15); diffusers takes the place between the bounds in [-1, 1], not [0, 1]."""
    scheduler = diffusers.DDPMScheduler(
        **COMMON, variance_type="learned_range", clip_sample=False, timestep_spacing="trailing"
    )
    denoiser = Preconditioned(
        WithVariance(), SCHEDULE, prediction="noise", data_std=1.0, learned_variance=True
    )
    timesteps, x = spaced(scheduler, T), start()
    for timestep in scheduler.timesteps:
        output = denoiser.output(x, torch.tensor((int(timestep) + 1) / T, dtype=torch.float64))
        noise, place = output.chunk(2, dim=1)
        output = torch.cat([noise, 2 * place.sigmoid() - 1], dim=1)
        x = scheduler.step(output, timestep, x).prev_sample
    grid = torch.tensor([(i + 1) / T for i in timesteps] + [0.0], dtype=torch.float64)
    close(x, sample(denoiser, Ancestral(variance="learned"), start(), grid, noise=Recorded()))


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_ddim(eta: float) -> None:
    scheduler = diffusers.DDIMScheduler(
        **COMMON, clip_sample=False, timestep_spacing="trailing", set_alpha_to_one=True
    )
    timesteps = spaced(scheduler, 20)
    x = start()
    for timestep in scheduler.timesteps:
        x = scheduler.step(noise_prediction(x, int(timestep)), timestep, x, eta=eta).prev_sample
    close(x, ours(DDIM(eta=eta), timesteps))


def test_euler() -> None:
    scheduler = diffusers.EulerDiscreteScheduler(**COMMON, timestep_spacing="trailing")
    timesteps = spaced(scheduler, 20)
    close(in_sigma(scheduler), ours(Euler(), timesteps))


def test_heun() -> None:
    scheduler = diffusers.HeunDiscreteScheduler(**COMMON, timestep_spacing="trailing")
    timesteps = list(dict.fromkeys(spaced(scheduler, 20)))
    close(in_sigma(scheduler), ours(Heun(), timesteps))


def in_sigma(scheduler: Any) -> Tensor:
    """Schedulers that count in sigma / alpha start at x / alpha."""
    first = torch.tensor((int(scheduler.timesteps[0]) + 1) / T, dtype=torch.float64)
    x = start() / float(SCHEDULE(first)[0])
    for timestep in scheduler.timesteps:
        scaled = scheduler.scale_model_input(x, timestep)
        x = scheduler.step(noise_prediction(scaled, int(timestep)), timestep, x).prev_sample
    return x


class PublishedThirdOrder(DPMSolver3M):
    """As in the authors' code: half the curvature."""

    curvature: ClassVar[float] = 1.0


@pytest.mark.parametrize(
    ("order", "algorithm", "sampler"),
    [
        (2, "dpmsolver++", DPMSolver2M()),
        (3, "dpmsolver++", PublishedThirdOrder()),
        (2, "sde-dpmsolver++", SDEDPMSolver2M()),
    ],
    ids=["2m", "3m", "sde_2m"],
)
def test_dpm_solver(order: int, algorithm: str, sampler: Sampler) -> None:
    scheduler = diffusers.DPMSolverMultistepScheduler(
        **COMMON,
        solver_order=order,
        algorithm_type=algorithm,
        timestep_spacing="trailing",
        final_sigmas_type="zero",
    )
    timesteps = spaced(scheduler, 20)
    close(theirs(scheduler), ours(sampler, timesteps))


def test_third_order_differs_by_the_curvature_alone() -> None:
    timesteps = list(range(999, 0, -50))
    published, corrected = ours(PublishedThirdOrder(), timesteps), ours(DPMSolver3M(), timesteps)
    gap = float((published - corrected).abs().max() / published.abs().max())
    assert 1e-4 < gap < 0.05


def test_unipc() -> None:
    scheduler = diffusers.UniPCMultistepScheduler(
        **COMMON, solver_order=2, solver_type="bh2", timestep_spacing="trailing", final_sigmas_type="zero"
    )
    timesteps = spaced(scheduler, 20)
    close(theirs(scheduler), ours(UniPC(), timesteps))


def close(theirs: Tensor, ours: Tensor) -> None:
    assert float(theirs.abs().max()) < 3  # of the size of data, so that the bound means something
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4)
