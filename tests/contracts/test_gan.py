"""The GAN: its losses against closed forms, who learns from which, rows that do not depend on the batch."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from workbench.data import Dataset, Split
from workbench.execution import Execution
from workbench.flat import FlatParameters
from workbench.models import GAN, Event, HasLikelihood, Watch, build
from workbench.models.gan import pairing_loss, squared_gradient
from workbench.registry import UserError
from workbench.rng import Draws, stream
from workbench.spec import BudgetSpec, FitSpec, GANSpec, OptimiserSpec, SamplingSpec, with_fields
from workbench.training import fit

EVENT = Event(shape=(1, 8, 8), classes=3, levels=17, std=0.5)
SPEC = GANSpec(latent=4, generator_width=8, discriminator_width=8)
LABELS = torch.tensor([0, 1, 2, 1])


def model(spec: GANSpec = SPEC, event: Event = EVENT) -> GAN:
    """A GAN of random weights, so that no branch is silent."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        gan = build(spec, event)
        for parameter in gan.parameters():
            nn.init.normal_(parameter, std=0.2)
    assert isinstance(gan, GAN)
    return gan


def images(shape: tuple[int, ...] = (1, 8, 8)) -> Tensor:
    return torch.randn(4, *shape, generator=stream(0, "images"))


def test_pairing_loss_of_known_logits() -> None:
    """-log sigmoid of the difference: log 2 for equals, and the odds of e^2 to 1 for two apart."""
    winner, loser = torch.tensor([1.0, 3.0, -1.0]), torch.tensor([1.0, 1.0, 1.0])
    expected = [math.log(2), math.log(1 + math.exp(-2)), math.log(1 + math.exp(2))]
    torch.testing.assert_close(pairing_loss(winner, loser), torch.tensor(expected))


class Quadratic(nn.Module):
    """D(x) = w . x + curvature / 2 |x|^2."""

    def __init__(self, weight: Tensor, curvature: float) -> None:
        super().__init__()
        self.weight, self.curvature = nn.Parameter(weight), nn.Parameter(torch.tensor(curvature))

    def forward(self, x: Tensor, labels: Tensor | None) -> Tensor:
        return (x * self.weight).flatten(1).sum(1) + 0.5 * self.curvature * x.square().flatten(1).sum(1)


@pytest.mark.parametrize("curvature", [0.0, 0.7])
def test_penalty_is_the_squared_gradient(curvature: float) -> None:
    """Its value |w + c x|^2, and what the weights learn from it, 2 (w + c x) and 2 (w + c x) . x."""
    x, weight = images(), torch.randn(1, 8, 8, generator=stream(0, "weight"))
    critic = Quadratic(weight, curvature)
    logits, penalty = squared_gradient(critic, x, None)
    torch.testing.assert_close(logits, critic(x, None))
    slope = weight + curvature * x
    torch.testing.assert_close(penalty, slope.square().flatten(1).sum(1))
    penalty.sum().backward()
    torch.testing.assert_close(critic.weight.grad, 2 * slope.sum(0))
    torch.testing.assert_close(critic.curvature.grad, 2 * (slope * x).sum())


def test_discriminator_loss_adds_half_gamma_of_both_penalties() -> None:
    gan, plain = model(replace(SPEC, gamma=3.0)), model(replace(SPEC, gamma=0.0))
    x = images()
    latents = torch.randn(4, SPEC.latent, generator=stream(0, "z"))
    fake = gan.generator(latents, LABELS).detach()
    r1, r2 = (squared_gradient(gan.discriminator, rows, LABELS)[1] for rows in (x, fake))
    gap = gan.discriminator_loss(x, LABELS, stream(0, "z")) - plain.discriminator_loss(
        x, LABELS, stream(0, "z")
    )
    assert bool((r1 > 0).all()) and bool((r2 > 0).all()) and not torch.allclose(r1, r2)
    torch.testing.assert_close(gap, 1.5 * (r1 + r2), rtol=1e-4, atol=1e-5)


