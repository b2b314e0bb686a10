"""The training seed of a trial: one number that reaches every fit in it and all that is drawn."""

from __future__ import annotations

import dataclasses
from dataclasses import replace
from typing import Any, TypeVar

from workbench.spec.recognition import ReadoutSpec, RecognitionSpec
from workbench.spec.trials import FitSpec, TrialSpec

_Spec = TypeVar("_Spec", bound=TrialSpec | RecognitionSpec | FitSpec)


def with_seed(spec: _Spec, seed: int) -> _Spec:
    """A trial or a fit at a training seed: that of its fit and the fits in that, of the choice of few labels, and of
    what is drawn at random after. Judges of samples and exact denoisers stay as they are, which all seeds share."""
    if isinstance(spec, FitSpec):
        model: Any = spec.model
        values = {entry.name: getattr(model, entry.name) for entry in dataclasses.fields(model)}
        inner = {name: with_seed(value, seed) for name, value in values.items() if isinstance(value, FitSpec)}
        data = replace(spec.data, draw=seed) if spec.data.labelled < 1 else spec.data
        return replace(spec, data=data, model=replace(model, **inner), seed=seed)
    if isinstance(spec, TrialSpec):
        source = with_seed(spec.source, seed) if isinstance(spec.source, FitSpec) else spec.source
        return replace(spec, source=source, sampling=replace(spec.sampling, seed=seed))
    by = spec.by
    if isinstance(by, ReadoutSpec):
        features = by.features
        if features.source is not None:  # pixels are the same for all seeds
            features = replace(features, source=with_seed(features.source, seed), seed=seed)
        drawn = None if by.drawn is None else with_seed(by.drawn, seed)
        return replace(spec, by=replace(by, features=features, drawn=drawn), seed=seed)
    return replace(spec, by=replace(by, fit=with_seed(by.fit, seed)), seed=seed)
