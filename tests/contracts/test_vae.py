"""Variational autoencoders: the likelihood is a law over levels, the bound is one, and latents are what they claim."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.distributions import MultivariateNormal, Normal, kl_divergence
from toy import halves, trained

from workbench.data import to_float
from workbench.models import VAE, Event, HasLatent, HasLikelihood, LadderVAE, Watch, build, restore
from workbench.models.likelihood import DiscretisedLogistic
from workbench.models.variational import (
    IMPORTANCE_SAMPLES,
    DiagonalNormal,
    Inference,
    VariationalModel,
    charged,
)
from workbench.registry import UserError
from workbench.rng import Draws, stream
from workbench.spec import (
    LadderVAESpec,
    SamplingSpec,
    VAESpec,
    with_fields,
)

FAMILIES: dict[str, VAESpec | LadderVAESpec] = {
    "vector": VAESpec(width=8, multipliers=(1, 2), latent_width=4),
    "spatial": VAESpec(width=8, multipliers=(1, 2), latent="spatial", latent_width=2),
    "ladder": LadderVAESpec(width=8, multipliers=(1, 2), layers=(1, 2), latent_width=2),
}
EVENT = Event(shape=(1, 8, 8), classes=2, levels=17, std=0.9)


def model_of(spec: VAESpec | LadderVAESpec, event: Event = EVENT, *, fresh: bool = False) -> VariationalModel:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = build(spec, event)
        for parameter in model.parameters() if not fresh else ():  # leave the zeros of the start
            torch.nn.init.normal_(parameter, std=0.1)
    assert isinstance(model, VariationalModel)
    return model.requires_grad_(False)


def normal(*shape: int, name: str = "rows") -> Tensor:
    return torch.randn(*shape, generator=stream(0, name))


def images_of(event: Event, rows: int) -> Tensor:
    levels = torch.randint(0, event.levels, (rows, *event.shape), generator=stream(0, "images"))
    return to_float(levels, event.levels)


# The likelihood


@pytest.mark.parametrize("levels", [2, 17, 256])
def test_a_discretised_logistic_is_a_law_over_the_levels(levels: int) -> None:
    outputs = 3 * normal(50, 2, 1)
    values = torch.linspace(-1, 1, levels).expand(50, 1, levels)
    law = DiscretisedLogistic.of(outputs, levels=levels, std=0.5)
    torch.testing.assert_close(law.log_prob(values).exp().sum(2), torch.ones(50, 1), rtol=1e-4, atol=1e-5)


def test_a_discretised_logistic_is_the_difference_of_two_sigmoids() -> None:
    location, log_scale = normal(200, 1).double(), normal(200, 1, name="scale").double() - 2
    level = torch.randint(0, 17, (200, 1), generator=stream(0, "level"))
    half, x, scale = 1 / 16, level / 8.0 - 1, log_scale.exp()
    upper = torch.where(level == 16, 1.0, torch.sigmoid((x + half - location) / scale))
    lower = torch.where(level == 0, 0.0, torch.sigmoid((x - half - location) / scale))
    law = DiscretisedLogistic(location=location.float(), log_scale=log_scale.float(), levels=17)
    expected = (upper - lower).float()
    torch.testing.assert_close(law.log_prob(x).exp(), expected, rtol=1e-3, atol=1e-6)


def test_far_tails_and_narrow_scales_have_finite_gradients() -> None:
    outputs = torch.tensor([[[40.0], [-40.0]], [[-40.0], [-40.0]], [[0.0], [30.0]]], requires_grad=True)
    law = DiscretisedLogistic.of(outputs, levels=256, std=0.5)
    log_prob = law.log_prob(torch.tensor([[[-1.0]], [[0.5]], [[1.0]]]))
    log_prob.sum().backward()
    assert outputs.grad is not None
    assert bool(log_prob.isfinite().all() and outputs.grad.isfinite().all())
    assert (
        float(log_prob[:2].detach().max()) < -1000
    )  # 40 units away at the least scale: improbable, not cut off


# The bound


def test_divergence_and_ratio_agree_with_torch() -> None:
    own = DiagonalNormal(mean=normal(5, 3), log_std=normal(5, 3, name="log_std"))
    theirs, standard = Normal(own.mean, own.log_std.exp()), Normal(0.0, 1.0)
    torch.testing.assert_close(own.divergence(), kl_divergence(theirs, standard))
    noise = normal(5, 3, name="noise")
    z = own.at(noise)
    torch.testing.assert_close(own.log_ratio(noise), standard.log_prob(z) - theirs.log_prob(z))


class Linear(VariationalModel):
    """x = W z + 0.5 noise with orthogonal columns of W, so that the exact posterior is diagonal; `error` spoils it."""

    def __init__(self, error: float) -> None:
        super().__init__(
            Event(shape=(4,), classes=0, levels=256, std=1.0), beta=1.0, free_bits=0.0, conditional=False
        )
        self.latent_shape, self.error = (2,), error
        self.weight = torch.tensor([[1.0, 0.0], [0.0, 2.0], [1.0, 0.0], [0.0, 1.0]])

    def exact(self) -> MultivariateNormal:
        return MultivariateNormal(torch.zeros(4), self.weight @ self.weight.T + 0.25 * torch.eye(4))

    def posterior(self, images: Tensor) -> DiagonalNormal:
        precision = 1 + self.weight.square().sum(0) / 0.25
        mean = images @ self.weight / 0.25 / precision + self.error
        return DiagonalNormal(mean=mean, log_std=(-0.5 * precision.log() - self.error).expand_as(mean))

    def features(self, images: Tensor, cond: Tensor | None) -> list[Tensor]:
        return [images]

    def infer_from(
        self, features: Sequence[Tensor], images: Tensor, cond: Tensor | None, noise: Tensor
    ) -> Inference:
        posterior = self.posterior(features[0])
        law = Normal(posterior.at(noise) @ self.weight.T, 0.5)
        return Inference(log_likelihood=law.log_prob(images).sum(1), posteriors=(posterior,), noises=(noise,))

    def encode(self, images: Tensor, cond: Tensor | None) -> Tensor:
        return self.posterior(images).mean

    def decode(self, latents: Tensor, cond: Tensor | None) -> Tensor:
        return latents @ self.weight.T


def test_the_bound_is_exact_at_the_optimum_and_below_elsewhere() -> None:
    best, spoilt = Linear(0.0), Linear(0.3)
    row = torch.tensor([[0.5, -2.0, 1.0, 0.3]])
    exact = best.exact().log_prob(row)
    rows = row.expand(20_000, -1)
    torch.testing.assert_close(best.log_prob(row, None, stream(0, "x")), exact)  # no draw is off
    labels = torch.zeros(len(rows), dtype=torch.int64)
    bounds = {m: -4 * m.loss(rows, labels, stream(0, "x")).mean() for m in (best, spoilt)}
    torch.testing.assert_close(bounds[best], exact[0], rtol=0, atol=0.03)
    divergence = kl_divergence(
        Normal(spoilt.encode(row, None), spoilt.posterior(row).log_std.exp()),
        Normal(best.encode(row, None), best.posterior(row).log_std.exp()),
    ).sum()
    torch.testing.assert_close(bounds[spoilt], exact[0] - divergence, rtol=0, atol=0.03)
    tighter = spoilt.log_prob(rows, None, stream(0, "x")).mean()
    assert bounds[spoilt] + 0.1 < tighter < exact[0] - 0.01


def test_free_bits_are_free() -> None:
    divergences = torch.tensor([[0.1, 3.0], [0.3, 1.0]], requires_grad=True)
    cost = charged(divergences, 0.5)
    torch.testing.assert_close(cost.mean(0), torch.tensor([0.5, 2.0]))  # max(0.5, mean)
    cost.sum().backward()
    assert divergences.grad is not None
    assert divergences.grad.tolist() == [[0, 1], [0, 1]]


@pytest.mark.parametrize("name", FAMILIES)
def test_beta_and_free_bits_weigh_the_objective_but_not_the_likelihood(name: str) -> None:
    x, labels = images_of(EVENT, 4), torch.tensor([0, 1, 0, 1])
    plain = model_of(FAMILIES[name])
    weighted = restore(replace(FAMILIES[name], beta=2.0, free_bits=50.0), EVENT, plain.state_dict())
    assert isinstance(weighted, VariationalModel)
    seen = plain.infer(x, labels, plain._noise(x, stream(0, "loss")))
    channels = sum(divergences.shape[1] for divergences in seen.divergences())
    expected = (2 * channels * 50 * math.log(2) - seen.log_likelihood) / 64
    torch.testing.assert_close(weighted.loss(x, labels, stream(0, "loss")), expected)
    torch.testing.assert_close(
        weighted.log_prob(x, labels, stream(0, "x")), plain.log_prob(x, labels, stream(0, "x"))
    )


# The families


@pytest.mark.parametrize("name", FAMILIES)
def test_a_fresh_posterior_is_the_prior(name: str) -> None:
    model, x = model_of(FAMILIES[name], fresh=True), images_of(EVENT, 4)
    seen = model.infer(x, torch.zeros(4, dtype=torch.int64), normal(4, *model.latent_shape))
    assert not any(divergences.any() for divergences in seen.divergences())
    trained = model_of(FAMILIES[name])
    seen = trained.infer(x, torch.zeros(4, dtype=torch.int64), normal(4, *trained.latent_shape))
    assert all(bool((divergences > 0).all()) for divergences in seen.divergences())


@pytest.mark.parametrize("name", FAMILIES)
def test_many_draws_of_latents_take_one_encoding(name: str) -> None:
    model, x, labels = model_of(FAMILIES[name]), images_of(EVENT, 4), torch.tensor([0, 1, 0, 1])
    encoded: list[int] = []
    model.encoder.register_forward_hook(lambda module, inputs, out: encoded.append(len(inputs[0])))
    found, draws = model.log_prob(x, labels, stream(0, "x")), stream(0, "x")
    assert encoded == [4]
    one_by_one = [
        model.infer(x, labels, model._noise(x, draws)).log_weight() for _ in range(IMPORTANCE_SAMPLES)
    ]
    expected = torch.stack(one_by_one).logsumexp(0) - math.log(IMPORTANCE_SAMPLES)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("name", FAMILIES)
def test_decoding_what_inference_drew_is_its_likelihood(name: str) -> None:
    """One top-down path: the posterior's latents, handed to `decode`, give the law that inference saw."""
    model, x, labels = model_of(FAMILIES[name]), images_of(EVENT, 4), torch.tensor([0, 1, 0, 1])
    assert isinstance(model, VAE | LadderVAE)
    assert isinstance(model, HasLatent) and isinstance(model, HasLikelihood)
    noise = torch.zeros(4, *model.latent_shape)
    means = model.encode(x, labels)
    assert means.shape == noise.shape
    seen = model.infer(x, labels, noise)
    law = model.likelihood(means, labels)
    torch.testing.assert_close(seen.log_likelihood, law.log_prob(x).flatten(1).sum(1))
    torch.testing.assert_close(model.decode(means, labels), law.median())


