"""What an experiment is: frozen dataclasses of scientific choices only.

Nothing here names a device, a path, a worker count or a log option, so two specs that are equal describe the same
result wherever it is computed. The key of a spec (see `identity`) covers every field, nested specs included.
This module imports neither torch nor any other heavy package: studies, planning and the dashboard read it.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

Scale = Literal["smoke", "quick", "standard", "full"]
SCALES: tuple[Scale, ...] = ("smoke", "quick", "standard", "full")

Prediction = Literal["noise", "clean", "velocity", "unit", "flow"]
Variance = Literal["small", "large", "learned"]


@dataclass(frozen=True, kw_only=True)
class DataSpec:
    """A data set by name; `digest` is the sha256 of the content for data that the user brings, else None."""

    name: str = "digits"
    digest: str | None = None


@dataclass(frozen=True, kw_only=True)
class BackboneSpec:
    """A network of unit-variance input and output. `width` channels at the first level, times `multipliers` below.

    `attention` tells for each level whether its blocks end in self-attention; `patch` is the side in pixels of the
    patches that the first layer folds into channels (1: none).
    """

    name: str = "unet"
    width: int = 32
    multipliers: tuple[int, ...] = (1, 2)
    blocks: int = 1
    attention: tuple[bool, ...] = (False, True)
    patch: int = 1
    dropout: float = 0.0


@dataclass(frozen=True, kw_only=True)
class ScheduleSpec:
    """A noise schedule by name; `timesteps` is DDPM's T for a discrete-time schedule, None for continuous time."""

    name: str = "linear_vp"
    timesteps: int | None = None


@dataclass(frozen=True, kw_only=True)
class DiffusionSpec:
    """A diffusion model. `prediction` is what the network's output means: the noise, the clean image, the velocity,
    `unit`, the unit-variance mixture of the two that Karras et al. (2022) derive, or `flow`, noise minus clean image,
    which on the schedule `straight` is flow matching.

    `noise_density` is the law of t in training and `weighting` the weight on the squared error of the output.
    `variance` is that of the reverse step: fixed (small or large, Ho et al. 2020) or learned (Nichol & Dhariwal 2021).
    """

    backbone: BackboneSpec = BackboneSpec()
    schedule: ScheduleSpec = ScheduleSpec()
    prediction: Prediction = "unit"
    noise_density: str = "uniform"
    weighting: str = "output"
    variance: Variance = "small"
    conditional: bool = True
    label_dropout: float = 0.1


@dataclass(frozen=True, kw_only=True)
class ClassifierSpec:
    """A convolutional classifier; its penultimate layer is the feature space `cnn` of the measures."""

    name: str = "cnn"
    width: int = 32
    features: int = 64
    dropout: float = 0.2
    shift_pixels: int = 1


@dataclass(frozen=True, kw_only=True)
class VAESpec:
    """A convolutional variational autoencoder: an encoder and a decoder of `blocks` residual blocks a level, `width`
    channels at the first level, times `multipliers` below, each further level at half the resolution.

    `latent` is a vector of `latent_width` values, or spatial: `latent_width` channels at the lowest resolution.
    `beta` weighs the divergence of the posterior from the prior (Higgins et al., 2017), and `free_bits` is how much of
    it a channel of the latent has for nothing (Kingma et al., 2016); at 1 and 0 the objective is the plain bound.
    """

    width: int = 32
    multipliers: tuple[int, ...] = (1, 2, 2)
    blocks: int = 1
    patch: int = 1
    latent: Literal["vector", "spatial"] = "vector"
    latent_width: int = 32
    beta: float = 1.0
    free_bits: float = 0.0
    dropout: float = 0.0
    conditional: bool = True


@dataclass(frozen=True, kw_only=True)
class LadderVAESpec:
    """A hierarchical variational autoencoder with a shared top-down path: `layers` tells for each level, the finest
    first, how many layers of `latent_width` channels are drawn there; the other fields are those of VAESpec."""

    width: int = 32
    multipliers: tuple[int, ...] = (1, 1, 1)
    layers: tuple[int, ...] = (1, 2, 3)
    patch: int = 1
    latent_width: int = 8
    beta: float = 1.0
    free_bits: float = 0.0
    dropout: float = 0.0
    conditional: bool = True


