"""Diffusion models: discrete-time DDPM and the continuous formulation, in the same terms."""

from __future__ import annotations

from typing import get_args

import torch
from torch import Tensor

from workbench.diffusion.denoiser import Clipped, Counting, Denoiser, Guided, Preconditioned
from workbench.diffusion.likelihood import continuous_bound, discrete_bound
from workbench.diffusion.objectives import denoising_loss
from workbench.diffusion.schedule import Discrete, schedule_from
from workbench.models.base import Event, GenerativeModel, LikelihoodKind, Objective, Watch
from workbench.nn import backbone
from workbench.registry import UserError, unknown
from workbench.rng import Draws
from workbench.sampling import BrownianPath, sample, sampler_from, time_grid
from workbench.spec import DiffusionSpec, SamplingSpec, Variance

BOUND_DRAWS = 32  # noise levels a row at which the bound is evaluated


class DiffusionModel(GenerativeModel):
    """A preconditioned denoiser and the loss that trains it.

    With a discrete schedule of T timesteps, noise prediction and uniform weighting of the noise error this is the DDPM
    of Ho et al. (2020), L_simple included; with learned variance that of Nichol & Dhariwal (2021), L_hybrid. On the
    schedule `straight` with prediction `flow` it is flow matching (Lipman et al., 2023).
    """

    likelihood_kind: LikelihoodKind = "bound"

    def __init__(self, spec: DiffusionSpec, event: Event) -> None:
        super().__init__()
        if spec.variance not in get_args(Variance):
            raise unknown("model.variance", spec.variance, get_args(Variance))
        if not 0 <= spec.label_dropout <= 1:
            raise UserError(
                f"model.label_dropout: {spec.label_dropout:g} given; a share from 0 to 1 is needed"
            )
        self.spec, self.event = spec, event
        self.classes = event.classes if spec.conditional else 0
        learned = spec.variance == "learned"
        outputs = event.shape[0] * (2 if learned else 1)
        self.preconditioned = Preconditioned(
            backbone(spec.backbone, event_shape=event.shape, outputs=outputs, classes=self.classes),
            schedule_from(spec.schedule),
            prediction=spec.prediction,
            data_std=event.std,
            learned_variance=learned,
        )

    def sample(
        self, draws: Draws, cond: Tensor | None, sampling: SamplingSpec, watch: Watch | None = None
    ) -> Tensor:
        """Rows [B, *S] from noise at t = 1 along the time grid of `sampling`, on the Brownian path of `draws`.

        Raises UserError for what `require_sampling` does, and an unknown sampler or grid.
        """
        require_sampling(self.spec, sampling)
        watch, shape = watch or Watch(), self.event.shape
        counting = Counting(self.preconditioned)
        denoiser = wrapped(counting, sampling, null_label=self.classes)
        sampler = sampler_from(sampling)
        grid = time_grid(sampling.time_grid, denoiser.schedule, sampler.steps_for(sampling.nfe))
        _, sigma = denoiser.schedule(grid[:1])
        x_1 = float(sigma) * draws.normal("initial", shape=shape)
        if len(shape) == 3:
            x_1 = x_1.contiguous(memory_format=torch.channels_last)
        path = BrownianPath(draws.seed, start=draws.start, stop=draws.stop, shape=shape, device=draws.device)
        rows = sample(denoiser, sampler, x_1, grid, cond=cond, noise=path, on_step=watch.on_step)
        watch.evaluations += counting.rows
        return rows

    def evaluations(self, sampling: SamplingSpec) -> int:
        sampler = sampler_from(sampling)
        return sampler.nfe(sampler.steps_for(sampling.nfe))

    def log_prob(self, images: Tensor, cond: Tensor | None, generator: torch.Generator) -> Tensor:
        """An unbiased estimate of the variational bound of each image [B, *S], in nats: [B].

        It is taken at BOUND_DRAWS stratified noise levels a row, so a single row is off by several nats and a mean over
        rows is what to read. The bound is that of the model as defined: of its T timesteps, or in continuous time.
        """
        denoiser, levels = self.preconditioned, self.event.levels
        if isinstance(denoiser.schedule, Discrete):
            return discrete_bound(
                denoiser,
                images,
                cond,
                levels=levels,
                draws=BOUND_DRAWS,
                variance=self.spec.variance,
                generator=generator,
            ).log_prob
        return continuous_bound(
            denoiser, images, cond, levels=levels, draws=BOUND_DRAWS, generator=generator
        ).log_prob

    def loss(self, images: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        """The denoising loss of each row: [B]."""
        condition = labels if self.spec.conditional else None
        if condition is not None and self.spec.label_dropout:
            dropped = torch.rand(len(labels), generator=generator) < self.spec.label_dropout
            condition = labels.masked_fill(dropped.to(labels.device), self.classes)
        return denoising_loss(self.preconditioned, images, condition, spec=self.spec, generator=generator)

    def objectives(self) -> tuple[Objective, ...]:
        return (
            Objective(name="denoising", loss=self.loss, parameters=self.parameters, unit="squared error"),
        )


def require_sampling(spec: DiffusionSpec, sampling: SamplingSpec) -> None:
    """Raises UserError for a way to sample that a model was not trained for."""
    if sampling.guidance != 1 and not (spec.conditional and spec.label_dropout):
        raise UserError(
            f"guidance: {sampling.guidance:g} given; it needs a model of labels that was trained without them at times "
            "(conditional, and label_dropout above 0), else leave it at 1"
        )
    if sampling.sampler == "ddpm" and sampling.variance == "learned" != spec.variance:
        raise UserError(
            f"variance: 'learned' given for a model whose variance is {spec.variance!r}; one that learns it is needed"
        )


def wrapped(denoiser: Denoiser, sampling: SamplingSpec, *, null_label: int) -> Denoiser:
    """The denoiser as `sampling` asks for it: guided by labels, its mean clipped to [-1, 1]."""
    if sampling.guidance != 1.0:
        denoiser = Guided(denoiser, sampling.guidance, null_label=null_label)
    return Clipped(denoiser) if sampling.clip else denoiser
