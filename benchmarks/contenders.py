"""The workbench and its peers behind one seam: train on the same images for so many seconds, draw in so many steps.

Each peer is run in the form of its own published example for small images, with the averaged weights that it offers.
"""

from __future__ import annotations

import importlib
import subprocess
import sys
import time
import types
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from pipelines.drawing import draw
from workbench import training
from workbench.data import Dataset, to_float
from workbench.execution import Execution
from workbench.models import DiffusionModel, Event, restore
from workbench.presets.families import family
from workbench.registry import UserError
from workbench.spec import BudgetSpec, DataSpec, FitSpec, SamplingSpec

BATCH, CALIBRATION_STEPS = 128, 30
TIMESTEPS = 1000


@dataclass(frozen=True)
class Training:
    """How long a contender was trained, and on how many images."""

    seconds: float
    images: int


class Contender(ABC):
    """Something that learns to draw images. `samplers` are its ways to draw."""

    name: str
    samplers: ClassVar[tuple[str, ...]]

    @abstractmethod
    def train(self, data: Dataset, seconds: float, execution: Execution) -> Training:
        """Train for about that long on the training split."""

    @abstractmethod
    def draw(self, data: Dataset, sampler: str, rows: int, nfe: int, execution: Execution) -> Tensor:
        """Bytes [N, C, H, W], row i of the class i mod classes, in `nfe` network evaluations each."""


class Workbench(Contender):
    """Flow matching with the default network and loop of this project; its budget is set by its measured speed."""

    name = "workbench"
    samplers = ("dpmpp_2m", "unipc", "sde_dpmpp_2m")

    def train(self, data: Dataset, seconds: float, execution: Execution) -> Training:
        base = family(DataSpec(name="fashion_mnist"), "standard", family="flow_matching").source
        assert isinstance(base, FitSpec)
        for steps in (CALIBRATION_STEPS, 2 * CALIBRATION_STEPS):  # the first fit chooses algorithms
            spec = replace(base, budget=BudgetSpec(images_seen=steps * BATCH, batch_size=BATCH))
            speed = training.fit(spec, data, execution=execution).cost["images_per_second"]
        spec = replace(spec, budget=BudgetSpec(images_seen=int(speed * seconds), batch_size=BATCH))
        fitted = training.fit(spec, data, execution=execution)
        model = restore(spec.model, Event.of(data), fitted.weights)
        assert isinstance(model, DiffusionModel)
        self._model = execution.place(model)
        return Training(fitted.cost["fit_seconds"], spec.budget.images_seen)

    def draw(self, data: Dataset, sampler: str, rows: int, nfe: int, execution: Execution) -> Tensor:
        spec = SamplingSpec(sampler=sampler, nfe=nfe, time_grid="uniform_t", rows=rows)
        assert isinstance(self._model, DiffusionModel)
        return draw(self._model, data, spec, execution, warm=True).images


class Peer(Contender):
    """A network of somebody else's, trained by a plain loop: AdamW, warm-up and cosine, averaged weights."""

    learning_rate = 1e-4
    warmup_share = (
        0.05  # of the seconds: in steps, as the examples have it, a short training would be all warm-up
    )
    reduced = False

    @abstractmethod
    def build(self, data: Dataset) -> nn.Module:
        """The network."""

    @abstractmethod
    def loss(self, network: nn.Module, x_0: Tensor, labels: Tensor) -> Tensor:
        """The loss of a batch of images [B, C, H, W] in [-1, 1]."""

    @abstractmethod
    def average(self, network: nn.Module) -> Callable[[], nn.Module | None]:
        """What is called after each step to average the weights; the last call's result is drawn from."""

    def autocast(self, execution: Execution) -> AbstractContextManager[object]:
        """float32, or what the processor has where `reduced`."""
        return execution.autocast() if self.reduced else nullcontext()

    def train(self, data: Dataset, seconds: float, execution: Execution) -> Training:
        execution.apply()
        torch.manual_seed(0)
        network = self.build(data).to(execution.device)
        optimiser = torch.optim.AdamW(
            network.parameters(), self.learning_rate, (0.95, 0.999), weight_decay=1e-6
        )
        averaged, steps = self.average(network), 0
        began = time.perf_counter()
        for x_0, labels in _batches(data, execution.device):
            share = (time.perf_counter() - began) / seconds
            if share >= 1:
                break
            for group in optimiser.param_groups:
                decay = 0.5 * (1 + torch.cos(torch.tensor(torch.pi * share)).item())
                group["lr"] = self.learning_rate * min(1, share / self.warmup_share) * decay
            with self.autocast(execution):
                loss = self.loss(network, x_0, labels)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimiser.step()
            self._network = averaged() or network
            steps += 1
        self._network.eval().requires_grad_(False)
        return Training(time.perf_counter() - began, steps * BATCH)