@dataclass(frozen=True, kw_only=True)
class CouplingFlowSpec:
    """A multi-scale flow of affine couplings (Glow, Kingma & Dhariwal 2018): `scales` squeezes, `steps` couplings at
    each, and in each coupling a network of `width` channels with `blocks` residual blocks."""

    scales: int = 2
    steps: int = 8
    width: int = 32
    blocks: int = 1
    dropout: float = 0.0
    conditional: bool = True


@dataclass(frozen=True, kw_only=True)
class AutoregressiveFlowSpec:
    """A transformer autoregressive flow (TarFlow, Zhai et al. 2024) on patches of `patch` pixels a side: `blocks` of
    alternating direction, each a causal transformer of `width` channels with `layers` layers.

    `noise_std` is the standard deviation of the noise that is added to images of [-1, 1] in training and taken away
    again after sampling.
    """

    patch: int = 2
    blocks: int = 4
    layers: int = 2
    width: int = 64
    noise_std: float = 0.1
    dropout: float = 0.0
    conditional: bool = True


@dataclass(frozen=True, kw_only=True)
class GANSpec:
    """A generator and a discriminator, residual networks without norms, trained by the relativistic pairing loss with
    both zero-centred gradient penalties (R3GAN: Huang et al., 2024).

    `width` channels at the finest level of either, times `multipliers` below, `blocks` residual blocks a level; `patch`
    is the side in pixels of the patches of the finest level. `latent` is the dimension of the generator's input and
    `gamma` the weight of the penalties. Train it with `OptimiserSpec(beta_1=0.0, beta_2=0.99)`, as R3GAN: a momentum
    that outlives the opponent's answer makes the two circle each other.
    """

    latent: int = 64
    generator_width: int = 64
    discriminator_width: int = 64
    multipliers: tuple[int, ...] = (1, 2)
    blocks: int = 1
    patch: int = 1
    gamma: float = 1.0
    conditional: bool = True


ModelSpec = (
    DiffusionSpec
    | ClassifierSpec
    | VAESpec
    | LadderVAESpec
    | CouplingFlowSpec
    | AutoregressiveFlowSpec
    | GANSpec
)


@dataclass(frozen=True, kw_only=True)
class OptimiserSpec:
    """Adam with decoupled weight decay, linear warm-up, then a cosine to `final_fraction` of the learning rate."""

    learning_rate: float = 1e-3
    beta_1: float = 0.9
    beta_2: float = 0.99
    weight_decay: float = 0.0
    warmup_images: int = 10_000
    final_fraction: float = 0.0
    clip_norm: float = 1.0


