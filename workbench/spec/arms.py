"""What distinguishes the trials of a study: names and values, and grids of them."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

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
    final: _Spec = result
    return final


def _with_field(spec: Any, path: list[str], value: Any, whole: str) -> Any:
    known = [field.name for field in dataclasses.fields(spec)] if dataclasses.is_dataclass(spec) else []
    if path[0] not in known:
        raise ValueError(
            f"field {whole!r}: {type(spec).__name__} has no {path[0]!r}; it has {', '.join(known) or 'no fields'}"
        )
    inner = value if len(path) == 1 else _with_field(getattr(spec, path[0]), path[1:], value, whole)
    return dataclasses.replace(spec, **{path[0]: inner})
