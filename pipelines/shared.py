"""What stages that run in one process share: data, restored networks, described rows; a few of the latest of each."""

from __future__ import annotations

import functools
import weakref
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from pipelines.stage import Done
from pipelines.staging import ReferenceSpec
from pipelines.tracking import Tracking
from pipelines.work import Work
from workbench import metrics
from workbench.data import Dataset, load, to_float
from workbench.execution import Execution
from workbench.identity import key
from workbench.models import Classifier, Classifies, Event, GenerativeModel, Model, Watch, restore
from workbench.registry import UserError
from workbench.rng import Draws
from workbench.spec import DataSpec, FitSpec, MeasureSpec, SamplingSpec

WEIGHTS, REFERENCE = "weights.safetensors", "reference.npz"


def execution(work: Work) -> Execution:
    """Where and how the stage computes; sets this process's threads to the CPUs that the stage was given."""
    resources = work.stage.resources
    chosen = Execution.best(threads=resources.cpus, gpu=resources.gpus > 0)
    chosen.apply()
    return chosen


def reset_peak_memory() -> None:
    """Forget the most memory that this process held, so that the next figure is that of one stage."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    try:
        Path("/proc/self/clear_refs").write_text("5")  # proc(5): resets the peak resident set size
    except OSError:
        return  # the figure is then that of the process


@functools.lru_cache(maxsize=2)
def dataset(spec: DataSpec, location: Path | None) -> Dataset:
    """The data set, read once a process."""
    return load(spec, location=location)


@functools.lru_cache(maxsize=2)
def event(spec: DataSpec, location: Path | None) -> Event:
    """What models must know of the data set."""
    return Event.of(dataset(spec, location))


@functools.lru_cache(maxsize=1)
def train_images(spec: DataSpec, location: Path | None) -> Tensor:
    """The training images as floats [N, C, H, W]."""
    data = dataset(spec, location)
    return to_float(data.train.images, data.levels)


def weights(work: Work, spec: FitSpec) -> dict[str, Tensor]:
    """The weights of a fit that the stage needs."""
    done = work.inputs[key(spec)]
    return load_file(work.tracking.fetch(done.run_id, WEIGHTS, done.artifacts[WEIGHTS]))


def model(work: Work, spec: FitSpec) -> Model:
    """The trained model of a fit that the stage needs, on the CPU or where it was placed last."""
    done = work.inputs[key(spec)]
    kind = event(spec.data, work.setting.data_location)
    return _model(work.tracking.uri, spec, done.run_id, done.artifacts[WEIGHTS], kind)


@functools.lru_cache(maxsize=6)
def _model(uri: str, spec: FitSpec, run_id: str, digest: str, kind: Event) -> Model:
    return restore(spec.model, kind, load_file(Tracking(uri).fetch(run_id, WEIGHTS, digest)))


def classifier(work: Work, measures: MeasureSpec) -> Classifier:
    """The classifier of the measures. Raises UserError when that fit is none."""
    judge = model(work, measures.classifier)
    if not isinstance(judge, Classifier):
        raise UserError(f"measures.classifier: {type(judge).__name__} is no classifier")
    return judge


def described(
    images: Tensor, labels: Tensor | None, data: Dataset, measures: MeasureSpec, judge: Classifier
) -> metrics.Rows:
    """Images uint8 [N, C, H, W] in the levels of the data set, with all that measures look at."""
    floats = to_float(images, data.levels)
    return metrics.describe(floats, labels, extractors=measures.extractors, classifier=judge)


def probabilities(model: Classifies, images: Tensor, execution: Execution) -> Tensor:
    """The class probabilities [N, classes] of images [N, *S] in [-1, 1] by a network that was placed, in the arithmetic
    that it was trained in."""

    def told(batch: Tensor) -> Tensor:
        with execution.autocast():
            return model.probabilities(batch.to(execution.device))

    return metrics.extract(images, told)


def reference_rows(work: Work, spec: ReferenceSpec) -> tuple[metrics.Rows, metrics.Rows]:
    """The reference rows and the training rows, from the reference stage that this one needs."""
    done: Done = work.inputs[key(spec)]
    return _reference_rows(
        work.tracking.uri, spec, done.run_id, done.artifacts[REFERENCE], work.setting.data_location
    )


@functools.lru_cache(maxsize=2)
def _reference_rows(
    uri: str, spec: ReferenceSpec, run_id: str, digest: str, location: Path | None
) -> tuple[metrics.Rows, metrics.Rows]:
    data, count = dataset(spec.data, location), spec.measures.rows
    with np.load(Tracking(uri).fetch(run_id, REFERENCE, digest)) as arrays:
        real = metrics.Rows(
            images=to_float(data.test.images[:count], data.levels),
            labels=data.test.labels[:count],
            features={
                name: torch.from_numpy(arrays[f"features.{name}"]) for name in spec.measures.extractors
            },
            probabilities=torch.from_numpy(arrays["probabilities"]),
        )
        threshold = float(arrays["copy_threshold"])
    train = metrics.Rows(images=train_images(spec.data, location), copy_threshold=threshold)
    return real, train


_WARM: weakref.WeakSet[nn.Module] = weakref.WeakSet()
_FLOPS: weakref.WeakKeyDictionary[nn.Module, float] = weakref.WeakKeyDictionary()


def is_warm(network: nn.Module) -> bool:
    """Whether this was asked of the network before in this process: what is done first is slower."""
    warm = network in _WARM
    _WARM.add(network)
    return warm


def flops_per_evaluation(network: GenerativeModel, execution: Execution) -> float:
    """Floating point operations of one evaluation for one row, two for each multiply-add of the network's products."""
    if network not in _FLOPS:
        draws = Draws(seed=0, start=0, stop=1, device=execution.device)
        label = torch.zeros(1, dtype=torch.int64, device=execution.device) if network.classes else None
        watch = Watch()
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            network.sample(draws, label, SamplingSpec(nfe=1), watch)
        _FLOPS[network] = float(counter.get_total_flops()) / watch.evaluations
    return _FLOPS[network]