@dataclass(frozen=True, kw_only=True)
class BudgetSpec:
    """How much a fit may see: `images_seen` training images in batches of `batch_size`."""

    images_seen: int = 100_000
    batch_size: int = 128

    @property
    def steps(self) -> int:
        """Optimiser steps, rounded up."""
        return -(-self.images_seen // self.batch_size)


@dataclass(frozen=True, kw_only=True)
class FitSpec:
    """A training: data, model, optimiser, budget, seed. The exponential moving average of the weights is the result.

    `ema_halflife_images` is the half-life of the average; it is shortened to 5 % of the images seen so far.
    """

    data: DataSpec = DataSpec()
    model: ModelSpec = DiffusionSpec()
    optimiser: OptimiserSpec = OptimiserSpec()
    budget: BudgetSpec = BudgetSpec()
    ema_halflife_images: int = 20_000
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class OracleSpec:
    """An exact denoiser of a Gaussian mixture in `dimensions` dimensions: no network, so no error of learning."""

    name: str = "mixture"
    components: int = 8
    dimensions: int = 16
    component_std: float = 0.15
    schedule: ScheduleSpec = ScheduleSpec()
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class SamplingSpec:
    """How rows are drawn. `nfe` is the budget of network evaluations a sample: the sampler takes as many steps as fit
    into it, and what it used is counted. `eta` scales the noise of DDIM; `variance` is that of the ancestral sampler.

    `guidance` is the scale of classifier-free guidance (1: none); `clip` bounds each clean prediction to the data
    range; `seed` addresses the initial noise and the Brownian path, which all arms of a study share.
    """

    sampler: str = "ddim"
    nfe: int = 20
    time_grid: str = "uniform_t"
    eta: float = 0.0
    variance: Variance = "small"
    guidance: float = 1.0
    clip: bool = False
    rows: int = 500
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class MeasureSpec:
    """Which measures are taken, in which feature spaces, against how many rows of the test split.

    `classifier` is the fit whose penultimate layer gives the feature space `cnn` and whose labels recognise samples.
    `probes` are taken of the model itself, not of its rows: its likelihood, the seconds that one image takes.
    """

    names: tuple[str, ...] = ("frechet", "kernel")
    extractors: tuple[str, ...] = ("cnn", "random_conv")
    classifier: FitSpec = FitSpec(model=ClassifierSpec())
    rows: int = 500
    probes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class OracleMeasureSpec:
    """Exact errors of rows drawn with an oracle: no features and no reference sample are needed."""

    names: tuple[str, ...] = ("endpoint_error", "sliced_wasserstein")


@dataclass(frozen=True, kw_only=True)
class TrialSpec:
    """One row of a study: where samples come from, how they are drawn, what is measured.

    `label` tells apart rows that are alike in all else, where a study compares one model in several ways.
    """

    source: FitSpec | OracleSpec
    sampling: SamplingSpec
    measures: MeasureSpec | OracleMeasureSpec
    label: str = ""


# An arm is what distinguishes a trial from the base trial of its study: names and values. A dotted name is a field of
# the trial, a plain one an argument of the study's preset.
Arm = tuple[tuple[str, Any], ...]


def arm(**fields: Any) -> Arm:
    """One arm. Dots are written as double underscores: `arm(sampling__nfe=10)` sets `sampling.nfe`, `arm(family="vae")`
    asks the preset for that family."""
    return tuple((name.replace("__", "."), value) for name, value in fields.items())


def grid(**axes: Iterable[Any]) -> tuple[Arm, ...]:
    """All combinations of the axes, the last varying fastest."""
    return tuple(arm(**dict(zip(axes, values, strict=True))) for values in itertools.product(*axes.values()))


def zipped(**axes: Iterable[Any]) -> tuple[Arm, ...]:
    """The axes in step: the first values together, the second values together. They must be of equal length."""
    return tuple(arm(**dict(zip(axes, values, strict=True))) for values in zip(*axes.values(), strict=True))


_Spec = TypeVar("_Spec")


def with_fields(spec: _Spec, fields: Mapping[str, Any] | Arm) -> _Spec:
    """A copy of `spec` with dotted fields replaced. Raises ValueError for a field that the spec does not have."""
    result: Any = spec
    for path, value in dict(fields).items():
        result = _with_field(result, path.split("."), value, path)
    return result  # type: ignore[no-any-return]


def _with_field(spec: Any, path: list[str], value: Any, whole: str) -> Any:
    known = [field.name for field in dataclasses.fields(spec)]
    if path[0] not in known:
        raise ValueError(
            f"field {whole!r}: {type(spec).__name__} has no {path[0]!r}; it has {', '.join(known)}"
        )
    inner = value if len(path) == 1 else _with_field(getattr(spec, path[0]), path[1:], value, whole)
    return dataclasses.replace(spec, **{path[0]: inner})


@dataclass(frozen=True)
class Ratio:
    """The statistic `measure(arm) / measure(reference)`, one value a seed, its interval taken on the logarithm."""

    measure: str
    arm: Arm
    reference: Arm


@dataclass(frozen=True)
class Slope:
    """The statistic d log(measure) / d log(field) by least squares over all arms, one value a seed.

    With `spread`, the measure's standard deviation over seeds is regressed instead; its interval is by the jackknife
    over seeds.
    """

    measure: str
    field: str
    spread: bool = False


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A sentence that can fail: the statistic is `at_least` or `at_most` the bound.

    Supported when the 95 % interval over seeds lies wholly on the claimed side of `bound`, refuted when wholly on the
    other, else inconclusive. Bounds are set before the study is run.
    """

    name: str
    text: str
    statistic: Ratio | Slope
    relation: Literal["at_least", "at_most"]
    bound: float
    why: str


@dataclass(frozen=True, kw_only=True)
class Study:
    """A research question as a value: question, expectation, grid of trials, primary measure, decision rule.

    `preset` names the base trial for a data set and scale (see `expansion`); each arm changes some of its fields, or
    chooses among what the preset offers.
    `smoke_arms` are the few that the scale `smoke` runs. `oracle_arms` are run on the exact denoiser `oracle` besides.
    """

    name: str
    question: str
    expectation: str
    how_to_read: str
    preset: str
    arms: tuple[Arm, ...]
    smoke_arms: tuple[Arm, ...]
    oracle: OracleSpec | None = None
    oracle_arms: tuple[Arm, ...] = ()
    primary: str = "frechet[cnn]"
    claims: tuple[Claim, ...] = ()
    caveats: tuple[str, ...] = ()
