"""Features: those of the network on the denoiser's own inputs, without a trace of batches, labels or training."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from workbench.execution import BATCH_VALUES, Execution
from workbench.models import DiffusionModel, Event, GenerativeModel, HasLatent, build
from workbench.nn import BACKBONES, Backbone
from workbench.nn.pooling import as_read, pooled
from workbench.recognition.activations import activations, latents, layers, randomised
from workbench.registry import UserError
from workbench.rng import normal_rows, stream
from workbench.spec import BackboneSpec, CouplingFlowSpec, DiffusionSpec, GANSpec, ModelSpec, VAESpec

EVENT = Event(shape=(1, 8, 8), classes=3, levels=17, std=0.7)
UNET = DiffusionSpec(backbone=BackboneSpec(width=8, multipliers=(1, 2), attention=(False, False)))
EXECUTION = Execution()


def model_of(spec: ModelSpec, *, seed: int = 0) -> GenerativeModel:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = build(spec, EVENT)
        for parameter in model.parameters():  # leave the zeros of the start
            torch.nn.init.normal_(parameter, std=0.2)
    assert isinstance(model, GenerativeModel)
    return model.requires_grad_(False).eval()


def denoiser(spec: DiffusionSpec = UNET, *, seed: int = 0) -> DiffusionModel:
    model = model_of(spec, seed=seed)
    assert isinstance(model, DiffusionModel)
    return model


def images(rows: int) -> Tensor:
    return torch.rand(rows, *EVENT.shape, generator=stream(0, "images")) * 2 - 1


def read(
    model: DiffusionModel, rows: Tensor, *names: str, time: float = 0.2, side: int = 1, draws: int = 1
) -> Tensor:
    """The features of one layer, or of all that are named side by side."""
    found = activations(
        model, rows, layers=names, time=time, sides=[side], draws=draws, seed=3, execution=EXECUTION
    )
    return torch.cat([found[name, side] for name in names], dim=1)


def close(first: Tensor, second: Tensor) -> bool:
    """Whether two tensors agree to within what the order of sums leaves."""
    return first.shape == second.shape and float((first - second).norm() / second.norm()) < 1e-5


@pytest.mark.parametrize("name", BACKBONES)
def test_features_are_those_of_the_network_on_the_inputs_of_the_denoiser(name: str) -> None:
    backbone = BackboneSpec(name=name, width=32, multipliers=(1, 2), attention=(False, True), patch=2)
    model, x_0, t = denoiser(replace(UNET, backbone=backbone)), images(5), torch.tensor(0.2)
    denoising = model.preconditioned
    alpha, sigma = denoising.schedule(t)
    x_t = alpha * x_0 + sigma * normal_rows(3, "activations", 0, start=0, stop=5, shape=EVENT.shape)
    scale = (alpha**2 * EVENT.std**2 + sigma**2).rsqrt()
    level = ((alpha / sigma).log() / 2).expand(5)
    null = torch.full((5,), EVENT.classes)
    expected = denoising.backbone.features(scale * x_t, level, null, layers(model))
    found = activations(
        model, x_0, layers=layers(model), time=0.2, sides=[1, 2, 64], draws=1, seed=3, execution=EXECUTION
    )
    for layer in layers(model):
        read = as_read(expected[layer])
        assert close(found[layer, 1], read.flatten(2).mean(2))
        assert close(found[layer, 64], read.flatten(1))  # its own grid
        assert close(found[layer, 2], pooled(read, 2))


def test_an_activation_is_read_normalised_over_its_channels_and_through_silu() -> None:
    activation = 3 + 5 * torch.randn(2, 16, 4, 4, generator=stream(0, "activation"))
    deviation, mean = torch.std_mean(activation, dim=1, keepdim=True, correction=0)
    normal = (activation - mean) / deviation
    assert close(as_read(activation), normal * normal.sigmoid())
    assert close(
        as_read(7 * activation - 2), as_read(activation)
    )  # what the next norm would not see, is not seen
    line = activation.flatten(2)
    assert close(as_read(line), as_read(activation).flatten(2))


def test_a_grid_holds_the_means_of_its_cells() -> None:
    activation = torch.arange(2 * 3 * 4 * 4.0).reshape(2, 3, 4, 4)
    cells = pooled(activation, 2).reshape(2, 3, 2, 2)
    assert torch.equal(cells[:, :, 1, 0], activation[:, :, 2:, :2].flatten(2).mean(2))
    assert torch.equal(pooled(activation, 1), activation.flatten(2).mean(2))
    assert torch.equal(pooled(activation, 9), activation.flatten(1))
    assert torch.equal(pooled(activation.flatten(2), 4).reshape(2, 3, 4), activation.mean(3))


def test_a_row_does_not_depend_on_the_rows_beside_it() -> None:
    model = denoiser()
    most = BATCH_VALUES // images(1).numel()
    many, names = images(most + 70), ("down.0.0", "middle")  # two batches
    whole = read(model, many, *names)
    assert close(read(model, many[:7], *names), whole[:7])
    same = many[:1].expand(len(many), -1, -1, -1)
    assert read(model, same, "middle").std(0).min() > 0  # but each row has noise of its own


def test_draws_average() -> None:
    model, rows = denoiser(), images(4)
    one, two = read(model, rows, "middle"), read(model, rows, "middle", draws=2)
    x_0, t = rows, torch.tensor(0.2, dtype=torch.float64)
    alpha, sigma = (float(c) for c in model.preconditioned.schedule(t))
    noise = normal_rows(3, "activations", 1, start=0, stop=4, shape=EVENT.shape)
    inputs = model.preconditioned.inputs(alpha * x_0 + sigma * noise, t)
    second = as_read(model.preconditioned.backbone.features(*inputs, None, ["middle"])["middle"])
    second = second.flatten(2).mean(2)
    assert close(two, (one + second) / 2)
    assert not close(one, second)


def test_a_learned_variance_changes_nothing() -> None:
    spec = replace(UNET, variance="learned")
    assert read(denoiser(spec), images(2), "up.1.0").shape == (2, 8)


def test_random_features_forget_the_training_and_bend() -> None:
    trained, rows = denoiser(), images(6)
    first, again, other = (randomised(trained, seed) for seed in (1, 1, 2))
    names = layers(trained)
    assert torch.equal(read(first, rows, *names), read(again, rows, *names))
    assert not close(read(first, rows, *names), read(other, rows, *names))
    of_another = randomised(denoiser(seed=5), 1)
    assert torch.equal(read(first, rows, *names), read(of_another, rows, *names))
    for (name, before), after in zip(trained.named_parameters(), first.parameters(), strict=True):
        assert not torch.equal(before, after), name


@pytest.mark.parametrize("name", BACKBONES)
def test_branches_of_random_networks_are_open(name: str) -> None:
    backbone = BackboneSpec(name=name, width=32, multipliers=(1, 2), attention=(False, True), patch=2)
    model = randomised(denoiser(replace(UNET, backbone=backbone)), 0)
    network, x = model.preconditioned.backbone, images(8)
    level = torch.zeros(8)
    last = layers(model)[-1]

    def bent(backbone: torch.nn.Module) -> float:
        """How far f(a) + f(b) - 2 f((a + b) / 2) is from zero, against the spread of f."""
        assert isinstance(backbone, Backbone)
        f = backbone.features
        a, b, middle = (f(rows, level, None, [last])[last] for rows in (x, x.flip(0), (x + x.flip(0)) / 2))
        return float((a + b - 2 * middle).norm() / (a - b).norm())

    fresh = build(model.spec, EVENT)
    assert isinstance(fresh, DiffusionModel)
    assert bent(network) > 0.01
    assert (
        bent(fresh.preconditioned.backbone) < 1e-4 or name == "uvit"
    )  # the others start with closed branches


VARIATIONAL = VAESpec(width=8, multipliers=(1, 2), latent_width=4)


@pytest.mark.parametrize("spec", [VARIATIONAL, CouplingFlowSpec(steps=1, width=8)], ids=["vae", "flow"])
def test_latents_are_encoded_without_the_label_of_the_image(spec: ModelSpec) -> None:
    model, rows = model_of(spec), images(6)
    assert isinstance(model, HasLatent)
    each = [model.encode(rows, torch.full((6,), label)).flatten(1) for label in range(EVENT.classes)]
    assert not close(each[0], each[1])
    assert close(latents(model, rows, EXECUTION), torch.stack(each).mean(0))


def test_latents_of_a_model_without_labels_are_its_own() -> None:
    model, rows = model_of(replace(VARIATIONAL, conditional=False)), images(6)
    assert isinstance(model, HasLatent)
    assert close(latents(model, rows, EXECUTION), model.encode(rows, None))


def test_mistakes_are_told() -> None:
    model = denoiser()
    with pytest.raises(UserError, match="model: VAE has no activations by layer"):
        layers(model_of(VARIATIONAL))
    with pytest.raises(UserError, match="model: GAN has no encoder"):
        latents(model_of(GANSpec(generator_width=8, discriminator_width=8)), images(2), EXECUTION)
    with pytest.raises(UserError, match=r"unknown name 'down.0.7'.*Known:.*middle"):
        read(model, images(2), "down.0.7")
    for time in (0.0, 1.0, -0.1):
        with pytest.raises(UserError, match=f"time: {time} given"):
            read(model, images(2), "middle", time=time)
    with pytest.raises(UserError, match="draws: 0 given"):
        read(model, images(2), "middle", draws=0)
    with pytest.raises(UserError, match=r"sides: \(0,\) given"):
        read(model, images(2), "middle", side=0)