class Diffusers(Peer):
    """UNet2DModel in the form of the class-conditional example of the diffusers course for 28 x 28 images."""

    samplers = ("DPMSolverMultistepScheduler", "DDIMScheduler", "UniPCMultistepScheduler")

    def __init__(self, *, reduced: bool, learning_rate: float = Peer.learning_rate) -> None:
        self.reduced, self.learning_rate = reduced, learning_rate
        self.name = f"diffusers, {'autocast' if reduced else 'float32'}, rate {learning_rate:g}"

    def build(self, data: Dataset) -> nn.Module:
        diffusers = importlib.import_module("diffusers")
        self._schedule = diffusers.DDPMScheduler(num_train_timesteps=TIMESTEPS)
        channels, side, _ = data.shape
        network: nn.Module = diffusers.UNet2DModel(
            sample_size=side,
            in_channels=channels,
            out_channels=channels,
            layers_per_block=2,
            block_out_channels=(32, 64, 64),
            down_block_types=("DownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"),
            up_block_types=("AttnUpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
            num_class_embeds=len(data.classes),
        )
        return network

    def loss(self, network: nn.Module, x_0: Tensor, labels: Tensor) -> Tensor:
        noise = torch.randn_like(x_0)
        t = torch.randint(0, TIMESTEPS, (len(x_0),), device=x_0.device)
        x_t = self._schedule.add_noise(x_0, noise, t)
        return nn.functional.mse_loss(network(x_t, t, class_labels=labels).sample.float(), noise)

    def average(self, network: nn.Module) -> Callable[[], nn.Module | None]:
        ema_model = importlib.import_module("diffusers.training_utils").EMAModel
        average = ema_model(
            network.parameters(), decay=0.9999, use_ema_warmup=True, inv_gamma=1.0, power=0.75
        )
        twin = self.build_twin(network)

        def update() -> nn.Module:
            average.step(network.parameters())
            self._average = average
            return twin

        return update

    def build_twin(self, network: Any) -> nn.Module:
        """A network of the same kind, for the averaged weights."""
        twin: nn.Module = type(network).from_config(network.config)
        return twin

    def draw(self, data: Dataset, sampler: str, rows: int, nfe: int, execution: Execution) -> Tensor:
        self._average.copy_to(self._network.parameters())
        scheduler = getattr(importlib.import_module("diffusers"), sampler)(num_train_timesteps=TIMESTEPS)
        scheduler.set_timesteps(nfe)
        torch.manual_seed(0)
        drawn = []
        for labels in _labels(data, rows):
            x = torch.randn(len(labels), *data.shape)
            with torch.no_grad(), self.autocast(execution):
                for t in scheduler.timesteps:
                    said = self._network(x, t, class_labels=labels).sample.float()
                    x = scheduler.step(said, t, x).prev_sample
            scheduler.set_timesteps(nfe)  # multistep schedulers remember
            drawn.append(_bytes(x, data.levels))
        return torch.cat(drawn)


class DenoisingDiffusionPytorch(Peer):
    """The class-conditional network of denoising-diffusion-pytorch, drawn from by its DDIM."""

    name = "denoising-diffusion-pytorch"
    samplers = ("ddim",)
    learning_rate = 8e-5
    reduced = True

    def __init__(self, packages: Path) -> None:
        self.packages = packages

    def build(self, data: Dataset) -> nn.Module:
        module = _denoising_diffusion(self.packages)
        channels, side, _ = data.shape
        unet = module.Unet(dim=32, num_classes=len(data.classes), dim_mults=(1, 2, 4), channels=channels)

        def make(network: Any, steps: int | None) -> nn.Module:
            made: nn.Module = module.GaussianDiffusion(
                network, image_size=side, timesteps=TIMESTEPS, sampling_timesteps=steps
            )
            return made

        self._make = make
        return make(unet, None)

    def loss(self, network: nn.Module, x_0: Tensor, labels: Tensor) -> Tensor:
        loss: Tensor = network((x_0 + 1) / 2, classes=labels)
        return loss

    def average(self, network: nn.Module) -> Callable[[], nn.Module | None]:
        ema = importlib.import_module("ema_pytorch").EMA(network, beta=0.995, update_every=10)

        def update() -> nn.Module:
            ema.update()
            averaged: nn.Module = ema.ema_model
            return averaged

        return update

    def draw(self, data: Dataset, sampler: str, rows: int, nfe: int, execution: Execution) -> Tensor:
        averaged: Any = self._network
        network = averaged.model

        def unguided(x: Tensor, t: Tensor, classes: Tensor, **_: object) -> tuple[Tensor, Tensor]:
            # Release 2.3.4 returns one value for a scale of 1 where its samplers unpack two.
            said = network(x, t, classes, cond_drop_prob=0.0)
            return said, said

        network.forward_with_cond_scale = unguided
        sampling: Any = self._make(network, nfe).eval()
        torch.manual_seed(0)
        with torch.no_grad(), self.autocast(execution):
            drawn = [sampling.sample(labels, cond_scale=1.0) for labels in _labels(data, rows)]
        return torch.cat([_bytes(2 * x.float() - 1, data.levels) for x in drawn])


def contenders(packages: Path) -> list[Contender]:
    """All of them."""
    return [
        Workbench(),
        Diffusers(reduced=False),
        Diffusers(reduced=True),
        # The example's rate is for a long training: in minutes a higher one serves it better.
        Diffusers(reduced=True, learning_rate=10 * Peer.learning_rate),
        DenoisingDiffusionPytorch(packages),
    ]


def _batches(data: Dataset, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
    images, labels = data.train.images.to(device), data.train.labels.to(device)
    while True:
        for rows in torch.split(torch.randperm(len(images)), BATCH):
            if len(rows) == BATCH:
                yield to_float(images[rows], data.levels), labels[rows]


def _labels(data: Dataset, rows: int) -> Iterator[Tensor]:
    yield from torch.split(torch.arange(rows) % len(data.classes), 2 * BATCH)


def _bytes(x: Tensor, levels: int) -> Tensor:
    return ((x.clamp(-1, 1) + 1) * ((levels - 1) / 2)).round().to(torch.uint8)


def _denoising_diffusion(packages: Path) -> Any:
    """The module of the peer, installed into a folder of its own on first use.

    It names torchvision, whose builds match few of torch's, and needs none of it to train or draw tensors: an empty
    module stands in for it.
    """
    if not (packages / "denoising_diffusion_pytorch").exists():
        needed = ("denoising-diffusion-pytorch", "einops", "ema-pytorch", "accelerate", "tqdm")
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(packages)]
        try:
            subprocess.run([*command, *needed], check=True, capture_output=True, text=True)
        except subprocess.CalledProcessError as error:
            raise UserError(
                f"peers: pip could not install {needed[0]}: {error.stderr.strip()[-300:]}"
            ) from error
    sys.path.append(str(packages))
    if "torchvision" not in sys.modules:
        stand_in = types.ModuleType("torchvision")
        for name in ("transforms", "utils", "datasets"):
            part = types.ModuleType(f"torchvision.{name}")
            setattr(stand_in, name, part)
            sys.modules[part.__name__] = part
        sys.modules["torchvision"] = stand_in
    return importlib.import_module("denoising_diffusion_pytorch.classifier_free_guidance")
