"""Markovian hierarchical variational autoencoders: diffusion is one of them, and differs from others in four things."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from workbench.diffusion.conversions import PARAMETRISATIONS
from workbench.diffusion.denoiser import Counting
from workbench.diffusion.learned_schedule import LearnedSchedule
from workbench.diffusion.likelihood import cell_term, prior_term
from workbench.diffusion.objectives import least_variance, stratified, uniform
from workbench.diffusion.schedule import Discrete, schedule_from
from workbench.models.base import Event, GenerativeModel, LikelihoodKind, Objective, Watch
from workbench.models.labels import labels_of, require_no_guidance
from workbench.models.stages import Staged, StageSampler, Subspace
from workbench.nn import Backbone, backbone
from workbench.nn.layers import zeroed
from workbench.registry import UserError, look_up, unknown
from workbench.rng import Draws
from workbench.sampling import BrownianPath, sample, time_grid
from workbench.shapes import over_rows
from workbench.spec import MarkovHierarchySpec, SamplingSpec, ScheduleSpec

RATE = (
    10.0  # a variance moves this many times as fast as weights do: it must follow the error that they leave
)
CHOICES = {
    "encoder": ("fixed", "schedule", "network"),
    "decoder": ("shared", "separate"),
    "objective": ("bound", "denoising"),
    "variance": ("small", "learned"),
}


class MarkovHierarchy(GenerativeModel):
    """Latents x_T -> ... -> x_1 -> x_0, each drawn from the one before (Luo, 2022; Sohl-Dickstein et al., 2015).

    The encoder is q(x_i | x_0) = N(alpha_i u, sigma_i^2) with u = P (x_0 + e(x_0)) in the subspace of P, all of it for
    diffusion, and e a network that is absent there. The decoder takes x_0 given x_i for N(D(x_i), r_i), so that

        p(x_s | x_i) = N(posterior mean at P D, small variance + (d mean / d u)^2 r_i),    p(x_0 | x_1) = N(D, r_1)

    with r_i one number a stage (Bao et al., 2022, derive its best value) in units of the square of the error that an
    output error of one makes, or zero, which is DDPM. Noise is drawn from N(0, sigma_T^2) in the subspace.

    The encoder's network starts at zero. Where the decoder's says zero, with prediction `unit` and the learned
    variance, it is exact for white normal data.
    """

    likelihood_kind: LikelihoodKind = "bound"

    def __init__(self, spec: MarkovHierarchySpec, event: Event) -> None:
        super().__init__()
        require_choices(spec)
        self.spec, self.event = spec, event
        self.classes = event.classes if spec.conditional else 0
        start = schedule_from(ScheduleSpec(name=spec.schedule, timesteps=spec.stages))
        assert isinstance(start, Discrete)
        self.fixed = start
        self.project = Subspace(spec.latent_share, event.shape[1:])

        def network() -> Backbone:
            return backbone(
                spec.backbone, event_shape=event.shape, outputs=event.shape[0], classes=self.classes
            )

        count = spec.stages if spec.decoder == "separate" else 1
        self.networks = nn.ModuleList(network() for _ in range(count))
        self.learned = LearnedSchedule(start) if spec.encoder != "fixed" else None
        self.encoder = network() if spec.encoder == "network" else None
        if self.encoder is not None:
            zeroed(self.encoder.last)
        self.log_spread = nn.Parameter(torch.zeros(spec.stages)) if spec.variance == "learned" else None

    @property
    def schedule(self) -> Discrete:
        """The noise at each stage, as it is learned so far."""
        return self.fixed if self.learned is None else self.learned()

    def denoiser(self, schedule: Discrete) -> Staged:
        """The decoder's clean mean at each stage."""
        return Staged(self.networks, schedule, prediction=self.spec.prediction, data_std=self.event.std)

    def clean(self, images: Tensor, cond: Tensor | None) -> Tensor:
        """What the latents of images [B, *S] are noised from, u: [B, *S]."""
        moved = images
        if self.encoder is not None:
            std, level = (
                self.event.std,
                images.new_zeros(len(images)),
            )  # the noise is none, so its level is any
            moved = images + std * self.encoder(images / std, level, cond).to(images.dtype)
        out: Tensor = self.project(moved)
        return out

    def spread(self, t: Tensor, denoiser: Staged) -> Tensor:
        """The variance r of x_0 given x_t that the decoder assumes, float64 of the shape of t."""
        schedule, stage = denoiser.schedule, stage_of(t, self.spec.stages)
        if self.log_spread is None:
            return torch.where(stage == 1, least_variance(schedule), 0.0).to(t)
        gain = denoiser.parametrisation.gain(*schedule(t), self.event.std)
        return gain.square() * (RATE * self.log_spread.double()).exp()[stage - 1]

    def costs(
        self, images: Tensor, clean: Tensor, t: Tensor, cond: Tensor | None, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """For each row, at its stage t = i / T, the term of the negative bound in nats and the squared error of the
        network's output, summed over values: [B] each. The first stage's term is that of p(x_0 | x_1).

        With the objective `denoising` the clean mean is held fixed in the term.
        """
        denoiser = self.denoiser(self.schedule)
        noise = self.project(torch.randn(images.shape, generator=generator).to(images.device))
        alpha, sigma = denoiser.schedule(t)
        denoised = denoiser(wide(alpha, clean) * clean + wide(sigma, clean) * noise, t, cond)
        first = stage_of(t, self.spec.stages) == 1
        mistake = torch.where(over_rows(first, images), denoised - images, self.project(denoised - clean))
        error = mistake.square().flatten(1).sum(1)
        gain = denoiser.parametrisation.gain(alpha, sigma, self.event.std)
        output_error = error / gain.square().to(error)
        if self.spec.objective == "denoising":
            denoised, error = denoised.detach(), error.detach()
        # KL of N(m, small) from N(m + slope mistake, small + slope^2 spread), in parts that stay small
        spread = self.spread(t, denoiser)
        small, slope = posterior_of(denoiser.schedule, t, first)
        weight = slope.square() / small
        extra = weight * spread
        values = self.spec.latent_share * images[0].numel()
        wider = values * (torch.log1p(extra) - extra / (1 + extra))
        term = 0.5 * (wider.to(error) + (weight / (1 + extra)).to(error) * error)
        if bool(first.any()):
            deviation = wide(spread[first].sqrt(), images)
            likelihood = cell_term(images[first], denoised[first], deviation, self.event.levels)
            term = term.masked_scatter(first, likelihood)
        return term, output_error

    def loss(self, images: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        """The objective of each row at one stage, stages in equal shares, in nats a value for the bound: [B].

        With the objective `denoising` the bound is added for the variance alone.
        """
        cond = labels if self.classes else None
        t = uniform(stratified(len(images), generator), self.fixed).to(images.device)
        clean = self.clean(images, cond)
        term, error = self.costs(images, clean, t, cond, generator)
        values = images[0].numel()
        if self.spec.objective == "bound":
            return (self.spec.stages * term + prior_term(self.schedule, clean)) / values
        return (error + term if self.spec.variance == "learned" else error) / values

    def objectives(self) -> tuple[Objective, ...]:
        unit = "nats a value" if self.spec.objective == "bound" else "squared error"
        return (Objective(name=self.spec.objective, loss=self.loss, parameters=self.parameters, unit=unit),)

    def log_prob(self, images: Tensor, cond: Tensor | None, generator: torch.Generator) -> Tensor:
        """An unbiased estimate of the bound of each image [B, *S] in nats: [B], from one draw of each stage."""
        cond = labels_of(len(images), cond, self.classes, images.device) if self.classes else None
        clean = self.clean(images, cond)
        total = prior_term(self.schedule, clean)
        for stage in range(1, self.spec.stages + 1):
            t = torch.full((len(images),), stage / self.spec.stages, dtype=torch.float64)
            total = total + self.costs(images, clean, t.to(images.device), cond, generator)[0]
        return -total

    def sample(
        self, draws: Draws, cond: Tensor | None, sampling: SamplingSpec, watch: Watch | None = None
    ) -> Tensor:
        """Rows [B, *S] by ancestral sampling through all stages, whatever `sampling` says of steps, on the Brownian
        path of `draws`. Raises UserError for guidance."""
        require_no_guidance(sampling)
        watch, shape = watch or Watch(), self.event.shape
        cond = (
            labels_of(len(draws), cond, self.classes, draws.device or torch.device("cpu"))
            if self.classes
            else None
        )
        denoiser = self.denoiser(self.schedule)
        counting = Counting(denoiser)
        times = torch.arange(1, self.spec.stages + 1, dtype=torch.float64, device=draws.device)
        times /= self.spec.stages
        sampler = StageSampler(tuple(self.spread(times, denoiser).tolist()), self.project)
        grid = time_grid("uniform_t", denoiser.schedule, self.spec.stages)
        _, sigma = denoiser.schedule(grid[0])
        x_1 = self.project(sigma.item() * draws.normal("initial", shape=shape))
        if len(shape) == 3:
            x_1 = x_1.contiguous(memory_format=torch.channels_last)
        path = BrownianPath(draws.seed, start=draws.start, stop=draws.stop, shape=shape, device=draws.device)
        rows = sample(counting, sampler, x_1, grid, cond=cond, noise=path, on_step=watch.on_step)
        watch.evaluations += counting.rows
        return rows

    def evaluations(self, sampling: SamplingSpec) -> int:
        return self.spec.stages


def stage_of(t: Tensor, stages: int) -> Tensor:
    """The number of the stage that ends at t, from 1 to `stages`."""
    return (t * stages).round().long()


def posterior_of(schedule: Discrete, t: Tensor, first: Tensor) -> tuple[Tensor, Tensor]:
    """The variance of x_s given x_t and x_0, and the slope of its mean in x_0, for stages [B] that end at t.

    A first stage begins where there is no noise, and has neither: half-way, it has numbers that are finite.
    """
    s = t - torch.where(first, 0.5, 1.0) / schedule.timesteps
    (alpha_t, sigma_t), (alpha_s, sigma_s) = schedule(t), schedule(s)
    added = sigma_t.square() - (alpha_t / alpha_s).square() * sigma_s.square()
    return added * (sigma_s / sigma_t).square(), alpha_s * added / sigma_t.square()


def wide(values: Tensor, rows: Tensor) -> Tensor:
    """Values [B] in the type of rows [B, *S], to multiply them by."""
    return over_rows(values, rows).to(rows.dtype)


def require_choices(spec: MarkovHierarchySpec) -> None:
    """Raises UserError for a field of `spec` that has no such value, and for fields that contradict each other."""
    if spec.stages < 1:
        raise UserError(f"model.stages: {spec.stages} given; a whole number from 1 is needed")
    for field, known in CHOICES.items():
        if getattr(spec, field) not in known:
            raise unknown(f"model.{field}", getattr(spec, field), known)
    look_up(PARAMETRISATIONS, spec.prediction, "model.prediction")
    for field, value in (("objective", "denoising"), ("variance", "small")):
        if getattr(spec, field) == value and spec.encoder != "fixed":
            raise UserError(
                f"model.{field}: {value!r} given with the encoder {spec.encoder!r}, which learns by the bound with a "
                "learned variance alone; use 'fixed'"
            )
