"""Who judges drawn images in benchmarks: three feature spaces, one of which nothing here was ever chosen by."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from workbench import metrics, training
from workbench.data import Dataset, to_float
from workbench.execution import Execution
from workbench.metrics import distances
from workbench.models import Classifier, Event, restore
from workbench.presets.common import classifier_fit
from workbench.spec import ClassifierSpec, DataSpec

CNN, INDEPENDENT, RANDOM = JUDGES = ("cnn", "independent cnn", "random_conv")


class Judges:
    """Frechet distances in three feature spaces: the classifier of the studies, random features, and a classifier of
    another shape and seed by which nothing in this project was ever chosen."""

    def __init__(
        self, spec: DataSpec, data: Dataset, rows: int, execution: Execution, images: int = 0
    ) -> None:
        """`images` are the training images of each classifier; 0: those of the studies."""
        fit = classifier_fit(spec, "quick" if spec.name == "digits" else "standard")
        if images:
            fit = replace(fit, budget=replace(fit.budget, images_seen=images))
        other = ClassifierSpec(width=24, features=96, dropout=0.0, shift_pixels=2)
        self.data = data
        self._classifiers: dict[str, Classifier] = {}
        for name, one in ((CNN, fit), (INDEPENDENT, replace(fit, model=other, seed=1_000))):
            weights = training.fit(one, data, execution=execution).weights
            judge = restore(one.model, Event.of(data), weights)
            assert isinstance(judge, Classifier)
            self._classifiers[name] = judge
        self._random = metrics.RandomConv(data.shape[0])
        self._test = self._features(data.test.images[:rows])
        self._validation = self._features(data.validation.images[:rows])

    def distances(self, images: Tensor, *, validation: bool = False) -> dict[str, float]:
        """The distance of drawn images [N, C, H, W] from the test split, or the validation split, in each space."""
        drawn, real = self._features(images), self._validation if validation else self._test
        return {name: distances.frechet(drawn[name], real[name]) for name in drawn}

    def _features(self, images: Tensor) -> dict[str, Tensor]:
        floats = to_float(images, self.data.levels)
        found = {name: metrics.extract(floats, judge.features) for name, judge in self._classifiers.items()}
        return found | {RANDOM: metrics.extract(floats, self._random)}