@pytest.mark.parametrize("name", FAMILIES)
def test_a_row_does_not_depend_on_the_batch_and_is_counted_once(name: str) -> None:
    model, watch = model_of(FAMILIES[name]), Watch()
    labels = torch.arange(70) % 2
    whole = model.sample(Draws(seed=3, start=0, stop=70), labels, SamplingSpec(), watch)
    part = model.sample(Draws(seed=3, start=60, stop=70), labels[60:], SamplingSpec(), watch)
    torch.testing.assert_close(whole[60:], part, rtol=1e-4, atol=1e-5)
    assert watch.evaluations == 80
    assert float(whole.std(0).mean()) > 1e-3


@pytest.mark.parametrize("shape", [(1, 7, 5), (3, 9), (2, 3, 4, 5)], ids=str)
@pytest.mark.parametrize("name", FAMILIES)
def test_any_sides_and_every_parameter_gets_a_gradient(name: str, shape: tuple[int, ...]) -> None:
    event = replace(EVENT, shape=shape)
    model = model_of(FAMILIES[name], event).requires_grad_(True)
    x, labels = images_of(event, 4), torch.tensor([0, 1, 0, 1])
    loss = model.loss(x, labels, stream(0, "loss"))
    assert loss.shape == (4,)
    loss.sum().backward()
    for label, parameter in model.named_parameters():
        assert parameter.grad is not None and float(parameter.grad.abs().sum()) > 0, label
    assert model.decode(model.encode(x, labels), labels).shape == x.shape