def test_each_objective_moves_its_own_parameters_alone() -> None:
    gan = model()
    names = {id(parameter): name for name, parameter in gan.named_parameters()}
    for objective in gan.objectives():
        gan.zero_grad(set_to_none=True)
        objective.loss(images(), LABELS, stream(0, "z")).sum().backward()
        reached = {name for name, p in gan.named_parameters() if p.grad is not None and bool(p.grad.any())}
        assert reached == {names[id(parameter)] for parameter in objective.parameters()}, objective.name
        assert all(p.grad is None for name, p in gan.named_parameters() if name not in reached)
    both = [id(p) for objective in gan.objectives() for p in objective.parameters()]
    assert sorted(both) == sorted(names)


def test_the_two_play_against_each_other() -> None:
    """A step down either loss raises the pairing loss of the opponent."""
    for mine, theirs in ((0, 1), (1, 0)):
        gan = model(replace(SPEC, gamma=0.0))
        objectives = gan.objectives()

        def loss(which: int, gan: GAN = gan) -> Tensor:
            return gan.objectives()[which].loss(images(), LABELS, stream(0, "z")).mean()

        before = float(loss(theirs).detach())
        gradients = torch.autograd.grad(loss(mine), list(objectives[mine].parameters()))
        with torch.no_grad():
            norm = sum(float(g.square().sum()) for g in gradients) ** 0.5
            for parameter, gradient in zip(objectives[mine].parameters(), gradients, strict=True):
                parameter -= 1e-3 / norm * gradient
        assert float(loss(theirs).detach()) > before


def test_losses_are_the_same_without_gradients_and_near_in_bf16() -> None:
    gan = model()
    for objective in gan.objectives():
        value = objective.loss(images(), LABELS, stream(0, "z"))
        with torch.no_grad():
            torch.testing.assert_close(objective.loss(images(), LABELS, stream(0, "z")), value)
        with torch.autocast("cpu", torch.bfloat16):
            reduced = objective.loss(images(), LABELS, stream(0, "z"))
        assert reduced.dtype == torch.float32
        torch.testing.assert_close(reduced, value, rtol=0.1, atol=0.05)


def test_gradients_of_the_penalty_are_near_in_bf16() -> None:
    gradients = []
    for precision in (torch.float32, torch.bfloat16):
        gan = model(replace(SPEC, gamma=10.0))
        with torch.autocast("cpu", precision, enabled=precision != torch.float32):
            loss = gan.discriminator_loss(images(), LABELS, stream(0, "z")).mean()
        loss.backward()
        gradients.append(
            torch.cat([p.grad.flatten() for p in gan.discriminator.parameters() if p.grad is not None])
        )
    assert float(torch.cosine_similarity(gradients[0], gradients[1], dim=0)) > 0.99


@pytest.mark.parametrize("shape", [(2, 9), (1, 8, 8), (3, 7, 5), (1, 4, 4, 4)], ids=str)
def test_rows_do_not_depend_on_the_batch_and_are_counted(shape: tuple[int, ...]) -> None:
    gan = model(replace(SPEC, patch=2), replace(EVENT, shape=shape))
    labels = torch.arange(10) % 3

    def draw(start: int, stop: int, watch: Watch | None = None) -> Tensor:
        return gan.sample(Draws(seed=1, start=start, stop=stop), labels[start:stop], SamplingSpec(), watch)

    watch = Watch()
    whole = draw(0, 10, watch)
    assert watch.evaluations == 10
    assert whole.shape == (10, *shape)
    torch.testing.assert_close(torch.cat([draw(0, 3), draw(3, 10)]), whole, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(whole[0], whole[3])  # another latent
    gan.generator_loss(images(shape), LABELS, stream(0, "z")).sum().backward()
    assert gan.generator.basis.grad is not None and bool(gan.generator.basis.grad.any())


def test_labels_count_on_both_sides() -> None:
    gan, x = model(), images()
    latents = torch.randn(4, SPEC.latent, generator=stream(0, "z"))
    assert not torch.allclose(gan.generator(latents, LABELS), gan.generator(latents, LABELS.flip(0)))
    assert not torch.allclose(gan.discriminator(x, LABELS), gan.discriminator(x, LABELS.flip(0)))
    free = model(replace(SPEC, conditional=False))
    assert free.classes == 0
    rows = [free.sample(Draws(seed=0, start=0, stop=4), cond, SamplingSpec()) for cond in (None, LABELS)]
    assert torch.equal(*rows)


def test_a_fresh_network_keeps_the_scale_of_its_input() -> None:
    """Whatever the depth: without norms nothing else would."""
    for blocks in (1, 8):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            gan = build(GANSpec(blocks=blocks), EVENT)
        assert isinstance(gan, GAN)
        rows = gan.sample(Draws(seed=0, start=0, stop=256), torch.arange(256) % 3, SamplingSpec())
        logits = gan.discriminator(torch.randn(256, 1, 8, 8, generator=stream(0, "x")), torch.arange(256) % 3)
        assert 0.1 < float(rows.std()) < 3
        assert 0.1 < float(logits.detach().std()) < 5


def test_it_has_no_likelihood() -> None:
    assert not isinstance(model(), HasLikelihood)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"gamma": -1.0}, "gamma"),
        ({"latent": 0}, "latent"),
        ({"multipliers": ()}, "multipliers"),
        ({"blocks": 0}, "blocks"),
    ],
    ids=str,
)
def test_a_wrong_spec_is_refused(fields: dict[str, object], words: str) -> None:
    with pytest.raises(UserError, match=words):
        build(with_fields(SPEC, fields), EVENT)


