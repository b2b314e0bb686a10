"""The training seed of a trial: one number that reaches every fit in it and all that is drawn."""

from __future__ import annotations

import dataclasses
from dataclasses import replace
from typing import TypeVar

from workbench.spec.recognition import ReadoutSpec, RecognitionSpec
from workbench.spec.trials import FitSpec, TrialSpec

_Trial = TypeVar("_Trial", TrialSpec, RecognitionSpec)


def with_seed(trial: _Trial, seed: int) -> _Trial:
    """The trial at a training seed: that of its fit and of the fits in that, and of what is drawn at random after. The
    judges of samples and the exact denoisers stay as they are, which all seeds share."""
    if isinstance(trial, TrialSpec):
        source = trial.source if not isinstance(trial.source, FitSpec) else _fit(trial.source, seed)
        return replace(trial, source=source, sampling=replace(trial.sampling, seed=seed))
    by = trial.by
    if isinstance(by, ReadoutSpec):
        source = None if by.features.source is None else _fit(by.features.source, seed)
        by = replace(by, features=replace(by.features, source=source, seed=seed))
    else:
        by = replace(by, fit=_fit(by.fit, seed))
    return replace(trial, by=by, seed=seed)


def _fit(fit: FitSpec, seed: int) -> FitSpec:
    values = {entry.name: getattr(fit.model, entry.name) for entry in dataclasses.fields(fit.model)}
    inner = {name: _fit(value, seed) for name, value in values.items() if isinstance(value, FitSpec)}
    return replace(fit, model=replace(fit.model, **inner), seed=seed)