# The fit


run = partial(trained, learning_rate=1e-2, levels=(16, 10))


@pytest.mark.parametrize(
    ("name", "precision"), [*((name, torch.float32) for name in FAMILIES), ("ladder", torch.bfloat16)]
)
def test_one_batch_is_overfitted_and_labels_tell_the_halves(name: str, precision: torch.dtype) -> None:
    fitted = run(FAMILIES[name], steps=150, precision=precision)
    losses = [record["loss_bound"] for record in fitted.history]
    assert losses[-1] < 0.5 * losses[0], losses
    model = restore(FAMILIES[name], Event.of(halves(levels=(16, 10))), fitted.weights)
    assert isinstance(model, VAE | LadderVAE)
    for label, bright, dark in ((0, slice(0, 4), slice(4, 8)), (1, slice(4, 8), slice(0, 4))):
        drawn = model.sample(Draws(seed=0, start=0, stop=8), torch.full((8,), label), SamplingSpec())
        assert float(drawn[..., dark].mean()) < -0.8 < 0 < float(drawn[..., bright].mean())


@pytest.mark.parametrize("name", ["vector", "ladder"])
def test_a_continued_fit_is_the_straight_one(name: str, tmp_path: Path) -> None:
    model, file = replace(FAMILIES[name], dropout=0.3), tmp_path / "checkpoint.safetensors"
    straight = run(model, steps=4)
    run(model, steps=4, checkpoint=file, seconds=0.0)  # leaves the file of the last step but one
    continued = run(model, steps=4, checkpoint=file)
    assert len(continued.history) == len(straight.history)
    assert all(torch.equal(continued.weights[name], value) for name, value in straight.weights.items())