def test_guidance_and_missing_labels_are_refused() -> None:
    draws = Draws(seed=0, start=0, stop=2)
    with pytest.raises(UserError, match="guidance"):
        model().sample(draws, LABELS[:2], SamplingSpec(guidance=2.0))
    with pytest.raises(UserError, match="labels"):
        model().sample(draws, None, SamplingSpec())


def toy() -> Dataset:
    labels = torch.arange(16) % 2
    rows = torch.zeros(16, 1, 8, 8, dtype=torch.uint8)
    rows[labels == 0, :, :, :4] = 16
    rows[labels == 1, :, :, 4:] = 16
    split = Split(rows, labels)
    return Dataset("toy", 17, ("a", "b"), split, split, split)


def training(steps: int) -> FitSpec:
    return FitSpec(
        model=SPEC,
        optimiser=OptimiserSpec(learning_rate=2e-3, beta_1=0.0, warmup_images=32),
        budget=BudgetSpec(images_seen=16 * steps, batch_size=16),
        ema_halflife_images=32,
    )


def test_two_images_are_learned() -> None:
    """Each label has one image; the generator draws it whatever the latent."""
    data, spec = toy(), training(250)
    fitted = fit(spec, data, execution=Execution(threads=1))
    gan = build(spec.model, Event.of(data))
    gan.load_state_dict(fitted.weights)
    assert isinstance(gan, GAN)
    labels = torch.arange(16) % 2
    rows = gan.sample(Draws(seed=0, start=0, stop=16), labels, SamplingSpec())
    target = data.train.images.float() / 8 - 1
    assert float((rows - target).square().mean()) < 0.1  # 1 for a constant, 2 for the wrong label
    last = fitted.history[-1]
    assert math.isfinite(last["validation_loss_generator"] + last["validation_loss_discriminator"])


def test_a_continued_fit_with_two_optimisers_is_the_straight_one(tmp_path: Path) -> None:
    class Killed(Exception):
        pass

    def kill(path: Path) -> None:
        saved.append(path)
        if len(saved) == 5:
            raise Killed

    saved: list[Path] = []
    spec, file, execution = training(12), tmp_path / "checkpoint.safetensors", Execution(threads=1)
    straight = fit(spec, toy(), execution=execution)
    with pytest.raises(Killed):
        fit(spec, toy(), execution=execution, checkpoint=file, checkpoint_seconds=0.0, on_checkpoint=kill)
    continued = fit(spec, toy(), execution=execution, checkpoint=file, checkpoint_seconds=1e9)
    assert all(torch.equal(continued.weights[name], straight.weights[name]) for name in straight.weights)


def test_the_logged_norm_is_that_of_all_objectives(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[float] = []
    clip = FlatParameters.clip

    def spy(flat: FlatParameters, most: float) -> Tensor:
        norm = clip(flat, most)
        seen.append(float(norm))
        return norm

    monkeypatch.setattr(FlatParameters, "clip", spy)
    (record,) = fit(training(1), toy(), execution=Execution(threads=1)).history
    assert len(seen) == 2 and min(seen) > 0
    assert record["gradient_norm"] == pytest.approx(math.hypot(*seen), rel=1e-5)