@pytest.mark.parametrize(
    ("name", "fields", "words"),
    [
        ("vector", {"beta": -1.0}, "model.beta: -1.0"),
        ("vector", {"free_bits": math.nan}, "model.free_bits: nan"),
        ("vector", {"multipliers": ()}, "model.multipliers"),
        ("vector", {"blocks": 0}, "model.blocks: 0"),
        ("vector", {"latent": "vectro"}, "Did you mean 'vector'"),
        ("ladder", {"latent_width": 0}, "model.latent_width: 0"),
        ("ladder", {"layers": (1,)}, "each of the 2 levels"),
        ("ladder", {"layers": (0, 0)}, "one layer in all"),
    ],
    ids=str,
)
def test_a_wrong_spec_is_told_in_one_line(name: str, fields: dict[str, object], words: str) -> None:
    with pytest.raises(UserError, match=words) as error:
        build(with_fields(FAMILIES[name], fields), EVENT)
    assert "\n" not in str(error.value)


def test_what_a_model_cannot_do_is_told() -> None:
    model, draws = model_of(FAMILIES["vector"]), Draws(seed=0, start=0, stop=2)
    with pytest.raises(UserError, match="guidance: 2"):
        model.sample(draws, torch.zeros(2, dtype=torch.int64), SamplingSpec(guidance=2.0))
    with pytest.raises(UserError, match="labels: none given"):
        model.sample(draws, None, SamplingSpec())
    free = model_of(replace(FAMILIES["vector"], conditional=False))
    assert torch.equal(
        free.sample(draws, None, SamplingSpec()), free.sample(draws, torch.ones(2), SamplingSpec())
    )
